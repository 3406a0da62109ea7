"""The slides of an embedding job, and where their tiles come from: a grid on tissue, a table, or coordinates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ..collection import CollectionIndex
from ..collection.index import open_with
from ..errors import NOT_READ, ArgumentError, NotReadError, SlideError
from ..jobs.attempt import attempt
from ..shards import TILES_FILE, open_tiles
from ..slides import Slide
from ..slides.resolution import mpp_problem, slide_mpp
from ..storage.objects import asked_for
from ..storage.paths import home_expanded
from ..tables.coordinates import read_h5
from ..tables.grids import grid_tiles
from ..tables.laying import lay_tiles, picture_of
from ..tables.recipe import SlideFiles, TileRecipe
from ..tables.tile_table import TileTable
from ..tiling import TilingSettings, find_slides
from ..tiling.records import Input, inputs_of
from ..tiling.slides import JobSlide, numbered
from .stream import SlideTiles, rows_by_slide

__all__ = ["About", "Sources", "find_sources"]

_SHOWN = 512  # longer side of a thumbnail, pixels
_TABLES = (".arrow", ".feather", ".ipc", ".parquet", ".pq")


@dataclass(frozen=True, eq=False)
class About:
    """What is known of a slide's tiles before they are read.

    Attributes
    ----------
    slide : JobSlide
    inputs : tuple of Input
        State of its files.
    mpp : float or None
        Of level 0.
    tile_mpp : float or None
        Of the finished tiles.
    level : int
    window : int
        Side of a tile in pixels of its level.
    note : str
        For a person.
    thumbnail : uint8 array (height, width, 3) or None
        Of the whole slide.
    """

    slide: JobSlide
    inputs: tuple[Input, ...] = ()
    mpp: float | None = None
    tile_mpp: float | None = None
    level: int = 0
    window: int = 0
    note: str = ""
    thumbnail: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Sources:
    """Slides, and how their tiles are found.

    Attributes
    ----------
    kind : {"slides", "table", "coordinates"}
    slides : tuple of JobSlide
        Each with a name like its file's, different from all others.
    recipe : TileRecipe
        Lays the tiles of slides.
    table : TileTable or None
        All tiles, of a table.
    rows : tuple of int64 arrays
        Of each slide in the table.
    coordinates : tuple of Path
        Each slide's file of them.
    index : CollectionIndex or None
        What is known of the slides: they are opened by it, and tissue that it knows is not looked for.
    """

    kind: Literal["slides", "table", "coordinates"]
    slides: tuple[JobSlide, ...]
    recipe: TileRecipe
    table: TileTable | None = None
    rows: tuple[NDArray[np.int64], ...] = ()
    coordinates: tuple[Path, ...] = ()
    index: CollectionIndex | None = None

    def look(self, slide: JobSlide, folder: Path, retry_seconds: float) -> SlideTiles:
        """Find a slide's tiles, in the course of the job in a folder; what is wrong with it is in the answer."""

        def refused(reason: str, kind: str) -> SlideTiles:
            error = NotReadError(reason) if kind == NOT_READ else SlideError(reason)
            return SlideTiles(str(slide.path), None, error, About(slide))

        return attempt(
            lambda _: self._found(slide),
            refused,
            slide=slide.path,
            what="look at",
            cannot=f"{slide.path} cannot be read",
            folder=folder,
            key=str(slide.number),
            timeout=None,
            retry_seconds=retry_seconds,
        )

    def weight(self, slide: JobSlide) -> int:
        """Return about how many tiles a slide has: its rows of a table, else the places of its grid; 0 if it is bad."""
        if self.kind == "table":
            return len(self.rows[slide.number])
        try:
            with open_with(self.index, slide.path) as opened:
                return len(self._grid(opened, slide))
        except Exception:  # it is told when its turn comes
            return 0

    def told(self) -> dict[str, Any]:
        """Return what decides over the tiles, as JSON values."""
        found: dict[str, Any] = {"kind": self.kind}
        if self.table is not None:
            digest = hashlib.sha256()
            for column in (self.table.slide, self.table.level, self.table.x, self.table.y, self.table.size):
                digest.update(np.ascontiguousarray(column).data)
            found["table"] = digest.hexdigest()
        return found

    def _grid(self, opened: Slide, slide: JobSlide) -> TileTable:
        if self.kind == "coordinates":
            return read_h5(self.coordinates[slide.number], opened, tile_size=self.recipe.tile_size)
        recipe = self.recipe
        return grid_tiles(
            opened,
            recipe.tile_size,
            **recipe.resolution(slide.mpp),
            overlap=recipe.overlap,
            stride=recipe.stride,
            edge=recipe.edge,
        )

    def _found(self, slide: JobSlide) -> SlideTiles:
        if self.table is not None:
            return self._of_table(slide)
        override = self.recipe.mpp_override if slide.mpp is None else slide.mpp
        note, inputs, picture = "", inputs_of(slide), None
        with open_with(self.index, slide.path) as opened:
            if self.kind == "coordinates":
                table = self._grid(opened, slide)
            else:
                files = SlideFiles(slide.mask, slide.annotations)
                laid = lay_tiles(opened, self.recipe, label=slide.label, mpp=override, files=files, index=self.index)
                table, note = laid.table, "; ".join(each for each in (laid.empty, *laid.notes) if each)
                picture = laid.picture
            thumbnail = _thumbnail(picture_of(opened, _SHOWN, self.index) if picture is None else picture)
            known = override is not None or mpp_problem(opened) is None
            mpp = slide_mpp(opened, override) if known else None
            level, window = (int(table.level[0]), int(table.size[0])) if len(table) else (0, 0)
            tile_mpp = None if mpp is None else mpp * opened.levels[level].downsample * window / self.recipe.tile_size
        about = About(slide, inputs, mpp, tile_mpp or None, level, window, note, thumbnail)
        return SlideTiles(str(slide.path), table, None, about, self.index)

    def _of_table(self, slide: JobSlide) -> SlideTiles:
        assert self.table is not None
        table = self.table.select(self.rows[slide.number])
        mpp, inputs, thumbnail = None, inputs_of(slide), None
        try:
            with open_with(self.index, slide.path) as opened:
                mpp = slide_mpp(opened, self.recipe.mpp_override) if mpp_problem(opened) is None else None
                downsample = opened.levels[int(table.level[0])].downsample
                thumbnail = _thumbnail(picture_of(opened, _SHOWN, self.index))
        except SlideError:  # finished tiles need no slide; who needs it, says so
            downsample = 1.0
        window = int(table.size[0])
        tile_mpp = None if mpp is None else mpp * downsample * window / self.recipe.tile_size
        about = About(slide, inputs, mpp, tile_mpp, int(table.level[0]), window, thumbnail=thumbnail)
        return SlideTiles(str(slide.path), table, None, about, self.index)


