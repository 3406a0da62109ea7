"""What an embedding job is asked for: at which resolution, of which slides, and all that decides over its features."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ..collection.index import open_with
from ..errors import CellMixDaliError
from ..jobs.job_shard import JobShard
from ..tables.one_resolution import check_one_resolution
from ..tables.recipe import TileRecipe
from ..tiling.slides import JobSlide
from .model import FeatureModel
from .sources import Sources

__all__ = ["asked_for", "check_scale", "recipe_of", "slides_of"]


def slides_of(sources: Sources, shard: JobShard | None) -> tuple[JobSlide, ...]:
    """Return the slides of one shard of a job, or of the whole: dealt such that all have about as many tiles."""
    if shard is None:
        return sources.slides
    weights = [sources.weight(slide) for slide in sources.slides]
    loads, share = [0] * shard.of, []
    for index in sorted(range(len(weights)), key=lambda each: (-weights[each], each)):
        least = loads.index(min(loads))
        loads[least] += max(1, weights[index])
        if least == shard.number - 1:
            share.append(index)
    return tuple(sources.slides[index] for index in sorted(share))


def recipe_of(model: FeatureModel, recipe: TileRecipe) -> tuple[TileRecipe, tuple[str, ...]]:
    """Return the recipe at the model's own resolution, where it asks for none, and what a person should know."""
    own = model.configuration
    mean, std = (", ".join(f"{value:g}" for value in of) for of in (own.mean, own.std))
    notes = [f"normalisation: mean {mean}, std {std} ({own.said_by})", *model.notes]
    if recipe.of_any_scale and recipe.level is None and own.mpp is not None:
        recipe = replace(recipe, mpp=own.mpp)
        notes.append(f"{own.mpp:g} microns per pixel: the model's own")
    elif recipe.mpp is not None and own.mpp is not None and abs(recipe.mpp - own.mpp) > 0.05 * own.mpp:
        notes.append(f"the model was made for {own.mpp:g} microns per pixel, and the tiles have {recipe.mpp:g}")
    if own.size not in (None, recipe.tile_size):
        notes.append(f"the model was made for images of {own.size} pixels, and the tiles have {recipe.tile_size}")
    return recipe, tuple(notes)


def check_scale(sources: Sources) -> None:
    """Refuse slides whose tiles would be of different scale."""
    known, mpps = [], []
    for slide in sources.slides if len(sources.slides) > 1 else ():
        try:
            with open_with(sources.index, slide.path) as opened:
                mpps.append(sources.recipe.choose_level(opened, slide.mpp).level_mpp)
        except CellMixDaliError:  # it fails when its turn comes, and is told then
            continue
        known.append(slide.path)
    check_one_resolution(known, mpps)


def asked_for(
    sources: Sources, model: FeatureModel, recipe: TileRecipe, file_format: str, shard: JobShard | None
) -> dict[str, Any]:
    """Return what decides over the features, as JSON values."""
    tiles: dict[str, Any] = {}
    for each in fields(recipe):
        value = getattr(recipe, each.name)
        plain = isinstance(value, str | int | float | bool | None)
        tiles[each.name] = value if plain else list(value) if isinstance(value, tuple) else str(value)
    return {
        "model": model.name,
        "weights digest": model.digest(),
        **{name: value for name, value in model.settings.to_json().items() if name != "weights"},
        "configuration": model.configuration.to_json(),
        **tiles,
        "format": file_format,
        "shard": None if shard is None else str(shard),
        **sources.told(),
        "slides": [str(slide.path) for slide in sources.slides],
    }
