"""Random permutations whose places can be looked up one by one."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._random import generator

__all__ = ["Purpose", "draws", "permuted", "scattered"]

_STREAM = 1  # keeps the order's random numbers apart from the mixing's
_SMALL = 2**16
_ROUNDS = 8
_1, _27, _30, _31, _FIRST, _SECOND = (
    np.uint64(number) for number in (1, 27, 30, 31, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class Purpose(IntEnum):
    """What a permutation is for: keeps apart what is drawn for one epoch."""

    ROWS = 0
    RUNS = 1
    TURN = 2
    WINDOWS = 3
    GROUPS = 4
    MEMBERS = 5


def permuted(
    positions: NDArray[np.int64], size: int, *, seed: int, epoch: int, purpose: int = Purpose.ROWS
) -> NDArray[np.int64]:
    """Look up positions of a random permutation of 0 .. size - 1.

    Up to 65,536 elements the permutation is drawn as an array, once per epoch. Beyond, it is a keyed bijection (see
    `scattered`), so that an epoch over any number of tiles needs no array as long as the table.

    Parameters
    ----------
    positions : int64 array (n,)
        Places in the permutation, each in [0, size).
    size : int
        Number of elements.
    seed, epoch : int
        Key of the permutation.
    purpose : int, default 0
        Keeps apart permutations under one key.

    Returns
    -------
    int64 array (n,)
    """
    if size <= _SMALL:
        return _drawn(size, seed, epoch, purpose)[positions]
    return scattered(positions, size, seed=seed, epoch=epoch, purpose=purpose)


def scattered(
    positions: NDArray[np.int64],
    sizes: ArrayLike,
    *,
    seed: int,
    epoch: int,
    purpose: int,
    which: ArrayLike = 0,
) -> NDArray[np.int64]:
    """Look up positions of many keyed permutations at once, each of its own size.

    A generalised Feistel network: a number below size is written as two digits, left * b + right with a * b just at
    or above size, and each digit in turn is shifted by a hash of the other; what lands at size or above goes through
    again (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Less than one number in sqrt(size)
    goes round again. Turning the ring of places before and after makes the row at any one place exactly uniform even
    for the few places of a small permutation, where eight rounds alone are not enough.

    Parameters
    ----------
    positions : int64 array (n,)
        Places, each in [0, size) of its permutation.
    sizes : int or int array (n,)
        Number of elements of the permutation that each place is in.
    seed, epoch, purpose : int
        Key of the family of permutations.
    which : int or int array (n,)
        Number of the permutation within the family.

    Returns
    -------
    int64 array (n,)
    """
    keys = draws(seed, epoch, purpose)
    size = np.atleast_1d(np.asarray(sizes)).astype(np.uint64)
    a = np.ceil(np.sqrt(size.astype(np.float64))).astype(np.uint64)
    b = (size + a - np.uint64(1)) // a
    member = _mixed(np.atleast_1d(np.asarray(which)).astype(np.uint64) + keys[0])
    turned = _shift(member ^ keys[1], size)
    values = (positions.astype(np.uint64) + turned) % size
    outside = np.arange(len(values))
    while outside.size:
        passed = _pass(values[outside], _at(a, outside), _at(b, outside), _at(member, outside), keys[3:])
        values[outside] = passed
        outside = outside[passed >= _at(size, outside)]
    return ((values + _shift(member ^ keys[2], size)) % size).astype(np.int64)


@lru_cache(maxsize=32)
def draws(seed: int, epoch: int, purpose: int) -> NDArray[np.uint64]:
    """Draw the random 64-bit numbers of one purpose in one epoch: three for `scattered`, then one per round."""
    keys = generator(seed, epoch=epoch, iteration=purpose, stream=_STREAM).integers(
        0, 2**64, size=3 + _ROUNDS, dtype=np.uint64
    )
    keys.flags.writeable = False
    return keys


@lru_cache(maxsize=4)
def _drawn(size: int, seed: int, epoch: int, purpose: int) -> NDArray[np.int64]:
    """A small permutation as an array; drawing it anew for each batch would cost a millisecond."""
    order = generator(seed, epoch=epoch, iteration=purpose, stream=_STREAM).permutation(size)
    order.flags.writeable = False
    return order


def _pass(
    values: NDArray[np.uint64],
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    member: NDArray[np.uint64],
    keys: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """One pass of the network over numbers below a * b."""
    left = values // b
    right = values - left * b
    for even, odd in zip(keys[::2], keys[1::2], strict=True):
        left += _shift((right + member) ^ even, a)
        left %= a
        right += _shift((left + member) ^ odd, b)
        right %= b
    return left * b + right


def _shift(values: NDArray[np.uint64], below: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash to a number below a bound. The bias, below / 2**63, is out of any test's reach."""
    shift = _mixed(values)
    shift >>= _1
    shift %= below
    return shift


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood, OOPSLA 2014); wraps around on purpose."""
    mixed = values ^ (values >> _30)
    mixed *= _FIRST
    mixed ^= mixed >> _27
    mixed *= _SECOND
    mixed ^= mixed >> _31
    return mixed


def _at(values: NDArray[np.uint64], chosen: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Elements of an array that may hold one value for all."""
    return values if len(values) == 1 else values[chosen]
