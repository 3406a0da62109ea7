"""Class masks of tiles: where they come from, and how they are read window by window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arguments import IGNORED, integer, path_of
from ..annotations.class_masks import ClassMask, PolygonMask, SlideMask
from ..annotations.frame import Origin, check_origin, frame_of
from ..annotations.origin import annotations_of
from ..errors import ArgumentError, CellMixDaliError, NotReadError, SlideError
from ..slides import Level, Slide, open_slide
from ..storage.moment import is_folder, may_be_file
from ..storage.patience import AT_ONCE, Patience, Retry
from ..tables.tile_table import TileTable

__all__ = ["AnnotationMasks", "MaskReader", "MaskSlides", "TileMasks"]

_LOOKED_AT = 4  # slides whose masks are read beforehand, so that what cannot work is refused at once
_MOST = 254  # the highest class: 255 is ignored


@dataclass(frozen=True)
class TileMasks(ABC):
    """Where the class masks of tiles come from; a folder with one file per slide.

    Attributes
    ----------
    folder : Path
        The folder.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", path_of("The folder of masks", self.folder).absolute())
        if not is_folder(self.folder):
            raise ArgumentError(f"There is no folder of masks at {self.folder}: correct the path.")

    @property
    @abstractmethod
    def suffixes(self) -> Sequence[str]:
        """What the names of the files end with, the likely ones first."""

    @abstractmethod
    def mask_of(self, slide: Slide, file: Path) -> ClassMask:
        """Read the mask of a slide."""

    def files_of(self, slides: Sequence[str]) -> list[Path]:
        """Find each slide's file: ``a.svs.EXT`` or ``a.EXT`` for ``a.svs``.

        Raises
        ------
        ArgumentError
            If a slide has none, or two slides would share one.
        """
        owner: dict[Path, Path] = {}
        found = []
        for path in map(Path, slides):
            names = [f"{stem}{suffix}" for stem in (path.name, path.stem) for suffix in self.suffixes]
            file = next((self.folder / name for name in names if may_be_file(self.folder / name)), None)
            if file is None:
                raise ArgumentError(
                    f"There is no mask for {path} in {self.folder}: looked for {names[0]}, {names[len(self.suffixes)]} "
                    "and the like. Add it, or leave the slide's tiles out."
                )
            other = owner.setdefault(file, path)
            if other != path:
                raise ArgumentError(f"{other} and {path} would share {file}: name masks by the slides' full names.")
            found.append(file)
        return found

    def told(self) -> str:
        """Return what they are but for the place, by which states of loaders are told apart."""
        own = ", ".join(f"{of.name}={getattr(self, of.name)!r}" for of in fields(self) if of.name != "folder")
        return f"{type(self).__name__}({own})"


@dataclass(frozen=True)
class AnnotationMasks(TileMasks):
    """Class masks from QuPath's annotations: see `cellmix_dali.annotations.class_masks.PolygonMask`.

    Attributes
    ----------
    folder : Path
        Of GeoJSON files: ``a.geojson`` or ``a.svs.geojson`` for ``a.svs``.
    classes : tuple of str
        Names of the classes: the n-th has the value n, from 1 on. Where polygons overlap, the later class wins.
    unannotated : int, default 0
        The value of what no polygon covers: 0 to learn it as background, 255 to leave it out of the loss.
    origin : {"bounds", "level0"}, default "bounds"
        Where the files' coordinates begin, see `cellmix_dali.annotations.frame.frame_of`.

    Raises
    ------
    ArgumentError
        If there is no such folder, or an argument is out of range.
    """

    classes: tuple[str, ...] = ()
    unannotated: int = 0
    origin: Origin = "bounds"

    def __post_init__(self) -> None:
        super().__post_init__()
        given: object = self.classes
        names = (given,) if isinstance(given, str) else tuple(self.classes)
        if not 0 < len(set(names)) == len(names) <= _MOST or not all(isinstance(name, str) and name for name in names):
            raise ArgumentError(f"classes={given!r}: give 1 to {_MOST} different names of annotation classes.")
        object.__setattr__(self, "classes", names)
        object.__setattr__(self, "unannotated", integer("unannotated", self.unannotated, low=0, high=IGNORED))
        check_origin(self.origin)

    @property
    def suffixes(self) -> Sequence[str]:
        """See `TileMasks.suffixes`."""
        return (".geojson",)

    def mask_of(self, slide: Slide, file: Path) -> PolygonMask:
        """Read a slide's annotations."""
        annotations, _ = annotations_of(file, slide, origin=self.origin)
        try:
            return PolygonMask(annotations, self.classes, unannotated=self.unannotated)
        except ArgumentError as error:
            raise ArgumentError(f"{file}: {error}") from error


