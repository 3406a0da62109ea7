"""Whether the tiles of several slides have one scale, where nobody asked for a resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import ArgumentError, some_of

__all__ = ["MIXED_BEYOND", "check_one_resolution", "mixed_resolutions"]

MIXED_BEYOND = 0.05
"""Share by which the mpps of tiles may differ and still count as one resolution: scanners of one kind do differ so."""

_GROUPS = 6  # mpps that a message names


def mixed_resolutions(slides: Sequence[str | Path], mpps: Sequence[float | None]) -> str | None:
    """Say which slides have which mpp, if they differ.

    Slides of unknown mpp among known ones count as different: nothing says that they are the same. Where no mpp is
    known there is nothing to compare, and all pass.

    Parameters
    ----------
    slides : sequence of str or Path
        The slides.
    mpps : sequence of float or None
        Microns per pixel of each one's tiles; None or NaN where it is unknown.

    Returns
    -------
    str or None
        A part of a sentence, such as "0.25: a.svs, b.svs; 0.5: c.svs"; None where all are equal within `MIXED_BEYOND`.
    """
    known = [(mpp, slide) for slide, mpp in zip(slides, mpps, strict=True) if mpp is not None and not math.isnan(mpp)]
    unknown = [slide for slide, mpp in zip(slides, mpps, strict=True) if mpp is None or math.isnan(mpp)]
    if not known:
        return None
    known.sort(key=lambda item: item[0])
    if not unknown and known[-1][0] <= known[0][0] * (1 + MIXED_BEYOND) * (1 + 1e-9):
        return None
    groups: list[tuple[float, list[str | Path]]] = []
    for mpp, slide in known:  # those that are equal up to the tolerance are named together
        if not groups or mpp > groups[-1][0] * (1 + MIXED_BEYOND):
            groups.append((mpp, []))
        groups[-1][1].append(slide)
    told = [f"{mpp:.4g}: {some_of(of)}" for mpp, of in groups[:_GROUPS]]
    if len(groups) > _GROUPS:
        told.append(f"and {len(groups) - _GROUPS} more mpps, up to {groups[-1][0]:.4g}")
    if unknown:
        told.append(f"unknown: {some_of(unknown)}")
    return "; ".join(told)


def check_one_resolution(slides: Sequence[str | Path], mpps: Sequence[float | None]) -> None:
    """Refuse slides whose tiles would be of different scale.

    Parameters
    ----------
    slides, mpps
        See `mixed_resolutions`.

    Raises
    ------
    ArgumentError
        Naming the slides with their mpps, and what to do.
    """
    told = mixed_resolutions(slides, mpps)
    if told is None:
        return
    values = [mpp for mpp in mpps if mpp is not None and not math.isnan(mpp)]
    whole = len(values) == len(mpps)
    coarsest = math.ceil(max(values) * 100 - 1e-6) / 100
    raise ArgumentError(
        "No resolution was asked for, and the slides' tiles would be of "
        + ("different scale" if whole else "a scale that is not known to be one")
        + f" (microns per pixel: {told}). Ask for one: --mpp {coarsest:g} (mpp={coarsest:g}) is one that all "
        + ("can give; " if whole else "can give whose mpp is known; ")
        + ("" if whole else "say the unknown ones in a column 'mpp' of the slide list, or leave those slides out; ")
        + "or say that mixing is meant: --mixed-resolutions (mixed_resolutions=True)."
    )
