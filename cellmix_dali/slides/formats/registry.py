"""What a slide format has to say, and the registry in which it says it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, TypeVar

from cellmix_dali._registry import Registry
from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.found import Found

__all__ = ["FORMATS", "SlideFormat", "formats_in_order", "register_format", "slide_suffixes"]


class SlideFormat(ABC):
    """A kind of slide file: how it is recognised, and how its levels and blocks are found.

    Attributes
    ----------
    name : str
        Its name, such as "aperio": what ``inspect`` shows.
    files : str
        The files that are meant, for the table of the README.
    read : str
        How they are read, for that table.
    since : str, default ""
        The version since which blocks are read directly, for that table and ``inspect``; empty where they are not.
    tested : str, default ""
        What it was tested with, for them, too.
    rank : int, default 0
        Formats are asked in the order of their ranks, those of one rank by name: formats of other packages first (0),
        then DICOM (5), those of scanners (10 to 19), OME-TIFF (20), QPTIFF (22), any tiled TIFF (30), and in the end
        OpenSlide (100), which takes all.
    suffixes : tuple of str, default ()
        What such files may be called in a folder, in small letters; a file that is named itself may have any suffix.
    """

    name: ClassVar[str]
    files: ClassVar[str]
    read: ClassVar[str]
    since: ClassVar[str] = ""
    tested: ClassVar[str] = ""
    rank: ClassVar[int] = 0
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, file: SlideFile) -> bool:
        """Say whether a file is of this format; look at a few bytes (`SlideFile.head`), not at its name."""

    @abstractmethod
    def look(self, file: SlideFile) -> Found:
        """Find the levels and, where blocks can be read directly, a `BlockTable` for each.

        `cellmix_dali.slides.found.from_blocks` and `through_openslide` make what is to be returned. Raise a
        `SlideError` for a file that cannot be read.
        """


_Class = TypeVar("_Class", bound="type[SlideFormat]")

#: Every format by name, those of entry points of the group ``cellmix_dali.slide_formats`` among them.
FORMATS: Registry[SlideFormat] = Registry(
    "slide format", "cellmix_dali.slide_formats", lambda _, found: register_format(found)
)


def register_format(kind: _Class) -> _Class:
    """Enter a slide format; a decorator of its class.

    A process that is spawned, such as a worker of a tiling job, knows the formats of installed packages (by their entry
    points), and of others only those that a module registers that it imports.

    Raises
    ------
    ArgumentError
        If it is not a class of `SlideFormat` that can be made, lacks an attribute, or its name is taken.
    """
    if not (isinstance(kind, type) and issubclass(kind, SlideFormat)):
        raise ArgumentError(f"{kind!r} cannot be a slide format: give a class of SlideFormat.")
    missing = [name for name in ("name", "files", "read") if not isinstance(getattr(kind, name, None), str)]
    missing += sorted(kind.__abstractmethods__)
    if missing:
        raise ArgumentError(f"{kind.__name__} cannot be a slide format: it lacks {', '.join(missing)}.")
    FORMATS.add(kind.name, kind())
    return kind


def formats_in_order() -> Iterator[SlideFormat]:
    """Return the formats in the order in which they are asked."""
    return iter(sorted(FORMATS.values(), key=lambda of: (of.rank, of.name)))


def slide_suffixes() -> frozenset[str]:
    """Return the suffixes of files that are taken from a folder for slides, in small letters."""
    return frozenset(suffix for of in FORMATS.values() for suffix in of.suffixes)
