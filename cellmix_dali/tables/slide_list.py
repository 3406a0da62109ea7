"""Collections of slides: the list of them, the table of all their tiles, and labels for tiles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .._arguments import path_of
from .._urls import place_name
from ..collection import CollectionIndex
from ..errors import (
    DAMAGED,
    ArgumentError,
    CellMixDaliError,
    MissingDependencyError,
    NotReadError,
    SlideError,
    kind_of,
    some_of,
    unknown_name,
)
from ..slides.identity import slide_identity, unique_slides
from ..slides.pool import OpenSlides
from ..slides.resolution import MPP_RANGE
from ..storage.objects import attach_all
from ..storage.paths import home_expanded, path_problem
from .columns import UserTable
from .indexed import index_slides
from .labels import with_label_column
from .laying import lay_tiles
from .one_resolution import check_one_resolution
from .recipe import TileRecipe
from .split_columns import SPLIT_COLUMNS, SPLITS, check_apart, read_split_columns
from .tile_table import TileTable

__all__ = ["SlideFault", "SlideList", "read_slide_list", "tiles_of_slides", "with_label_column"]


@dataclass(frozen=True, eq=False)
class SlideList:
    """Slides of a collection, and what is known of each.

    Attributes
    ----------
    slides : tuple of Path
        The slide files, all different.
    labels : int32 array (n,) or None
        Class index of each slide.
    classes : tuple of str or None
        Names of the classes; None without labels.
    mpp : float64 array (n,) or None
        Microns per pixel of each slide's first level, whatever its file says; NaN where the file is believed.
    patient : tuple of str (n,) or None
        The patient of each slide: no patient is both trained and tested on.
    split : tuple of str (n,) or None
        "train", "val" or "test" for each slide.
    fold : tuple of str (n,) or None
        Each slide's fold.
    """

    slides: tuple[Path, ...]
    labels: NDArray[np.int32] | None = None
    classes: tuple[str, ...] | None = None
    mpp: NDArray[np.float64] | None = None
    patient: tuple[str, ...] | None = None
    split: tuple[str, ...] | None = None
    fold: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("labels", "mpp", *SPLIT_COLUMNS)}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.slides):
                raise ArgumentError(f"{len(self.slides)} slides and {len(column)} {name}: give one per slide.")
        if self.labels is not None and len(self.labels):
            count = len(self.classes or ())
            if self.labels.min() < 0 or self.labels.max() >= count:
                raise ArgumentError(f"Labels of slides go from 0 to {count - 1}, as there are {count} classes.")
        wrong = set(self.split or ()) - set(SPLITS)
        if wrong:
            raise unknown_name("split", min(wrong), SPLITS)
        for name in ("split", "fold"):
            if self.patient is not None and columns[name] is not None:
                check_apart(self.patient, columns[name], name, lambda row: str(self.slides[row]))

    def __len__(self) -> int:
        return len(self.slides)


@dataclass(frozen=True)
class SlideFault:
    """A slide that was left out, and why.

    Attributes
    ----------
    slide : Path
        The slide file.
    reason : str
        For a person.
    kind : {"damaged", "not read"}
        See `cellmix_dali.reading.faults.Fault`; "damaged" stands for every fault of the slide or its annotations.
    """

    slide: Path
    reason: str
    kind: str = DAMAGED


def read_slide_list(path: str | Path, *, classes: Sequence[str] | None = None, check_files: bool = True) -> SlideList:
    """Read a list of slides from a CSV.

    Parameters
    ----------
    path : str or Path
        A CSV (UTF-8, commas, a header) with the columns ``slide`` (path; a relative one starts at the CSV's folder)
        and, optionally, ``label`` (class name, or class index), ``mpp`` (microns per pixel of the slide's first
        level, instead of what its file says; may be empty in some rows), ``patient`` (or ``group``, which counts where
        there is no ``patient``: slides of one stay on one side of a split), ``split`` (train, val or test) and
        ``fold``. Other columns are ignored.
    classes : sequence of str, optional
        The classes in the order of their indices. By default the names in the list, sorted; if the list holds whole
        numbers only, these are the indices.
    check_files : bool, default True
        Whether all slides must be there. With False, `tiles_of_slides` finds out which are not.

    Returns
    -------
    SlideList

    Raises
    ------
    ArgumentError
        If the list cannot be read, lacks a column or misspells it, has a cell that cannot be used or a slide twice, or
        a patient on two sides of its split or in two folds.
    SlideError
        If slides are not there; the first 5 are named.
    """
    table = UserTable(
        path_of("A list of slides", path).absolute(), ("slide",), ("label", "mpp", "patient", "group", "split", "fold")
    )
    slides: list[Path] = []
    seen: dict[Hashable, int] = {}
    for row, name in enumerate(table.text("slide")):
        if not name:
            table.fail(row, "column 'slide' is empty. Name a slide file, or remove the row.")
        slide = table.path.parent / home_expanded(name)
        first = seen.setdefault(slide_identity(slide), row)
        if first != row:
            other = table.text("slide")[first]
            how = "" if other == name else f", as {other}: both files are one slide"
            table.fail(row, f"{slide} is already in {table.where(first)}{how}. Remove one of the two.")
        slides.append(slide)
    unread = attach_all(slides if check_files else ())
    for error in unread.values():
        if isinstance(error, NotReadError):
            raise error
    for slide in slides if check_files else ():
        problem = path_problem(slide)
        if problem is not None:
            raise SlideError(f"A slide of {table.path} cannot be read: {problem}")
    missing = [place_name(slide) for slide in slides if check_files and not slide.is_file()]
    if missing:
        raise SlideError(
            f"{len(missing)} of the {len(slides)} slides in {table.path} are not there: "
            f"{some_of(missing)}. Correct the paths (relative ones start at {table.path.parent})."
        )
    labels, names = table.class_indices("label", classes) if "label" in table else (None, None)
    mpp = None
    if "mpp" in table:
        mpp = np.array([_mpp(table, row, cell) for row, cell in enumerate(table.text("mpp"))])
    return SlideList(tuple(slides), labels, names, mpp, **read_split_columns(table))


def _mpp(table: UserTable, row: int, cell: str) -> float:
    """A cell of the column mpp; NaN if it is empty."""
    try:
        value = float(cell) if cell else math.nan
    except ValueError:
        value = -1.0
    if cell and not MPP_RANGE[0] <= value <= MPP_RANGE[1]:
        low, high = MPP_RANGE
        table.fail(row, f"mpp is {cell!r}. Give microns per pixel from {low:g} to {high:g}, or leave it empty.")
    return value


def tiles_of_slides(
    slide_list: SlideList,
    recipe: TileRecipe,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    mixed_resolutions: bool = False,
    on_note: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    index: CollectionIndex | str | Path | None = None,
    workers: int | None = 0,
) -> tuple[TileTable, list[SlideFault]]:
    """Make the tile table of a collection of slides.

    Parameters
    ----------
    slide_list : SlideList
        The slides. Where the recipe does not label tiles by annotations, the list's labels, where it has some, go to
        all tiles of a slide; its mpps take precedence over the recipe's `mpp_override`.
    recipe : TileRecipe
        Which tiles: `lay_tiles` follows it on every slide.
    on_error : {"raise", "skip"}, default "raise"
        What happens on a slide or annotation that cannot be read, or that does not fit (too coarse, too small, no
        mpp): stop, or leave the slide out and go on.
    mixed_resolutions : bool, default False
        Whether tiles may differ in scale. Without it, and where the recipe asks for neither `mpp` nor
        `magnification`, slides whose tiles' mpps differ by more than 5 %, or are known for some slides only, are
        refused before any tissue is looked for.
    on_note : callable, optional
        Called with what a person should know of a slide, see `LaidTiles`. By default ``warnings.warn``.
    progress : callable, optional
        Called with (slides done, slides) after each; where an index is made, while that is done.
    index : CollectionIndex or path, optional
        What is known of the slides, so that none is opened whose tissue it knows. A path: the index there is first
        brought up to date, or made, by `cellmix_dali.collection.make_index`, so that it is there the next time.
    workers : int or None, default 0
        Processes that look for tissue, see `cellmix_dali.collection.make_index`; 0: this one does it. With others and
        no index, one is made in a folder for temporary files. A `tissue_method` that is a function is called here in
        any case.

    Returns
    -------
    table : TileTable
        Tiles slide by slide, in the order of the list; with the columns ``patient``, ``split`` and ``fold`` (text) that
        the list has, for `cellmix_dali.tables.splits.split_tiles`.
    faults : list of SlideFault
        The slides that gave no tile: skipped, or without a tile that has tissue and a label. Such a slide is not
        an error and stops nothing, whatever `on_error`.

    Raises
    ------
    ArgumentError
        If no slide gives a tile, the tiles would be of different scale, two slides would share a mask or annotations,
        or the recipe's classes are not those of the labels; with ``on_error="raise"`` also if a slide does not fit.
    SlideError
        With ``on_error="raise"``, if a slide cannot be read.
    """
    if not isinstance(slide_list, SlideList):
        raise ArgumentError(
            f"slide_list is a {type(slide_list).__name__}: give what read_slide_list('slides.csv') returns, or a "
            "SlideList of your own."
        )
    if not isinstance(recipe, TileRecipe):
        raise ArgumentError(f"recipe={recipe!r}: give a TileRecipe, such as TileRecipe(224, mpp=0.5).")
    if not len(slide_list):
        raise ArgumentError("The list of slides is empty: give at least one slide.")
    if on_error not in ("raise", "skip"):
        raise unknown_name("on_error", on_error, ("raise", "skip"))
    for repeated in unique_slides(slide_list.slides)[1]:
        raise ArgumentError(f"{repeated} are one slide: its tiles would be there twice. Leave one out.")
    if recipe.classes is not None and recipe.annotations is None and recipe.classes != slide_list.classes:
        has = "no labels" if slide_list.classes is None else f"the classes {list(slide_list.classes)}"
        raise ArgumentError(
            f"The recipe has the classes {list(recipe.classes)} and no annotations, and the list of slides has {has}: "
            "give annotations, or the same classes to read_slide_list."
        )
    files = recipe.files_of(slide_list.slides)
    tell = warnings.warn if on_note is None else on_note
    tables: list[TileTable] = []
    faults: list[SlideFault] = []
    mpps: list[float | None] = [None] * len(slide_list)
    if slide_list.mpp is not None:
        mpps = [None if math.isnan(own) else float(own) for own in slide_list.mpp]
    known = _index_of(slide_list, recipe, mpps, index, workers, progress)
    if known is not None and not isinstance(index, CollectionIndex):
        progress = None  # the long part is done
    slides = OpenSlides([str(path) for path in slide_list.slides], open_one=None if known is None else known.open)
    if recipe.of_any_scale and not mixed_resolutions and len(slide_list) > 1:
        _check_scale(slides, slide_list, recipe, mpps)
    for number, path in enumerate(slide_list.slides):
        label = None if slide_list.labels is None else int(slide_list.labels[number])
        try:
            with slides[number] as slide:
                laid = lay_tiles(slide, recipe, label=label, mpp=mpps[number], files=files[number], index=known)
            for told in laid.notes:
                tell(f"{path}: {told}")
        except MissingDependencyError:
            raise
        except CellMixDaliError as error:
            if on_error == "raise":
                raise
            faults.append(SlideFault(path, str(error), kind_of(error)))
        else:
            if len(laid.table):
                tables.append(_with_split_columns(laid.table, slide_list, number))
            else:
                faults.append(SlideFault(path, f"{path} gives no tile: {laid.empty}."))
        if progress is not None:
            progress(number + 1, len(slide_list))
    if not tables:
        reasons = " ".join(fault.reason for fault in faults[:3])
        raise ArgumentError(f"None of the {len(slide_list)} slides gives a tile. {reasons}".rstrip())
    return TileTable.concat(tables), faults


def _check_scale(slides: OpenSlides, slide_list: SlideList, recipe: TileRecipe, mpps: Sequence[float | None]) -> None:
    """Refuse slides whose tiles would differ in scale; whatever else is wrong with a slide is found later."""
    paths: list[Path] = []
    scales: list[float | None] = []
    for number, path in enumerate(slide_list.slides):
        try:
            with slides[number] as slide:
                choice = recipe.choose_level(slide, mpps[number])
        except CellMixDaliError:
            continue
        paths.append(path)
        scales.append(choice.level_mpp)
    check_one_resolution(paths, scales)


def _index_of(
    slide_list: SlideList,
    recipe: TileRecipe,
    mpps: Sequence[float | None],
    index: CollectionIndex | str | Path | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> CollectionIndex | None:
    """The index of the slides, made or brought up to date if need be; None where none is asked for."""
    if isinstance(index, CollectionIndex) or (index is None and workers == 0):
        return index

    def made(place: str | Path) -> CollectionIndex:
        return index_slides(
            slide_list.slides,
            mpps,
            recipe,
            place,
            workers=workers,
            progress=None if progress is None else lambda done, count, _: progress(done, count),
        )

    if index is not None:
        return made(index)
    with TemporaryDirectory() as folder:  # the file is mapped: it is there as long as somebody looks at it
        return made(Path(folder) / "collection.index")


def _with_split_columns(table: TileTable, slide_list: SlideList, number: int) -> TileTable:
    """A slide's tiles with what the list says of its patient, split and fold."""
    arrow = table.arrow
    for name in SPLIT_COLUMNS:
        column = getattr(slide_list, name)
        if column is not None:
            codes = pa.array(np.zeros(len(table), np.int32))
            arrow = arrow.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([column[number]])))
    return TileTable(arrow, check=False)
