"""A few tiles of a slide, or of a tile table, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._arguments import integer
from .._random import generator
from ..errors import ArgumentError
from ..shards import image_sizes, is_sharded, open_tiles, tile_classes, tile_edge
from ..slides import open_slide
from ..storage.moment import is_folder
from ..tables.laying import lay_tiles
from ..tables.recipe import TileRecipe
from ..tables.tile_table import TileTable

__all__ = ["ChosenTiles", "choose_tiles"]

_TABLES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
_STREAM = 7  # keeps the choice's random numbers apart from the others under one seed


@dataclass(frozen=True, eq=False)
class ChosenTiles:
    """Tiles that were chosen, and how to read them.

    Attributes
    ----------
    table : TileTable
        The tiles.
    tile_size : int
        Side of the images in pixels.
    edge : str
        "skip" or "pad", see `cellmix_dali.plugins.TileSource`.
    classes : tuple of str or None
        Names of the labels; None where the tiles have no labels.
    """

    table: TileTable
    tile_size: int
    edge: str = "skip"
    classes: tuple[str, ...] | None = None

    def labels(self) -> NDArray[np.float32]:
        """Return class shares, float32 (tiles, classes); without labels, every tile is a class of its own."""
        label = self.table.label
        if self.classes is None or label is None:
            return np.eye(len(self.table), dtype=np.float32)
        if label.ndim == 2:
            return label.astype(np.float32, copy=False)
        return np.eye(len(self.classes), dtype=np.float32)[label]


def choose_tiles(
    source: Path,
    count: int,
    recipe: TileRecipe | None = None,
    *,
    tile_size: int | None = None,
    labels: bool = True,
    seed: int = 0,
) -> ChosenTiles:
    """Choose tiles: of a slide, spread over its tissue; of a table, spread over its rows, the classes taking turns.

    Parameters
    ----------
    source : Path
        A slide; a tile table, Parquet or Arrow; or the folder of a tiling job.
    count : int
        How many.
    recipe : TileRecipe, optional
        Which tiles of a slide are chosen from; those of a table are made already.
    tile_size : int, optional
        Side of the images in pixels; by default the recipe's, and of a table that of its tiles.
    labels : bool, default True
        Whether the tiles' labels are used.
    seed : int, default 0
        Of the choice.

    Returns
    -------
    ChosenTiles

    Raises
    ------
    CellMixDaliError
        If the source cannot be read, an argument does not fit it, or it has too few tiles.
    """
    random = generator(seed, stream=_STREAM)
    integer("count", count, low=1)
    if not (is_folder(source) or source.suffix.lower() in _TABLES):
        recipe = recipe or TileRecipe()
        return _of_slide(source, count, replace(recipe, tile_size=tile_size or recipe.tile_size), labels, random)
    if recipe is not None and not (recipe.of_any_scale and recipe.mpp_override is None):
        raise ArgumentError(f"mpp is of slides: the tiles of {source} have their resolution already. Leave it out.")
    return _of_table(source, count, tile_size, labels, random)


def _of_slide(path: Path, count: int, recipe: TileRecipe, labels: bool, random: np.random.Generator) -> ChosenTiles:
    """Tiles with tissue, from all over a slide."""
    with open_slide(path) as slide:
        table = lay_tiles(slide, recipe).table
    if len(table) < count:
        raise ArgumentError(
            f"{path} has {len(table)} tiles of {recipe.tile_size} pixels with {recipe.tissue:.0%} of tissue or more, "
            f"and {count} are needed: use a smaller --tile-size, --tissue or --batch-size, or a finer resolution."
        )
    chosen = table.select(_spread(np.arange(len(table)), count, random))
    return ChosenTiles(chosen, recipe.tile_size, recipe.edge, recipe.classes if labels and recipe.labelled else None)


def _of_table(path: Path, count: int, tile_size: int | None, labels: bool, random: np.random.Generator) -> ChosenTiles:
    """Tiles from all over a table, the classes taking turns."""
    table = open_tiles(path) if is_folder(path) else TileTable.open(path)
    if is_sharded(table):
        table = open_tiles(path)  # finds the shards, which lie beside it
    if len(table) < count:
        raise ArgumentError(f"{path} has {len(table)} tiles, and {count} are needed: use a smaller --batch-size.")
    label = table.label if labels and table.label is not None else np.zeros(len(table), np.int32)
    of = label if label.ndim == 1 else label.argmax(axis=1)
    kinds = [np.flatnonzero(of == number) for number in np.unique(of[of >= 0])]
    turns = [_spread(rows, min(count, len(rows)), random) for rows in kinds]
    chosen = [row for row in chain(*zip_longest(*turns)) if row is not None][:count]
    if len(chosen) < count:
        raise ArgumentError(
            f"Only {len(chosen)} tiles of {path} have a label: use a smaller --batch-size, or --no-labels."
        )
    picked = table.select(np.array(chosen))
    finished = "tile_size" in table.arrow.column_names  # a tiling job's coordinates: windows may be larger
    sizes = picked.arrow["tile_size"].to_numpy() if finished else image_sizes(picked)
    return ChosenTiles(
        table=picked,
        tile_size=tile_size or int(sizes.max()),
        edge=tile_edge(table),
        classes=_names(table, label) if labels and table.label is not None else None,
    )


def _spread(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """One of each of `count` equal parts of the rows."""
    return np.array([random.choice(part) for part in np.array_split(rows, count)], np.int64)


def _names(table: TileTable, label: NDArray[np.generic]) -> tuple[str, ...]:
    """Names of the classes, or their numbers."""
    count = label.shape[1] if label.ndim == 2 else int(np.asarray(label).max()) + 1
    stated = tile_classes(table)
    return stated if stated is not None and len(stated) >= count else tuple(f"class {n}" for n in range(count))
