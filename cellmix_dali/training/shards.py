"""A tiled collection: the tiles that `cellmix-dali tile` made, with their labels, or by their share of tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..shards import is_sharded, open_tiles, tile_classes, tile_edge
from ..tables.one_resolution import mixed_resolutions
from ..tables.split_columns import SPLIT_COLUMNS
from ..tables.tile_table import TileTable
from .data import TrainingData
from .division import Division
from .tile_samples import TileSamples

__all__ = ["shard_data"]


def shard_data(
    folder: Path,
    *,
    tile_size: int | None = None,
    division: Division | None = None,
    verify: str = "headers",
) -> TrainingData[TileTable]:
    """Take the tiles of a tiled collection; divide them as their list of slides said, or hold out patients or slides.

    Of a single slide the right side is held out.

    Parameters
    ----------
    folder : Path
        What ``cellmix-dali tile --out`` wrote. The slides themselves are needed only for a collection of coordinates
        alone.
    tile_size : int, optional
        Side of the images in pixels, to which the tiles are resized; by default their own.
    division : Division, optional
        What is tested on, and what chooses the best epoch.
    verify : str, default "headers"
        What is verified of a tile, see `cellmix_dali.pipelines.train_loader`.

    Raises
    ------
    CellMixDaliError
        If there is no such collection, it has too few tiles or classes, or its tiles are of several sizes and no
        `tile_size` is given.
    """
    hashes = {"sha256"} if verify == "hash" else set()
    table = open_tiles(folder, columns={"tissue", "mpp", *SPLIT_COLUMNS, *hashes})
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
    division = division or Division()
    alone = len(table.slides) == 1 and division.fold is None
    sides = division.of_one_slide(table) if alone else division.of(table, classes)
    if len(np.unique(np.asarray(sides.train.label))) < 2:
        raise ArgumentError(
            f"The training tiles in {folder} are all of one class: there is nothing to tell apart ({task}; "
            f"{sides.said}). Tile more slides, or change --hold-out or --seed."
        )
    return TrainingData(
        source=TileSamples(
            int(sizes[0]) if tile_size is None else tile_size,
            tile_edge(table),
            dict.fromkeys(table.slides, f"from {'the shards' if is_sharded(table) else 'the slide'}, as {folder} says"),
            verify,
        ),
        train=sides.train,
        validation=sides.validation,
        test=sides.test,
        classes=classes,
        task=task,
        split=sides.said,
        notes=(*sides.notes, *_mixed(table)),
    )


def _by_tissue(table: TileTable, folder: Path) -> tuple[TileTable, tuple[str, str], str]:
    """Label tiles by whether they have more tissue than half of them."""
    share: NDArray[np.float64] = table.arrow["tissue"].to_numpy().astype(np.float64)
    if np.isnan(share).any():
        raise ArgumentError(
            f"The tiles in {folder} have neither labels nor shares of tissue: nothing says what is on them. Tile with "
            "a list of slides that has a column 'label', or with annotations."
        )
    median = float(np.median(share))
    # Where half of the tiles or more are full of tissue, none has more than the median.
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


def _mixed(table: TileTable) -> list[str]:
    """Say where the finished tiles are of different scale: it may have been meant, so nothing is refused."""
    mpps: NDArray[np.float64] = table.arrow["mpp"].to_numpy().astype(np.float64)
    least, most = (np.full(len(table.slides), start) for start in (np.inf, -np.inf))
    np.fmin.at(least, table.slide, mpps)
    np.fmax.at(most, table.slide, mpps)
    known = [None if low > high else float(high) for low, high in zip(least, most, strict=True)]
    told = mixed_resolutions(table.slides, known)
    if told is None:
        return []
    return [f"the tiles are of different scale (microns per pixel: {told}): unless that is meant, tile with --mpp"]
