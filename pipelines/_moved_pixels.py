"""Whether an augmentation moves pixels, and class masks with them: seen on pictures made for it.

Each picture has stripes of two kinds. The pixels of one kind are changed, then those of the other: where the result
changes is where they have gone, whatever happened to colours, and however blurred they are. The stripes lie across in
every second picture, and are another pattern when they are flipped. A change swaps bright and dark in equal amounts, so
that it leaves the picture's histogram as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import IGNORED

__all__ = ["moved_apart", "moves_pixels"]

_Pictures = list[NDArray[np.uint8]]
_Result = Callable[..., "tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]"]

_STRIPES = (1, 1, 0, 1, 0, 0, 1, 0)
_LEVELS = np.array([[40, 60, 90], [210, 170, 220]], np.uint8)
_CLASSES = np.array([10, 200], np.uint8)  # far apart: interpolation makes many others
_SEEN = 1 / 3  # share of the greatest change from which a pixel's origin is known
_OFF = 7.5  # pixels per row that may be of the other kind: 1.5 for each border of stripes
_FILLING = 2  # further classes that what is pushed in may have


def moved_apart(result: _Result, tile_size: int, samples: int) -> str | None:
    """Return what is wrong if class masks do not go where their pixels go, else None.

    Parameters
    ----------
    result : callable
        ``result(images, masks)`` returns both changed, by the same draws each time.
    tile_size : int
        Side of the pictures in pixels.
    samples : int
        How many pictures are looked at.
    """
    kinds = _kinds(tile_size, samples)
    _, masks = result(_pictures(kinds), [_CLASSES[kind][..., None] for kind in kinds])
    others = np.setdiff1d(np.unique(np.stack(masks)), [*_CLASSES, IGNORED])
    if len(others) > _FILLING:
        return f"makes {len(others)} classes of {len(_CLASSES)} in draw.masks, as interpolation does"
    for found, mask in zip(_origins(result, kinds, masks=True), masks, strict=True):
        of_mask = np.select([mask[..., 0] == value for value in _CLASSES], [0, 1], -1)
        if _differ(found, of_mask):
            return "moves pixels of the images, and not those of draw.masks in the same way"
    return None


def moves_pixels(result: _Result, tile_size: int, samples: int) -> bool:
    """Return whether pixels change places; see `moved_apart` for the arguments."""
    kinds = _kinds(tile_size, samples)
    return any(map(_differ, _origins(result, kinds, masks=False), kinds))


def _kinds(tile_size: int, samples: int) -> list[NDArray[np.int64]]:
    """Which kind of stripe each pixel lies in, for each picture."""
    across = np.broadcast_to(np.array(_STRIPES)[_eighths(tile_size)], (tile_size, tile_size))
    return [across.T if number % 2 else across for number in range(samples)]


def _pictures(kinds: list[NDArray[np.int64]], changed: int | None = None) -> _Pictures:
    """Bright and dark bands, across the stripes; swapped in the stripes of one kind."""
    bands = np.broadcast_to(_eighths(len(kinds[0]))[:, None] % 2, kinds[0].shape)
    return [
        _LEVELS[np.where(kind == changed, 1 - own, own)]
        for number, kind in enumerate(kinds)
        for own in [bands.T if number % 2 else bands]
    ]


def _eighths(tile_size: int) -> NDArray[np.int64]:
    """In which eighth of the picture each row or column lies."""
    return np.arange(tile_size) * len(_STRIPES) // tile_size


def _origins(result: _Result, kinds: list[NDArray[np.int64]], *, masks: bool) -> list[NDArray[np.int64]]:
    """Of which kind of stripe each pixel was before; -1 where it is not known."""
    given = [np.zeros((*kind.shape, 1), np.uint8) for kind in kinds] if masks else None
    plain, *swapped = (
        np.stack(result(_pictures(kinds, changed), given)[0]).astype(np.int16) for changed in (None, 0, 1)
    )
    by_kind = np.stack([np.abs(each - plain).sum(axis=-1) for each in swapped])
    strongest = by_kind.max(axis=0)
    known = strongest > np.maximum(_SEEN * strongest.max(axis=(1, 2), keepdims=True), 3)
    return list(np.where(known, by_kind.argmax(axis=0), -1))


def _differ(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether kinds of pixels differ, where both are known, by more than the borders of stripes."""
    off = (one >= 0) & (other >= 0) & (one != other)
    return bool(off.sum() > _OFF * len(off))
