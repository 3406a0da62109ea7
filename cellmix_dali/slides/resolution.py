"""Which level of a slide to read for a wanted resolution, and how large a window of it makes one tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ArgumentError, SlideError

if TYPE_CHECKING:
    from .slide import Slide

__all__ = [
    "MPP_RANGE",
    "TOLERANCE",
    "LevelChoice",
    "check_resolution",
    "choose_level",
    "mpp_problem",
    "objective_power",
    "slide_mpp",
]

TOLERANCE = 0.02
"""Share by which a level's resolution may differ from the wanted one and still be read without a resize."""

MPP_RANGE = (0.05, 40.0)
"""Microns per pixel of a first level that are believed.

The finest scanners reach 0.08. The upper end lets files through that hold a slide's overview alone (a DICOM instance
of 29 is real); too large a value does no silent harm, as finer tiles are then refused, while too small a one would
shrink every tile.
"""

_UNEQUAL = 0.05  # share by which a pixel's width and height may differ: tiles are read as if they were equal
_POWER_RANGE = (0.5, 200.0)
_POWER_NAMES = ("openslide.objective-power", "aperio.AppMag")
_SAY_MPP = (
    "Say the true one: mpp_override=..., --mpp-override, or a column 'mpp' in the slide list; or choose by level."
)


@dataclass(frozen=True)
class LevelChoice:
    """How tiles are read from one slide.

    Attributes
    ----------
    level : int
        Level to read; 0 is the finest.
    size : int
        Side of a tile's window in pixels of that level.
    level_mpp : float or None
        Microns per pixel of that level; None where the slide does not say, or what it says is absurd.
    resized : bool
        Whether the window must be shrunk to the wanted tile size.
    """

    level: int
    size: int
    level_mpp: float | None
    resized: bool


