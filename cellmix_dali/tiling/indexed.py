"""The index of a tiling job's slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..collection import IndexSettings, make_index
from ..tables.recipe import TileRecipe
from .slides import Collection

__all__ = ["index_slides"]


def index_slides(collection: Collection, recipe: TileRecipe, place: Path, **how: Any) -> None:
    """Make the index of a job's slides, or bring it up to date.

    Parameters
    ----------
    collection : Collection
        The slides.
    recipe : TileRecipe
        Which tiles are to be laid: says what is looked for.
    place : Path
        The file.
    **how
        Of `cellmix_dali.collection.make_index`: workers and patience.
    """
    mpps = [recipe.mpp_override if slide.mpp is None else slide.mpp for slide in collection.slides]
    settings = IndexSettings(**recipe.looks_for(look=True))
    make_index([slide.path for slide in collection.slides], place, settings, mpps=mpps, **how)
