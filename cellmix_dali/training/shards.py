"""A tiled collection: the tiles that `cellmix-dali tile` made, with their labels, or by their share of tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..shards import is_sharded, open_tiles, tile_classes, tile_edge
from ..tiles import TileTable
from .data import TrainingData, left_and_right, split_by_slide

__all__ = ["shard_data"]


def shard_data(folder: Path, *, tile_size: int | None = None, hold_out: float = 0.2, seed: int = 0) -> TrainingData:
    """Take the tiles of a tiled collection; hold out whole slides, or the right side of a single one.

    Parameters
    ----------
    folder : Path
        What ``cellmix-dali tile --out`` wrote. The slides themselves are needed only for a collection of coordinates
        alone.
    tile_size : int, optional
        Side of the images in pixels, to which the tiles are resized; by default their own.
    hold_out : float, default 0.2
        Share of the slides to test on.
    seed : int, default 0
        Of the split.

    Raises
    ------
    CellMixDaliError
        If there is no such collection, it has too few tiles or classes, or its tiles are of several sizes and no
        `tile_size` is given.
    """
    table = open_tiles(folder)
    if not len(table):
        raise ArgumentError(f"There are no tiles in {folder}: tile slides that show tissue, or lower --tissue.")
    sizes = np.unique(table.arrow["tile_size"].to_numpy())
    if tile_size is None and len(sizes) > 1:
        raise ArgumentError(
            f"The tiles in {folder} are of {sizes[0]} to {sizes[-1]} pixels: give --tile-size, to resize them to."
        )
    if table.label is None:
        table, names, task = _by_tissue(table, folder)
        classes: tuple[str, ...] = names
    else:
        classes = tile_classes(table) or tuple(map(str, range(int(table.label.max()) + 1)))
        table.check_labels(len(classes))
        task = f"{len(classes)} classes: {', '.join(classes)}"
    train, test, split = _split(table, hold_out, seed)
    if len(np.unique(np.asarray(train.label))) < 2:
        raise ArgumentError(
            f"The training tiles in {folder} are all of one class: there is nothing to tell apart ({task}; {split}). "
            "Tile more slides, or change --hold-out or --seed."
        )
    return TrainingData(
        train=train,
        test=test,
        classes=classes,
        task=task,
        split=split,
        slides=dict.fromkeys(
            table.slides, f"from {'the shards' if is_sharded(table) else 'the slide'}, as {folder} says"
        ),
        tile_size=int(sizes[0]) if tile_size is None else tile_size,
        edge=tile_edge(table),
    )


def _by_tissue(table: TileTable, folder: Path) -> tuple[TileTable, tuple[str, str], str]:
    """Label tiles by whether they have more tissue than the half of them."""
    share: NDArray[np.float64] = table.arrow["tissue"].to_numpy().astype(np.float64)
    if np.isnan(share).any():
        raise ArgumentError(
            f"The tiles in {folder} have neither labels nor shares of tissue: nothing says what is on them. Tile with "
            "a list of slides that has a column 'label', or with annotations."
        )
    median = float(np.median(share))
    # Where the half of the tiles and more are full of tissue, none has more than the median.
    more = share > median
    words = ("less tissue", "more tissue") if more.any() else ("less tissue", "full of tissue")
    more = more if more.any() else share >= median
    if more.all():
        raise ArgumentError(
            f"The tiles in {folder} have no labels, and all have the same share of tissue ({median:.0%}): nothing "
            "tells them apart. Tile with a list of slides that has a column 'label', or with annotations."
        )
    than = f"more tissue than the median tile ({median:.1%})"
    if words[1] != "more tissue":
        than = f"as much tissue as the median tile ({median:.1%})"
    task = f"whether a tile shows {than}, as the tiles have no labels: a task to try things out, not a diagnosis"
    return table.with_labels(more.astype(np.int32)), words, task


def _split(table: TileTable, hold_out: float, seed: int) -> tuple[TileTable, TileTable, str]:
    """Hold out whole slides; of a single slide its right side, and none that overlap it."""
    if len(table.slides) > 1:
        train, test, held_out = split_by_slide(table, hold_out, seed=seed)
        shown = ", ".join(Path(path).name for path in held_out[:5]) + (" ..." if len(held_out) > 5 else "")
        return train, test, f"{len(held_out)} of {len(table.slides)} slides held out ({shown})"
    train, test = left_and_right(table)
    train = train.select(train.x + train.size <= test.x.min())
    return (
        train,
        test,
        "held out: the right side of the one slide (tiles of one slide resemble each other: use several slides)",
    )
