"""Counter-based random numbers: a draw is a pure function of its key, whatever was drawn before it."""

from __future__ import annotations

import numpy as np

from .errors import ArgumentError

__all__ = ["generator"]


def generator(seed: int, *, epoch: int = 0, iteration: int = 0, rank: int = 0, stream: int = 0) -> np.random.Generator:
    """Make the random generator of one batch.

    Philox-4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the seed and the stream are
    its key, rank, epoch and iteration the upper words of its counter. The lowest word counts the numbers drawn,
    so two batches never share one.

    Parameters
    ----------
    seed : int
        The user's seed, 0 <= seed < 2**64.
    epoch, iteration, rank : int
        Which batch of which process, each >= 0.
    stream : int, default 0
        Keeps apart what is drawn for different purposes under one seed.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    ArgumentError
        If a number is negative or does not fit in 64 bits.
    """
    words = {"seed": seed, "stream": stream, "iteration": iteration, "epoch": epoch, "rank": rank}
    for name, value in words.items():
        if not 0 <= value < 2**64:
            raise ArgumentError(f"{name}={value} cannot key a random draw: use an integer from 0 to 2**64 - 1.")
    philox = np.random.Philox(
        key=np.array([seed, stream], np.uint64), counter=np.array([0, iteration, epoch, rank], np.uint64)
    )
    return np.random.Generator(philox)