@dataclass(frozen=True)
class MaskSlides(TileMasks):
    """Class masks from second slide files: see `cellmix_dali.annotations.class_masks.SlideMask`.

    Attributes
    ----------
    folder : Path
        Of tiled TIFF files, grey, without loss: ``a.tif`` or ``a.svs.tif`` for ``a.svs``.
    values : int, default 255
        Values go from 0 to ``values - 1``; 255 is ignored. Any other value is an error.
    origin : {"bounds", "level0"}, default "bounds"
        What they show: the slide's bounds, or the whole of its first level.

    Raises
    ------
    ArgumentError
        If there is no such folder, or an argument is out of range.
    """

    values: int = 255
    origin: Origin = "bounds"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "values", integer("values", self.values, low=1, high=IGNORED))
        check_origin(self.origin)

    @property
    def suffixes(self) -> Sequence[str]:
        """See `TileMasks.suffixes`."""
        return (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".svs")

    def mask_of(self, slide: Slide, file: Path) -> SlideMask:
        """Open a slide's mask."""
        return SlideMask(open_slide(file), frame_of(slide, self.origin), self.values)


class MaskReader:
    """Reads the class masks of rows of a tile table; several threads may read at once.

    A pixel of a tile has the class of its middle. Pixels beyond the slide's level are `IGNORED`, 255.

    Parameters
    ----------
    table : TileTable
        The tiles; their slides must be there, of tiles in shards, too.
    masks : TileMasks
        Where masks come from.
    tile_size : int
        Side of the images in pixels, to which windows of another size are resized.
    lenient : bool, default False
        Whether the first slides, or their masks, may be damaged.
    retry : Retry, optional
        How long what cannot be read for a reason of the moment is tried again. By default it is not.

    Raises
    ------
    ArgumentError
        If a slide has no mask, or one of the first few cannot be used.
    SlideError
        If a slide or mask of the first few cannot be read, and it is not lenient.
    """

    def __init__(
        self, table: TileTable, masks: TileMasks, tile_size: int, *, lenient: bool = False, retry: Retry = AT_ONCE
    ) -> None:
        if not isinstance(masks, TileMasks):
            raise ArgumentError(f"masks={masks!r}: give AnnotationMasks(folder, classes) or MaskSlides(folder).")
        self._table, self._masks, self._side = table, masks, tile_size
        self._files = masks.files_of(table.slides)
        self._patience = Patience(retry)
        self._found: dict[int, _Found] = {}
        self._refused: dict[int, SlideError] = {}
        self._lock = Lock()
        for number in np.unique(table.slide[: 1 << 20])[:_LOOKED_AT].tolist():
            try:
                self._patience.call(partial(self._of_slide, number), number)
            except SlideError as error:
                if isinstance(error.__cause__, ArgumentError):
                    raise error.__cause__ from None
                if not lenient:
                    raise

    def read(self, rows: NDArray[np.int64], *, patient: bool = True) -> list[NDArray[np.uint8] | SlideError]:
        """Read the masks of tiles, each (tile_size, tile_size, 1); in the place of one that cannot be read, the reason.

        Parameters
        ----------
        rows : int64 array (n,)
            Rows of the table.
        patient : bool, default True
            Whether to try again, see `retry`, where the reason is one of the moment (`NotReadError`).
        """
        return self._patience.read(self._read_now, rows, self._table.slide) if patient else self._read_now(rows)

    def stop_waiting(self) -> None:
        """Let threads that wait before they try again go on at once, now and later."""
        self._patience.stop()

    def told(self) -> str:
        """Return where masks come from, in a word, by which states of loaders are told apart."""
        return self._masks.told()

    def close(self) -> None:
        """Close the masks' files."""
        for found in self._found.values():
            found.mask.close()
        self._found.clear()

    def _read_now(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8] | SlideError]:
        """Read masks, each once."""
        read: list[NDArray[np.uint8] | SlideError] = []
        for row in rows.tolist():
            try:
                read.append(self._mask(row))
            except SlideError as error:
                read.append(error)
        return read

    def _mask(self, row: int) -> NDArray[np.uint8]:
        """The mask of a tile."""
        table = self._table
        found, of = self._of_slide(int(table.slide[row])), int(table.level[row])
        if of >= len(found.levels):
            raise SlideError(f"There is no such level: {table.describe(row)}; levels: {len(found.levels)}.")
        level = found.levels[of]
        middles = (np.arange(self._side, dtype=np.float64) + 0.5) * (int(table.size[row]) / self._side)
        x, y = float(table.x[row]) + middles, float(table.y[row]) + middles
        classes = found.mask.at(x * np.float64(level.downsample), y * np.float64(level.downsample))
        classes[y >= level.height] = IGNORED
        classes[:, x >= level.width] = IGNORED
        return classes[..., None]

    def _of_slide(self, number: int) -> _Found:
        """The mask of a slide, read when it is first asked for; what is damaged is not tried again."""
        if number not in self._found:
            with self._lock:  # reading polygons takes long: once will do
                if number in self._refused:
                    raise self._refused[number]
                if number not in self._found:
                    self._found[number] = self._opened(number)
        return self._found[number]

    def _opened(self, number: int) -> _Found:
        """Read a slide's mask, or raise why it cannot be."""
        try:
            with open_slide(self._table.slides[number]) as slide:
                return _Found(self._masks.mask_of(slide, self._files[number]), slide.levels)
        except NotReadError:
            raise
        except CellMixDaliError as error:
            self._refused[number] = refused = SlideError(f"The mask of a tile cannot be read: {error}")
            raise refused from error


class _Found(NamedTuple):
    # The mask of a slide, and the slide's levels.
    mask: ClassMask
    levels: tuple[Level, ...]
