"""OpenSlide behind the package's own rules: opened late, once per process, opened again after an error."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._cached import cached_property
from cellmix_dali.errors import NotReadError, SlideError, needing
from cellmix_dali.storage.kept_open import KeptOpen
from cellmix_dali.storage.moment import refusal

if TYPE_CHECKING:
    from types import ModuleType

    import openslide

__all__ = ["OpenSlideFile", "bounds_of", "detect_format", "mpp_of", "tile_of"]

_MOST_HANDLES = 256  # that a process holds: each has a cache of 32 MiB. A file is open only while one reads
_KEPT_PIXELS = 1 << 22  # of the memory that a thread keeps to read into
# What closes a handle in a forked child may move the place in a file that the parent reads from, too.
_HANDLES: KeptOpen[openslide.OpenSlide] = KeptOpen(lambda: _MOST_HANDLES)


def _load() -> ModuleType:
    # Imported at the first use, so that a machine without the library learns it where it matters.
    with needing("Reading slides needs OpenSlide", "Install it: pip install openslide-python openslide-bin."):
        import openslide
    return openslide


def detect_format(path: Path) -> str | None:
    """Ask OpenSlide for the format of a file, such as "aperio", "generic-tiff" or "dicom".

    Parameters
    ----------
    path : Path
        The slide.

    Returns
    -------
    str or None
        OpenSlide's name of the format (openslide.org/formats), None where it knows none.

    Raises
    ------
    SlideError
        If OpenSlide recognises the file and still fails on it.
    """
    library = _load()
    try:
        found = library.OpenSlide.detect_format(path)
    except Exception as error:  # whatever it is, the slide is to blame
        raise refusal(
            f"OpenSlide cannot tell what {path} is", error, "Copy the slide again from its source.", path=path
        ) from error
    return None if found is None else str(found)


class OpenSlideFile:
    """A slide opened by OpenSlide, safe to share between threads and to carry into forked processes.

    Parameters
    ----------
    path : Path
        The slide.
    vendor : str
        What `detect_format` says of it. OpenSlide that cannot read all of a file just now may take it for another
        kind, of other levels and colours: that is refused.
    sizes : tuple of (int, int), optional
        Width and height of each level that OpenSlide must find; other ones are refused. Not looked at by default.

    Notes
    -----
    OpenSlide's handles may be used by several threads, but one that failed once fails ever after. So a failed
    handle is dropped, and the read tried on a new one before an error is believed. Handles are never closed
    while another thread may read through them: they close when the last reader lets go. A process holds the handles
    used last, of all slides, up to 256; a forked child opens its own.
    """

    def __init__(self, path: Path, vendor: str, sizes: tuple[tuple[int, int], ...] | None = None) -> None:
        self.path, self.vendor, self.sizes = path, vendor, sizes
        #: OpenSlide's properties; the file is opened when somebody asks for one, with the errors of `handle`.
        self.properties: Mapping[str, str] = _Properties(self)

    def _open(self) -> openslide.OpenSlide:
        library = _load()
        try:
            handle: openslide.OpenSlide = library.OpenSlide(self.path)
            vendor, sizes = handle.properties.get("openslide.vendor"), handle.level_dimensions
        except Exception as error:  # its own errors; on garbage also MemoryError, UnicodeDecodeError
            raise refusal(
                f"OpenSlide cannot open {self.path}",
                error,
                "If the file is complete, convert it, for example: "
                f"vips tiffsave {self.path.name} out.tiff --tile --pyramid --compression jpeg.",
                path=self.path,
            ) from error
        if vendor != self.vendor:
            raise NotReadError(
                f"OpenSlide takes {self.path} for another kind of slide than before ({self.vendor}). Not read; the "
                "file has changed, or could not be read in full just now."
            )
        if self.sizes not in (None, sizes):
            raise SlideError(
                f"OpenSlide finds levels of {_told(sizes)} pixels in {self.path}, and its directories have "
                f"{_told(self.sizes or ())}: the file is damaged. Copy the slide again from its source."
            )
        return handle

    def handle(self) -> openslide.OpenSlide:
        """Return this process's handle, opening it if need be.

        Raises
        ------
        SlideError
            If OpenSlide refuses the file; a `NotReadError` if the moment is to blame.
        MissingDependencyError
            If OpenSlide cannot be imported.
        """
        return _HANDLES.get(self, self._open)

    def read_region(self, level: int, location: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Read a region over white.

        Parameters
        ----------
        level : int
            Pyramid level.
        location : (int, int)
            Left and top edge in pixels of level 0, as OpenSlide counts.
        size : (int, int)
            Width and height in pixels of the level.

        Returns
        -------
        uint8 array, shape (height, width, 3)
            RGB.

        Raises
        ------
        SlideError
            If the region cannot be read, on a new handle either.
        """
        handle = self.handle()
        try:
            return _region(handle, level, location, size)
        except Exception:
            # Perhaps another thread's error, latched in the shared handle: only a new one can tell.
            _HANDLES.drop(self, handle)
        own = self._open()
        try:
            pixels = _region(own, level, location, size)
        except Exception as error:
            raise refusal(
                f"OpenSlide cannot read {size[0]}x{size[1]} pixels of level {level} at {location} "
                f"(in level 0 pixels) of {self.path}",
                error,
                "Copy the slide again from its source, or leave this place out.",
                path=self.path,
            ) from error
        _HANDLES.put(self, own)
        return pixels

    def close(self) -> None:
        """Let go of this process's handle; the next read opens a new one."""
        _HANDLES.drop(self)