def check_resolution(
    tile_size: int,
    *,
    mpp: float | None = None,
    level: int | None = None,
    magnification: float | None = None,
    mpp_override: float | None = None,
) -> None:
    """Refuse arguments of `choose_level` that fit no slide at all.

    Parameters
    ----------
    tile_size, mpp, level, magnification, mpp_override
        See `choose_level`.

    Raises
    ------
    ArgumentError
        If a value is out of range, or more than one of `mpp`, `level` and `magnification` is given.
    """
    wanted = {"mpp": mpp, "level": level, "magnification": magnification}
    given = [f"{name}={value}" for name, value in wanted.items() if value is not None]
    if len(given) > 1:
        raise ArgumentError(f"{' and '.join(given)}: the resolution is chosen by one of them, give only one.")
    if tile_size < 1:
        raise ArgumentError(f"tile_size={tile_size}: a tile has at least 1 pixel on each side.")
    if level is not None and level < 0:
        raise ArgumentError(f"level={level}: levels are counted from 0, the finest.")
    for name, value in (("mpp", mpp), ("magnification", magnification)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ArgumentError(f"{name}={value}: give a number above 0, such as mpp=0.5 or magnification=20.")
    if mpp_override is not None and not MPP_RANGE[0] <= mpp_override <= MPP_RANGE[1]:
        raise ArgumentError(
            f"mpp_override={mpp_override}: give the microns per pixel of the slide's first level, "
            f"{MPP_RANGE[0]:g} to {MPP_RANGE[1]:g}; 0.25 and 0.5 are usual."
        )


def mpp_problem(slide: Slide) -> str | None:
    """Say what is wrong with the microns per pixel that a slide's file states.

    Parameters
    ----------
    slide : Slide
        An open slide.

    Returns
    -------
    str or None
        A sentence with the value, the file and what to do; None where the value can be believed: within `MPP_RANGE`,
        and across and down equal up to 5 %.
    """
    if slide.mpp is None:
        return f"{slide.path} does not say its mpp (microns per pixel). {_SAY_MPP}"
    low, high = MPP_RANGE
    if not all(low <= value <= high for value in slide.mpp):
        value = next(value for value in slide.mpp if not low <= value <= high)
        return (
            f"The mpp of {slide.path} reads {value:.6g}, which no slide has "
            f"(believed are {low:g} to {high:g} microns per pixel). {_SAY_MPP}"
        )
    x, y = slide.mpp
    if max(x, y) > min(x, y) * (1 + _UNEQUAL):
        return f"The mpp of {slide.path} reads {x:.6g} across and {y:.6g} down: its pixels are not square. {_SAY_MPP}"
    return None


def slide_mpp(slide: Slide, mpp_override: float | None = None) -> float:
    """Return the microns per pixel of a slide's first level.

    Parameters
    ----------
    slide : Slide
        An open slide.
    mpp_override : float, optional
        What it is, whatever the file says.

    Returns
    -------
    float
        The override, or the mean of the file's values across and down.

    Raises
    ------
    SlideError
        If there is no override and the file's value is missing or absurd (see `mpp_problem`).
    """
    if mpp_override is not None:
        return float(mpp_override)
    problem = mpp_problem(slide)
    if problem is not None or slide.mpp is None:
        raise SlideError(problem)
    return (slide.mpp[0] + slide.mpp[1]) / 2


def objective_power(slide: Slide) -> float | None:
    """Return the magnification of a slide's first level as its scanner states it; None where it does not.

    Parameters
    ----------
    slide : Slide
        An open slide.

    Returns
    -------
    float or None
        Property ``openslide.objective-power``, else ``aperio.AppMag``; None for a value outside 0.5 to 200.
    """
    for name in _POWER_NAMES:
        try:
            power = float(slide.properties[name])
        except (KeyError, ValueError):
            continue
        if _POWER_RANGE[0] <= power <= _POWER_RANGE[1]:
            return power
    return None


def choose_level(
    slide: Slide,
    tile_size: int,
    *,
    mpp: float | None = None,
    level: int | None = None,
    magnification: float | None = None,
    mpp_override: float | None = None,
) -> LevelChoice:
    """Choose the level to read, and the window that makes a tile of a wanted size and resolution.

    The coarsest level that is at least as fine as wanted is read, and its window shrunk to the tile size. A level
    within `TOLERANCE` (2 %) of the wanted resolution, finer or coarser, is read as it is, without a resize. Tiles are
    never enlarged.

    Parameters
    ----------
    slide : Slide
        An open slide.
    tile_size : int
        Side of a finished tile in pixels.
    mpp : float, optional
        Wanted microns per pixel.
    level : int, optional
        A level to read as it is, 0 the finest; 0 by default, if neither `mpp` nor `magnification` is given.
    magnification : float, optional
        Wanted magnification, such as 20. A level's magnification is the slide's objective power divided by the
        level's downsample. It is not worked out from microns per pixel, nor these from it: the rule "mpp = 10 /
        magnification" is wrong by 10 % and more on common scanners.
    mpp_override : float, optional
        Microns per pixel of the slide's first level, whatever its file says.

    Returns
    -------
    LevelChoice
        Level and window.

    Raises
    ------
    ArgumentError
        If a value is out of range, the slide has no such level, its finest level is coarser than wanted, or more than
        one way of choosing is given.
    SlideError
        If the slide's microns per pixel or objective power are needed, and missing or absurd.
    """
    check_resolution(tile_size, mpp=mpp, level=level, magnification=magnification, mpp_override=mpp_override)
    if mpp is not None:
        finest = slide_mpp(slide, mpp_override)
        chosen, shrink = _nearest_finer(slide, mpp / finest)
        if shrink is None:
            raise ArgumentError(
                f"The finest level of {slide.path} has mpp {finest:.6g}, coarser than the wanted {mpp:g}: its tiles "
                f"would have to be enlarged. Ask for mpp={finest:.4g} or more, or leave the slide out; if its mpp is "
                f"wrong, {_SAY_MPP[0].lower()}{_SAY_MPP[1:]}"
            )
    elif magnification is not None:
        power = objective_power(slide)
        if power is None:
            raise SlideError(
                f"{slide.path} does not say its objective power (properties {' and '.join(_POWER_NAMES)}), so "
                f"magnification={magnification:g} cannot be found in it. Choose by mpp instead: {magnification:g}x is "
                f"about mpp={10 / magnification:.3g} on many scanners; or by level."
            )
        chosen, shrink = _nearest_finer(slide, power / magnification)
        if shrink is None:
            raise ArgumentError(
                f"The finest level of {slide.path} has magnification {power:g}, less than the wanted "
                f"{magnification:g}: its tiles would have to be enlarged. Ask for magnification={power:g} or less, or "
                "leave the slide out."
            )
    else:
        chosen, shrink = level or 0, 1.0
        if chosen >= len(slide.levels):
            raise ArgumentError(f"{slide.path} has levels 0 to {len(slide.levels) - 1}, not {chosen}.")
    size = round(tile_size * shrink)
    known = mpp_override is not None or mpp_problem(slide) is None
    level_mpp = slide_mpp(slide, mpp_override) * slide.levels[chosen].downsample if known else None
    return LevelChoice(chosen, size, level_mpp, size != tile_size)


def _nearest_finer(slide: Slide, downsample: float) -> tuple[int, float | None]:
    """The level for a wanted downsample, and how many of its pixels make one of a tile; None to enlarge."""
    most = downsample * (1 + TOLERANCE) * (1 + 1e-9)  # the last factor for rounding errors
    fine = [number for number, level in enumerate(slide.levels) if level.downsample <= most]
    if not fine:
        return 0, None
    chosen = max(fine, key=lambda number: slide.levels[number].downsample)
    shrink = downsample / slide.levels[chosen].downsample
    return chosen, shrink if shrink > (1 + TOLERANCE) * (1 + 1e-9) else 1.0