def find_sources(
    sources: str | Path | Sequence[str | Path], recipe: TileRecipe, coordinates: str | Path | None = None
) -> Sources:
    """Find slides and the way to their tiles.

    Parameters
    ----------
    sources : str, Path, or sequence of them
        Slides as `cellmix_dali.tiling.find_slides` takes them; or one tile table: the folder of a tiling job, or a file
        of Arrow or Parquet.
    recipe : TileRecipe
        Which tiles are taken of slides; of a table and of coordinates, the tiles' size alone counts.
    coordinates : str or Path, optional
        Folder of CLAM's or TRIDENT's coordinates: ``ID.h5`` or ``ID_patches.h5`` for each slide, in it or in its folder
        ``patches``.

    Raises
    ------
    ArgumentError, SlideError
        If nothing is named, or coordinates are missing for all slides.
    """
    named = [sources] if isinstance(sources, str | Path) else list(sources)
    table = _table(asked_for(home_expanded(named[0]))) if len(named) == 1 else None
    if table is not None:
        if coordinates is not None:
            raise ArgumentError(
                "coordinates with a tile table: both say which tiles. Give the slides, or no coordinates."
            )
        return _of_table(table, recipe)
    found = find_slides(named, TilingSettings.of(recipe)).slides
    names = _names([slide.path for slide in found])
    slides = tuple(replace(slide, name=name) for slide, name in zip(found, names, strict=True))
    if coordinates is None:
        return Sources("slides", slides, recipe)
    folder = asked_for(home_expanded(coordinates).absolute())
    asked_for(folder / "patches")
    if not folder.is_dir():
        raise ArgumentError(f"coordinates={str(folder)!r}: there is no such folder. Check the path.")
    files = tuple(_coordinates_of(folder, slide.path) for slide in slides)
    if not any(file.is_file() for file in files):
        raise ArgumentError(
            f"There are no coordinates in {folder} for any slide: looked for {files[0].name}, {slides[0].path.stem}"
            "_patches.h5 and others, there and in its folder patches."
        )
    # A file of coordinates is looked after as a mask is: when it changes, the slide is done again.
    slides = tuple(replace(slide, mask=file) for slide, file in zip(slides, files, strict=True))
    return Sources("coordinates", slides, recipe, coordinates=files)


def _table(path: Path) -> TileTable | None:
    """The tile table at a path; None where it is something else."""
    if path.is_dir():
        return open_tiles(path) if (path / TILES_FILE).is_file() else None
    if path.suffix.lower() not in _TABLES or not path.is_file():
        return None
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            names = set(pq.read_schema(path).names)
        except Exception:  # a list of slides says it better
            return None
        if not {"slide", "level", "x", "y", "size"} <= names:
            return None
        if "shard" in names:
            return open_tiles(path)
    return TileTable.open(path)


def _of_table(table: TileTable, recipe: TileRecipe) -> Sources:
    if not len(table):
        raise ArgumentError("The tile table is empty: there is nothing to embed.")
    parts = rows_by_slide(table)
    named = (table.slides[int(table.slide[part[0]])] for part in parts)
    paths = [home_expanded(name).absolute() for name in named]
    names = _names(paths)
    slides = tuple(JobSlide(number, path, name) for number, (path, name) in enumerate(zip(paths, names, strict=True)))
    return Sources("table", slides, recipe, table, tuple(parts))


def _coordinates_of(folder: Path, slide: Path) -> Path:
    """The file of a slide's coordinates; the first place to look, where there is none."""
    places = [where / f"{slide.stem}{end}" for where in (folder, folder / "patches") for end in (".h5", "_patches.h5")]
    return next((place for place in places if place.is_file()), places[0])


def _thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of a slide made small."""
    image = Image.fromarray(picture)
    image.thumbnail((_SHOWN, _SHOWN), Image.Resampling.BOX)
    return np.asarray(image)


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' stems, as TRIDENT and CLAM name features; numbered where several are alike."""
    return numbered([path.stem.replace("\N{REPLACEMENT CHARACTER}", "_") or "slide" for path in paths])
