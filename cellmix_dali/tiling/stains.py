"""The stain normalisation that a tiling job is asked for: which table, which target, what of it is in the record."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..stain import StainChange, StainFit, StainTable

__all__ = ["change_of", "scale_note", "stain_record"]


def stain_record(stains: Path, target: str) -> dict[str, Any]:
    """Return what decides over the colours of tiles, as JSON values: a job goes on with the same alone.

    Parameters
    ----------
    stains : Path
        The table of stains.
    target : str
        See `cellmix_dali.stain.StainTable.target`.

    Raises
    ------
    ArgumentError
        If the table or the target cannot be used.
    """
    table, wanted = _opened(stains, _state(stains), target)
    rows = hashlib.sha256(json.dumps([row.to_json() for row in table.rows], sort_keys=True).encode()).hexdigest()
    return {"method": table.method_name, "rows": rows, "target": {"of": target, **wanted.to_json()}}


def change_of(stains: Path, target: str, slide: Path) -> StainChange:
    """Return what normalises a slide's tiles.

    Raises
    ------
    ArgumentError
        If the table lacks the slide, or its stain could not be fitted: its tiles would have other colours than all
        others.
    """
    table, wanted = _opened(stains, _state(stains), target)
    row = table.row_of(slide)
    if row.fit is None:
        raise ArgumentError(f"{slide} has no fitted stain in {stains}, so its tiles cannot be normalised. {row.fault}")
    return row.fit.change_to(wanted)


def scale_note(stains: Path, target: str, slide: Path, mpp: float | None) -> str:
    """Say, for a person, that a slide's stain was fitted at another resolution than its tiles have; else nothing.

    Raises
    ------
    ArgumentError
        If the table lacks the slide.
    """
    from ..tables.one_resolution import mixed_resolutions

    fitted = _opened(stains, _state(stains), target)[0].row_of(slide).mpp
    told = mixed_resolutions((slide, slide), (fitted, mpp))
    return f"its stain was fitted at {_shown(fitted)}, its tiles are at {_shown(mpp)}" if told else ""


def _shown(mpp: float | None) -> str:
    return "an unknown resolution" if mpp is None else f"{mpp:.4g} µm per pixel"


def _state(path: Path) -> tuple[int, int]:
    """What tells that a file has changed; of one that cannot be looked at, whoever opens it says what is wrong."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=2)
def _opened(stains: Path, _state: tuple[int, int], target: str) -> tuple[StainTable, StainFit]:
    """The table and its target, once per process."""
    from ..stain import StainTable

    table = StainTable.open(stains)
    return table, table.target(target)
