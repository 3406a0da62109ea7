"""What the demo trains and tests on: rendered slides with annotations, or the user's slides, tissue against glass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, SlideError
from ..slides import Slide, open_slide
from ..slides.folders import slides_in
from ..slides.identity import unique_slides
from ..storage.moment import is_folder
from ..synthetic import CLASSES, render_slides
from ..tables.laying import lay_tiles
from ..tables.recipe import TileRecipe
from ..tables.tile_table import TileTable
from .data import TrainingData
from .division import Division
from .tile_samples import TileSamples

__all__ = ["RENDERED_TILE", "rendered_data", "slide_data"]

_TISSUE = ("glass", "tissue")
RENDERED_TILE = 256  # the rendered slides' block size, and the tile size where a slide's own blocks make no tiles


def rendered_data(
    folder: Path,
    *,
    tile_size: int | None = None,
    count: int = 6,
    side: int = 3072,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingData[TileTable]:
    """Render slides and label their tiles by the annotations; the last slide is tested on.

    Parameters
    ----------
    folder : Path
        Where the slides are written.
    tile_size : int, optional
        Side of a tile in pixels; by default 256, the slides' block size.
    count : int, default 6
        Number of slides, at least 2.
    side : int, default 3072
        Side of a slide in pixels.
    seed : int, default 0
        Same seed, same slides.
    progress : callable, optional
        Called with (slides done, slides) after each.
    """
    size = tile_size or RENDERED_TILE
    slides = render_slides(folder, count=count, side=side, seed=seed, progress=progress)
    recipe = TileRecipe(size, tissue=0, annotations=folder, classes=CLASSES)
    tables, routes = [], {}
    for rendered in slides:
        with open_slide(rendered.path) as slide:
            tables.append(lay_tiles(slide, recipe).table)
            routes[str(rendered.path)] = f"{slide.route}: {slide.reason}"
    return TrainingData(
        source=TileSamples(size, slides=routes),
        train=TileTable.concat(tables[:-1]),
        validation=None,
        test=tables[-1],
        classes=CLASSES,
        task=f"{CLASSES[0]} against {CLASSES[1]}, by the rendered slides' annotations",
        split=f"the last of {count} rendered slides is held out",
    )


def slide_data(
    paths: Sequence[Path], *, tile_size: int | None = None, max_tiles: int = 1000, seed: int = 0
) -> TrainingData[TileTable]:
    """Label the tiles of given slides as tissue or glass; hold out the last slide, or the right side of a single one.

    Parameters
    ----------
    paths : sequence of Path
        Slide files, or folders with slide files.
    tile_size : int, optional
        Side of a tile in pixels; by default the block size of the first slide, so that its tiles are read directly.
    max_tiles : int, default 1000
        Tiles taken of a slide at most, drawn at random.
    seed : int, default 0
        Of that draw.

    Raises
    ------
    SlideError
        If a slide that is named is not there, cannot be read, or is too small for one tile; or no file of a folder can
        be used. Otherwise what is not a slide in a folder is left out, and told in ``left_out``.
    ArgumentError
        If the slides do not show both tissue and glass.
    """
    files, _ = unique_slides(file for path in paths for file in (slides_in(path)[0] if is_folder(path) else [path]))
    named = {path for path in paths if not is_folder(path)}
    size = tile_size
    tables, routes, left_out, used = [], {}, {}, []
    for number, file in enumerate(files):
        try:
            with open_slide(file) as slide:
                table = _tissue_or_glass(slide, size or _block_size(slide), max_tiles, seed + number)
                size = size or _block_size(slide)
                routes[str(slide.path)] = f"{slide.route}: {slide.reason}"
        except SlideError as error:
            if file in named:
                raise
            left_out[str(file)] = str(error)  # a folder may hold what only looks like a slide
            continue
        tables.append(table)
        used.append(file)
    if not tables:
        raise SlideError(f"None of the {len(files)} files can be used. The first: {next(iter(left_out.values()))}")
    if len(tables) > 1:
        train, test = TileTable.concat(tables[:-1]), tables[-1]
        split = f"held out: {used[-1].name}"
    else:
        train, _, test, split, _ = Division().of_one_slide(tables[0])
    for name, table in (("training", train), ("held-out", test)):
        for label, of in enumerate(_TISSUE):
            if table.label is None or not (table.label == label).any():
                raise ArgumentError(
                    f"The {name} tiles show no {of}, and the demo's task is tissue against glass. "
                    "Give more slides, another order (the last one is held out), or a smaller --tile-size."
                )
    task = "tissue against glass, by a tissue mask"
    source = TileSamples(int(train.size[0]), slides=routes)
    return TrainingData(source, train, None, test, _TISSUE, task, split, left_out=left_out)


def _block_size(slide: Slide) -> int:
    """Side of a slide's square blocks where they can be read directly and make sensible tiles."""
    level = slide.levels[0]
    side = level.block_width
    if slide.route == "direct" and side is not None and side == level.block_height and 128 <= side <= 512:
        return side
    return RENDERED_TILE


def _tissue_or_glass(slide: Slide, size: int, max_tiles: int, seed: int) -> TileTable:
    """Tiles of a slide's finest level, labelled by what most of each shows."""
    laid = lay_tiles(slide, TileRecipe(size, tissue=0), look=True)
    assert laid.tissue is not None
    table = laid.table.with_labels((laid.tissue >= 0.5).astype(np.int32))
    if len(table) > max_tiles:
        table = table.select(np.sort(np.random.default_rng(seed).choice(len(table), max_tiles, replace=False)))
    return table
