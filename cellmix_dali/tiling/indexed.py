"""The index of a job's slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..collection import CollectionIndex, IndexSettings, make_index
from ..tables.recipe import TileRecipe
from .slides import JobSlide

__all__ = ["index_slides"]


def index_slides(
    slides: Sequence[JobSlide], recipe: TileRecipe, place: Path, *, look: bool = False, **how: Any
) -> CollectionIndex:
    """Make the index of a job's slides, or bring it up to date, and open it.

    Parameters
    ----------
    slides : sequence of JobSlide
        The slides.
    recipe : TileRecipe
        Which tiles are to be laid: says what is looked for.
    place : Path
        The file.
    look : bool, default False
        Whether tissue is measured where no tile depends on it, too.
    **how
        Of `cellmix_dali.collection.make_index`: workers and patience.
    """
    mpps = [recipe.mpp_override if slide.mpp is None else slide.mpp for slide in slides]
    settings = IndexSettings(**recipe.looks_for(look=look))
    return make_index([slide.path for slide in slides], place, settings, mpps=mpps, **how)
