"""The true scale of each level: what padding and pictures that are not levels make of a pyramid's sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ScaledLevel", "true_scales"]

_ROUNDING = 2  # pixels by which a side may differ from the exact one; a pyramid rounds once a level
_LARGEST = 1 << 16  # scale that is thought of


@dataclass(frozen=True)
class ScaledLevel:
    """A level that counts.

    Attributes
    ----------
    number : int
        Its number in the file.
    width, height : int
        Its size in pixels, without padding.
    downsample : float
        How many pixels of level 0 make one of this level, along a side.
    file_width, file_height : int
        Its size in the file.
    file_downsample : float
        Its downsample by the file's own sizes, as OpenSlide counts.
    """

    number: int
    width: int
    height: int
    downsample: float
    file_width: int
    file_height: int
    file_downsample: float


def true_scales(
    sizes: Sequence[tuple[int, int]],
    blocks: Sequence[tuple[int, int] | None],
    downsamples: Sequence[float],
) -> tuple[list[ScaledLevel], list[str]]:
    """Judge the levels of a pyramid.

    A level whose width and height are both one scale below those of level 0, up to rounding, is as the file says. If
    they are not, or if the level is made of whole blocks and that scale is not a whole number, it may be padded to
    whole blocks (as CAMELYON's and Philips' TIFFs are): then the level has the one power of two, or else the one whole
    number, that both sides allow, and what lies beyond the picture is cut off.
    A level for which there is none, or more than one, is left out: a macro or a thumbnail among the levels, or a
    picture that is smaller than its only block.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Width and height of each level in pixels, level 0 first.
    blocks : sequence of (int, int) or None
        Width and height of the blocks of each level; None where they are not known, so that padding is not thought of.
    downsamples : sequence of float
        Of each level, as OpenSlide counts: the mean of both sides' ratios.

    Returns
    -------
    levels : list of ScaledLevel
        Those that count; level 0 always does.
    notes : list of str
        For a person: which levels were given another scale or left out, and why.
    """
    whole = sizes[0]
    levels = [ScaledLevel(0, *whole, 1.0, *whole, float(downsamples[0]))]
    notes: list[str] = []
    for number in range(1, len(sizes)):
        (width, height), file_downsample = sizes[number], float(downsamples[number])
        sides = list(zip(whole, sizes[number], strict=True))
        low, high = _both([(of / (side + _ROUNDING), _over(of, side - _ROUNDING)) for of, side in sides])
        block = blocks[number]
        may_be_padded = block is not None and _is_whole(sizes[number], block) and (low > high or math.ceil(low) > high)
        if low <= high and not may_be_padded:
            levels.append(ScaledLevel(number, width, height, file_downsample, width, height, file_downsample))
            continue
        what = f"level {number} ({width} x {height} pixels, level 0 has {whole[0]} x {whole[1]})"
        found = _padded(whole, sizes[number], blocks[0], block)
        if len(found) == 1:
            scale = found[0]
            inside = [min(side, math.ceil(of / scale)) for of, side in sides]
            levels.append(ScaledLevel(number, inside[0], inside[1], float(scale), width, height, file_downsample))
            notes.append(
                f"{what} is padded to whole blocks: its scale is {scale}, not {file_downsample:.4g}, and "
                f"{inside[0]} x {inside[1]} of its pixels are taken"
            )
        elif found:
            told = " or ".join(map(str, found[:4]))
            notes.append(f"{what} is left out: it is padded, and its scale may be {told}")
        else:
            across, down = (of / side for of, side in sides)
            notes.append(
                f"{what} is left out: it has other proportions (1:{across:.4g} across, 1:{down:.4g} down), so it is "
                "another picture, such as a macro or a thumbnail"
            )
    return levels, notes


def _padded(
    whole: tuple[int, int], size: tuple[int, int], first: tuple[int, int] | None, block: tuple[int, int] | None
) -> list[int]:
    """Scales that a level may have if it, or level 0, is padded to whole blocks: powers of two, or whole numbers."""
    ranges = []
    for axis in (0, 1):
        # Padded is what has whole blocks both ways.
        cut0 = first[axis] if first is not None and _is_whole(whole, first) else 0
        cut = block[axis] if block is not None and _is_whole(size, block) else 0
        side = size[axis]
        ranges.append(((whole[axis] - cut0) / (side + _ROUNDING), _over(whole[axis], side - cut - _ROUNDING)))
    low, high = _both(ranges)
    if low > high or all(limit == math.inf for limit in (low, high)):
        return []
    powers = [1 << power for power in range(1, _LARGEST.bit_length()) if low <= 1 << power <= high]
    if powers:
        return powers
    return list(range(max(2, math.ceil(low)), math.floor(min(high, _LARGEST)) + 1))


def _is_whole(size: tuple[int, int], block: tuple[int, int]) -> bool:
    """Whether a picture is made of whole blocks."""
    return size[0] % block[0] == 0 and size[1] % block[1] == 0


def _over(whole: int, side: int) -> float:
    return whole / side if side > 0 else math.inf


def _both(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What lies in all ranges; empty where the first is the larger."""
    return max(low for low, _ in ranges), min(high for _, high in ranges)
