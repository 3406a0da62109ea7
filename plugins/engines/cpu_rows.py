"""The mixing matrix times the rows of a batch, labels or others, as an operator of compiled code: once per batch."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from ..dali import DataNode, types
from .raw_numba import RUN, SETUP, compiled_callback, raw_operator

__all__ = ["mixed_rows"]


def mixed_rows(rows: DataNode, weights: DataNode) -> DataNode:
    """Return float32 (numbers,): the sample's row of the mixing matrix times the rows of all samples.

    DALI has no operator across the samples of a batch but the paste, which costs thirty times as much.

    Parameters
    ----------
    rows : DataNode, float32 (numbers,), on the CPU
        Of each sample, all of one length; of others nothing is read beyond the shortest, and the rest is NaN.
    weights : DataNode, float32 (batch,), on the CPU
        The sample's row of the mixing matrix.
    """
    return _operator()(rows, weights)


@functools.cache
def _operator() -> Callable[..., DataNode]:
    """The operator, for all pipelines of the process."""
    return raw_operator(_mix, _as_rows, inputs=[(types.FLOAT, 1)] * 2, output=(types.FLOAT, 1), batch=True)


@compiled_callback(SETUP)
def _as_rows(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that there is a number for each of the row."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    given = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        numbers = carray(address_as_void_pointer(given[0, sample]), 1, np.int64)[0]
        carray(address_as_void_pointer(out[sample]), 1, np.int64)[0] = numbers


@compiled_callback(RUN)
def _mix(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs, samples):
    """Add up the rows that weigh anything, in the order of the samples."""
    targets = carray(address_as_void_pointer(out), samples, np.int64)
    given = carray(address_as_void_pointer(data), (inputs, samples), np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        length = carray(address_as_void_pointer(shapes[0, sample]), 1, np.int64)[0]
        partners = min(samples, carray(address_as_void_pointer(shapes[1, sample]), 1, np.int64)[0])
        target = carray(address_as_void_pointer(targets[sample]), length, np.float32)
        weights = carray(address_as_void_pointer(given[1, sample]), partners, np.float32)
        target[:] = 0
        for partner in range(partners):
            if weights[partner] == 0:
                continue
            known = min(length, carray(address_as_void_pointer(shapes[0, partner]), 1, np.int64)[0])
            row = carray(address_as_void_pointer(given[0, partner]), known, np.float32)
            for number in range(known):
                target[number] += weights[partner] * row[number]
            target[known:] = np.nan
