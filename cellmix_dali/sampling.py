"""The order of an epoch: a pure function of (seed, epoch, iteration, rank, world size)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError
from .mixing.random import generator

__all__ = ["EpochOrder", "permuted"]

_STREAM = 1  # keeps the order's random numbers apart from the mixing's
_SMALL = 2**16
_ROUNDS = 6


def permuted(positions: NDArray[np.int64], size: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Look up positions of a random permutation of 0 .. size - 1.

    Up to 65,536 elements the permutation is drawn as an array. Beyond, it is a keyed bijection (a balanced Feistel
    network, walked until it lands inside: Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002),
    so that an epoch over any number of tiles needs no array as long as the table.

    Parameters
    ----------
    positions : int64 array (n,)
        Places in the permutation, each in [0, size).
    size : int
        Number of elements.
    seed, epoch : int
        Key of the permutation.

    Returns
    -------
    int64 array (n,)
    """
    random = generator(seed, epoch=epoch, stream=_STREAM)
    if size <= _SMALL:
        return random.permutation(size)[positions]
    half = np.uint64(((size - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = random.integers(0, 2**64, size=_ROUNDS, dtype=np.uint64)
    values = positions.astype(np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half, mask, keys)
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _feistel(
    values: NDArray[np.uint64], half: np.uint64, mask: np.uint64, keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """One pass of the network over numbers of twice `half` bits."""
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood, OOPSLA 2014); wraps around on purpose."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class EpochOrder:
    """Which samples make which batch.

    Parameters
    ----------
    size : int
        Number of samples.
    batch_size : int
        Samples a batch and rank.
    shuffle : bool, default True
        A new random order every epoch; False: the table's order.
    drop_last : bool, default True
        Leave out the incomplete batch at the end, so that all ranks make equally many full batches. False: the last
        batch is short.
    seed : int, default 0
        Key of the order.
    rank, world_size : int, default 0 and 1
        This process among those that share the epoch; ranks take turns, batch by batch.

    Raises
    ------
    ArgumentError
        If there are fewer samples than one batch needs.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size={batch_size} is no batch: it must hold at least one sample.")
        if not 0 <= rank < world_size:
            raise ArgumentError(f"rank={rank} is not among world_size={world_size} processes.")
        self.size, self.batch_size = size, batch_size
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.rank, self.world_size = rank, world_size
        if len(self) < 1:
            raise ArgumentError(
                f"{size} tiles do not fill one batch of {batch_size} for each of {world_size} process(es): "
                "use more tiles or a smaller batch_size."
            )

    def __len__(self) -> int:
        """Batches an epoch on this rank."""
        if self.drop_last:
            return self.size // (self.batch_size * self.world_size)
        mine = self.size - self.rank * self.batch_size
        return max(0, -(-mine // (self.batch_size * self.world_size)))

    def batch(self, epoch: int, iteration: int) -> NDArray[np.int64]:
        """Give the sample numbers of one batch, int64 (batch,)."""
        first = (iteration * self.world_size + self.rank) * self.batch_size
        positions = np.arange(first, min(first + self.batch_size, self.size), dtype=np.int64)
        return permuted(positions, self.size, seed=self.seed, epoch=epoch) if self.shuffle else positions
