"""The index of the slides that tiles are laid on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..collection import CollectionIndex, IndexSettings, make_index
from .recipe import TileRecipe

__all__ = ["index_slides"]


def index_slides(
    slides: Sequence[Path],
    mpps: Sequence[float | None],
    recipe: TileRecipe,
    place: str | Path,
    *,
    look: bool = False,
    **how: Any,
) -> CollectionIndex:
    """Make an index of slides, or bring it up to date, and open it.

    Parameters
    ----------
    slides : sequence of Path
        The slides.
    mpps : sequence of float or None
        Microns per pixel of each slide's first level, where its file is not believed.
    recipe : TileRecipe
        Which tiles are to be laid: says what is looked for.
    place : str or Path
        The file.
    look : bool, default False
        Whether tissue is measured where no tile depends on it, too.
    **how
        Of `cellmix_dali.collection.make_index`: workers, patience, progress.
    """
    known = [recipe.mpp_override if mpp is None else mpp for mpp in mpps]
    return make_index(slides, place, IndexSettings(**recipe.looks_for(look=look)), mpps=known, **how)
