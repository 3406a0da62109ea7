"""An index of a collection: slides opened without a look at them, and where they have tissue."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._arguments import path_of
from .._urls import is_url
from ..errors import ArgumentError, SlideError
from ..slides import Slide, open_slide
from ..storage.paths import home_expanded
from ..tissue.slide_mask import TissueMask
from .entry import Entry, mask_key
from .file import IndexFile
from .states import changed_file, location_of

if TYPE_CHECKING:
    import shapely

__all__ = ["CollectionIndex", "forget_indexes", "index_at", "index_place", "job_index", "open_with"]


class CollectionIndex:
    """What is known of the slides of a collection, as `make_index` wrote it; several threads may ask at once.

    The file is mapped into memory, not read: what processes of one machine look at is there once for all of them, and a
    process's own memory does not grow with the slides. It pickles as its path.

    When a slide is first opened, its files are compared with what they were: their sizes, times, and first and last
    4096 bytes. A slide that has changed, or is not in the index, is opened by its file, as without an index, and a
    warning says so; `make_index` with the same file looks at such slides alone. Nothing is asked of a store for a slide
    that lies there: where it has changed, reading from it says so, and one that is not in the index is looked at.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    ArgumentError
        If it is not there, or not an index, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = home_expanded(path_of("An index", path)).absolute()
        self._file = IndexFile(self.path)
        self._lock, self._told = Lock(), set[str]()

    def __reduce__(self) -> tuple[type[CollectionIndex], tuple[Path]]:
        return CollectionIndex, (self.path,)

    def __repr__(self) -> str:
        return f"<CollectionIndex {self.path}: {len(self)} slides>"

    def __len__(self) -> int:
        return len(self._file)

    def __contains__(self, slide: object) -> bool:
        return isinstance(slide, str | os.PathLike) and self._file.entry(location_of(slide)) is not None

    def __iter__(self) -> Iterator[str]:
        """Return the slides' paths, in no order that means anything."""
        return (entry.said["location"] for entry in self._file.entries())

    @property
    def settings(self) -> dict[str, Any]:
        """What the index was asked for, see `IndexSettings`."""
        return dict(self._file.settings)

    def fault(self, slide: str | os.PathLike[str]) -> str | None:
        """Return why a slide could not be opened when the index was made; None where it could."""
        fault: str | None = self._entry(slide).said["fault"]
        return fault

    def open(self, slide: str | os.PathLike[str]) -> Slide:
        """Open a slide, see `cellmix_dali.slides.open_slide`; nothing is read but what says that it is the same.

        Raises
        ------
        SlideError
            If it cannot be opened, or could not when the index was made and is the same still.
        NotReadError
            If it cannot be read just now.
        """
        entry = self._current(slide)
        if entry is None:
            return open_slide(slide)
        if entry.said["fault"] is not None:
            raise SlideError(entry.said["fault"])
        found = entry.found()
        return open_slide(slide) if found is None else Slide(found.path, found)

    def tissue(self, slide: str | os.PathLike[str], method: str, max_size: int) -> TissueMask | None:
        """Return where a slide has tissue.

        Parameters
        ----------
        slide : path-like
            The slide.
        method : str
            How tissue is found, see `cellmix_dali.tissue.tissue_mask`.
        max_size : int
            Pixels of the longer side of the picture on which it is found.

        Returns
        -------
        TissueMask or None
            As `cellmix_dali.tissue.looking.look_for_tissue` found it; None where the index does not have it so, or the
            slide has changed.
        """
        entry = self._current(slide)
        key = mask_key(method, max_size)
        return None if entry is None or key not in entry.said["masks"] else entry.mask(key)

    def tissue_polygons(self, slide: str | os.PathLike[str]) -> shapely.Geometry:
        """Return the outline of a slide's tissue, in pixels of its first level: of the largest mask that there is.

        Raises
        ------
        ArgumentError
            If the slide is not in the index, or its tissue was not looked for.
        """
        import shapely  # a tenth of a second, which nothing else here needs

        masks = self._entry(slide).masks()
        if not masks:
            raise ArgumentError(f"{self.path} does not say where {slide} has tissue. Make it with tissue=True.")
        mask = max(masks.values(), key=lambda of: of.pixels.size)
        edges = np.diff(np.pad(mask.pixels, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(edges == 1)
        ends = np.nonzero(edges == -1)[1]
        (across, down), (x, y) = mask.scale, mask.origin
        runs = shapely.box(x + starts * across, y + rows * down, x + ends * across, y + (rows + 1) * down)
        return shapely.union_all(runs)

    def thumbnail(self, slide: str | os.PathLike[str]) -> NDArray[np.uint8] | None:
        """Return a small picture of a slide, uint8 (height, width, 3).

        None where the index has none, or the slide has changed.

        Raises
        ------
        ArgumentError
            If the slide is not in the index.
        """
        self._entry(slide)
        entry = self._current(slide)
        content = None if entry is None else entry.thumbnail()
        return None if content is None else np.asarray(Image.open(BytesIO(content)).convert("RGB"))

    def _entry(self, slide: str | os.PathLike[str]) -> Entry:
        entry = self._file.entry(location_of(slide))
        if entry is None:
            raise ArgumentError(f"{slide} is not in {self.path}. Add it: cellmix-dali index, with the same --out.")
        return entry

    def _current(self, slide: str | os.PathLike[str]) -> Entry | None:
        """A slide's entry, if the slide is as it was; where not, say so, once."""
        location = location_of(slide)
        entry = self._file.entry(location)
        if is_url(location) and (entry is None or entry.said["slide"] is not None):
            return entry  # the store refuses ranges of another version than that of the index
        if entry is None:
            self._tell(f"{slide} is not in {self.path}, so it is opened by its file.")
            return None
        changed = changed_file(entry.said["states"])
        if changed is not None:
            self._tell(f"{changed} has changed since {self.path} was made, so the slide is opened by its file.")
            return None
        return entry

    def _tell(self, what: str) -> None:
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        warnings.warn(f"{what} Bring the index up to date: cellmix-dali index, with the same --out.", stacklevel=4)


def open_with(index: CollectionIndex | None, slide: str | os.PathLike[str]) -> Slide:
    """Open a slide by an index, or by its file where there is none; raises as `open_slide` does."""
    return open_slide(slide) if index is None else index.open(slide)


def index_place(index: str | os.PathLike[str] | None) -> Path | None:
    """Return where the index that a job is told of lies, absolute; None where it is told of none.

    Raises
    ------
    ArgumentError
        If it is not a path.
    """
    return None if index is None else home_expanded(path_of("The index", index)).absolute()


@functools.lru_cache(maxsize=1)
def job_index(path: Path) -> CollectionIndex:
    """Return the index of a job's slides, which a process at work opens once."""
    return CollectionIndex(path)


def forget_indexes() -> None:
    """Let go of the index of a job that this process did."""
    job_index.cache_clear()


def index_at(index: CollectionIndex | str | os.PathLike[str]) -> CollectionIndex:
    """Return an index that was given as such or by its path."""
    return index if isinstance(index, CollectionIndex) else CollectionIndex(index)
