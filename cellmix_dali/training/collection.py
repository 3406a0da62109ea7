"""A user's collection: a list of slides with labels, or with annotations, at a stated resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..collection import CollectionIndex
from ..collection.index import open_with
from ..errors import ArgumentError
from ..slides.pool import SLIDE_CACHE
from ..tables.recipe import TileRecipe
from ..tables.slide_list import read_slide_list, tiles_of_slides
from ..tables.tile_table import TileTable
from .data import TrainingData
from .division import Division
from .tile_samples import TileSamples

__all__ = ["collection_data"]


def collection_data(
    slide_list: Path,
    recipe: TileRecipe,
    *,
    division: Division | None = None,
    verify: str = "headers",
    slide_cache: int | str = SLIDE_CACHE,
    index: Path | None = None,
    workers: int | None = 0,
    mixed_resolutions: bool = False,
    skip_bad_slides: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingData[TileTable]:
    """Make the tiles of a collection, labelled, and hold out whole slides.

    Parameters
    ----------
    slide_list : Path
        CSV with the column ``slide``, and ``label`` unless there are annotations; optionally ``mpp``, ``patient``,
        ``split``, ``fold``. See `cellmix_dali.tables.read_slide_list`.
    recipe : TileRecipe
        Which tiles. Its annotations label them, by the list's classes where it has none of its own.
    division : Division, optional
        What is tested on, and what chooses the best epoch.
    verify : str, default "headers"
        What is verified of a tile, see `cellmix_dali.pipelines.train_loader`.
    slide_cache : int or str, default "512MB"
        Bytes that the block tables of slides may take, of each loader, see `cellmix_dali.pipelines.train_loader`.
    index : Path, optional
        File of an index of the slides: it is made there, or brought up to date, and the loaders use it. See
        `cellmix_dali.collection`.
    workers : int or None, default 0
        Processes that look for tissue, see `cellmix_dali.tables.tiles_of_slides`.
    mixed_resolutions : bool, default False
        Whether tiles may be of different scale, see `cellmix_dali.tables.tiles_of_slides`.
    skip_bad_slides : bool, default False
        Whether slides that cannot be read are left out, and reported, instead of stopping.
    progress : callable, optional
        Called with (slides done, slides) after each.

    Raises
    ------
    CellMixDaliError
        If the list, a slide, the resolution or the labels cannot be used.
    """
    slides = read_slide_list(slide_list, classes=recipe.classes, check_files=not skip_bad_slides)
    division = division or Division()
    division.check()
    fold = division.fold or division.validation_fold
    if fold is not None and slides.fold is None:  # before anything slow
        raise ArgumentError(f"--fold {fold}, and {slide_list} has no column 'fold': add it, or leave the option out.")
    if recipe.annotations is not None and recipe.classes is None:
        if slides.classes is None:
            raise ArgumentError("annotations without classes: name them in the order of their indices, --classes A,B.")
        recipe = replace(recipe, classes=slides.classes)
    names: Sequence[str] | None = recipe.classes if recipe.labelled else slides.classes
    if slides.labels is None and not recipe.labelled:
        raise ArgumentError(
            f"{slide_list} has no column 'label', and no annotations are given: nothing says what is on the slides. "
            "Add the column, or give --annotations."
        )
    notes: list[str] = []
    table, faults = tiles_of_slides(
        slides,
        recipe,
        mixed_resolutions=mixed_resolutions,
        on_error="skip" if skip_bad_slides else "raise",
        on_note=notes.append,
        progress=progress,
        index=index,
        workers=workers,
    )
    assert table.label is not None
    if names is None:
        names = [str(number) for number in range(int(table.label.max()) + 1)]
    if len(names) < 2:
        raise ArgumentError(f"All tiles are of one class ({', '.join(names)}): there is nothing to tell apart.")
    sides = division.of(table, names)
    routes = {}
    known = None if index is None else CollectionIndex(index)
    for path in table.slides:
        with open_with(known, path) as slide:
            routes[path] = f"{slide.route}: {slide.reason}"
    return TrainingData(
        source=TileSamples(
            recipe.tile_size, recipe.edge, slides=routes, verify=verify, slide_cache=slide_cache, index=known
        ),
        train=sides.train,
        validation=sides.validation,
        test=sides.test,
        classes=tuple(names),
        task=f"{len(names)} classes: {', '.join(names)}",
        split=sides.said,
        notes=(*notes, *sides.notes),
        left_out={str(fault.slide): f"{fault.reason} ({fault.kind})" for fault in faults},
    )