class _Properties(Mapping[str, str]):
    """OpenSlide's properties of a file, read when somebody asks for one."""

    def __init__(self, file: OpenSlideFile) -> None:
        self._file = file

    @cached_property
    def _found(self) -> Mapping[str, str]:
        return dict(self._file.handle().properties)

    def __getitem__(self, name: str) -> str:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _told(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{width} x {height}" for width, height in sizes)


class _Buffers(threading.local):
    # Memory for a region's pixels as OpenSlide has them, one for each thread: new memory costs as much as the copy.
    def __init__(self) -> None:
        self.kept = np.empty(0, np.uint32)

    def take(self, count: int) -> NDArray[np.uint32]:
        if count > _KEPT_PIXELS:
            return np.empty(count, np.uint32)
        if self.kept.size < count:
            self.kept = np.empty(count, np.uint32)
        return self.kept[:count]


_BUFFERS = _Buffers()


@functools.cache
def _library() -> tuple[Callable[..., None], Callable[..., bytes | None]]:
    """OpenSlide's own functions to read a region and to say what went wrong; without the interpreter lock."""
    library = _load().lowlevel._lib
    read, error = library["openslide_read_region"], library["openslide_get_error"]
    whole, number = ctypes.c_int64, ctypes.c_int32
    read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, whole, whole, number, whole, whole]
    read.restype = None
    error.argtypes, error.restype = [ctypes.c_void_p], ctypes.c_char_p
    return read, error


def _region(
    handle: openslide.OpenSlide, level: int, location: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Read a region over white, into memory of our own; Pillow's pictures would cost as much as some decoding."""
    from ._argb import over_white  # numba takes a while to import

    read, error = _library()
    width, height = size
    pixels = _BUFFERS.take(width * height)
    opened = handle._osr._as_parameter_
    read(opened, pixels.ctypes.data, *location, level, width, height)
    said = error(opened)
    if said is not None:
        raise _load().OpenSlideError(said.decode("utf-8", "replace"))
    rgb = np.empty((height, width, 3), np.uint8)
    over_white(pixels, rgb.reshape(-1))
    return rgb


def mpp_of(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Read microns per pixel (x, y) from OpenSlide's properties; None where missing or no numbers."""
    try:
        return float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"])
    except (KeyError, ValueError):
        return None


def tile_of(properties: Mapping[str, str], level: int) -> tuple[int, int] | None:
    """Read width and height of a level's blocks in pixels from OpenSlide's properties; None where they are not said."""
    try:
        width, height = (int(properties[f"openslide.level[{level}].tile-{side}"]) for side in ("width", "height"))
    except (KeyError, ValueError):
        return None
    return (width, height) if min(width, height) > 0 else None


def bounds_of(properties: Mapping[str, str], width: int, height: int) -> tuple[int, int, int, int]:
    """Read the non-empty region (x, y, width, height; level 0 pixels) from OpenSlide's properties.

    Parameters
    ----------
    properties : mapping
        OpenSlide's properties; only some formats say the bounds.
    width, height : int
        Size of level 0, which is the answer where they do not.

    Returns
    -------
    (int, int, int, int)
        The region.
    """
    try:
        x, y, w, h = (int(properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return 0, 0, width, height
    return x, y, w, h
