"""Exchanges within groups, worked out by compiled code: a batch of small patches has thousands of them.

NumPy does the same in several passes over transposed arrays; here each number is looked at once.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from cellmix_dali._compiled import compiled

__all__ = ["SMALL_GROUP", "exchanged", "mixed_classes", "mixed_values", "most_frequent", "moved", "shares"]

SMALL_GROUP = 8  # samples up to which `exchanged` sorts faster than NumPy


@compiled(nogil=False)
def exchanged(noise, free, patches, members):
    """Let the samples of each group exchange their patches at the free positions, in the order of their noise.

    Parameters
    ----------
    noise : array (batch, free)
        Column j belongs to the j-th free position.
    free : integer array (free,)
        Positions that do not stay.
    patches : int
        Of a sample.
    members : int
        Samples per group, at most `SMALL_GROUP`; divides the batch.

    Returns
    -------
    int32 array (batch, patches)
        The sample from which each patch comes. Ties keep their order, as in a stable ``argsort``.
    """
    batch = noise.shape[0]
    source = np.empty((batch, patches), np.int32)
    for sample in range(batch):
        source[sample] = sample
    for first in range(0, batch, members):
        group = noise[first : first + members]
        for column in range(free.size):
            for member in range(members):
                # Its place in the order is the number of those before it; without branches, which nobody could predict.
                place = 0
                for other in range(member):
                    place += group[other, column] <= group[member, column]
                for other in range(member + 1, members):
                    place += group[other, column] < group[member, column]
                source[first + place, free[column]] = first + member
    return source


@compiled(nogil=False)
def moved(source, order):
    """Return the rows of `source` in another order, both int32 (batch, patches), each row by its own."""
    found = np.empty(source.shape, np.int32)
    for sample in range(source.shape[0]):
        for patch in range(source.shape[1]):
            found[sample, patch] = source[sample, order[sample, patch]]
    return found


@compiled(nogil=False)
def shares(source):
    """Return the share of each output's patches that comes from each sample.

    Parameters
    ----------
    source : int32 array (batch, patches)
        The sample from which each patch comes.

    Returns
    -------
    firsts : int64 array (batch + 1,)
    samples : int32 array (entries,)
    shares : float32 array (entries,)
        See `cellmix_dali.mixing.mixing_matrix.MixingMatrix`; samples in the order in which they are met.
    """
    batch, patches = source.shape
    firsts, samples = np.empty(batch + 1, np.int64), np.empty(batch * patches, np.int32)
    counts, times = np.empty(batch * patches, np.float32), np.zeros(batch, np.int32)
    firsts[0] = 0
    for output in range(batch):
        end = firsts[output]
        for patch in range(patches):
            sample = source[output, patch]
            if times[sample] == 0:
                samples[end] = sample
                end += 1
            times[sample] += 1
        for entry in range(firsts[output], end):
            counts[entry] = times[samples[entry]] / patches
            times[samples[entry]] = 0
        firsts[output + 1] = end
    return firsts, samples[: firsts[batch]].copy(), counts[: firsts[batch]].copy()


@compiled(nogil=False)
def mixed_values(firsts, samples, shares, values):
    """Return rows of values, float64 (batch, numbers), added up by their shares."""
    mixed = np.zeros(values.shape, np.float64)
    for output in range(firsts.size - 1):
        for entry in range(firsts[output], firsts[output + 1]):
            sample, share = samples[entry], np.float64(shares[entry])
            for number in range(values.shape[1]):
                mixed[output, number] += share * values[sample, number]
    return mixed


@compiled(nogil=False)
def mixed_classes(firsts, samples, shares, classes, num_classes):
    """Return the share of each class in each output, float64 (batch, num_classes); classes must be in range."""
    mixed = np.zeros((firsts.size - 1, num_classes), np.float64)
    for output in range(firsts.size - 1):
        for entry in range(firsts[output], firsts[output + 1]):
            mixed[output, classes[samples[entry]]] += np.float64(shares[entry])
    return mixed


@compiled(nogil=False)
def most_frequent(cells):
    """Return the sample that most cells of each token come from; of several, the output's own, else the lowest.

    Parameters
    ----------
    cells : int32 array (batch, tokens, cells)
        The sample from which each cell comes.

    Returns
    -------
    int32 array (batch, tokens)
    """
    batch, tokens, count = cells.shape
    found = np.empty((batch, tokens), np.int32)
    times = np.zeros(batch, np.int32)
    for sample in range(batch):
        for token in range(tokens):
            for cell in range(count):
                times[cells[sample, token, cell]] += 1
            best = sample
            for cell in range(count):
                other = cells[sample, token, cell]
                if times[other] > times[best] or (times[other] == times[best] and other < best and best != sample):
                    best = other
            for cell in range(count):
                times[cells[sample, token, cell]] = 0
            found[sample, token] = best
    return found
