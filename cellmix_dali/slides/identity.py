"""Which files are one slide: links to one file, and the instances of one DICOM series."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cellmix_dali.slides.dicom_instance import series_of

__all__ = ["Repeats", "slide_identity", "unique_slides"]

# Files whose first bytes are looked at: a look at each file of a large collection would cost a request each.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ""})


@dataclass(frozen=True)
class Repeats:
    """A slide, and the other files by which it was reached.

    Attributes
    ----------
    slide : Path
        The file that stands for the slide.
    also : tuple of Path
        The others; none, where the one file is named several times.
    """

    slide: Path
    also: tuple[Path, ...]

    def __str__(self) -> str:
        """Two of the files, for a message: "a.svs and b.svs"."""
        return f"{self.slide} and {self.also[0] if self.also else self.slide}"


def slide_identity(path: str | os.PathLike[str]) -> Hashable:
    """Return what is the same for all files of one slide, and for no file of another.

    A DICOM instance (PS3.10) belongs to its series, by SeriesInstanceUID (0020,000E): levels, label, overview and
    thumbnail of one scan are instances of one series, and OpenSlide opens the whole series by any of them. Any other
    file is itself, by device and inode, whatever links lead to it. A file that is not there, or cannot be read, is its
    real path. Copies of a file are slides of their own.

    Parameters
    ----------
    path : path-like
        A slide file.

    Returns
    -------
    hashable
    """
    place = Path(path)
    try:
        stat = place.stat()
        if place.suffix.lower() in _DICOM_SUFFIXES and place.is_file():
            series, _ = series_of(place)
            if series:
                return "series", series
    except (OSError, ValueError):  # a circular link, a name with a zero byte, a file that must not be read
        return "path", os.path.realpath(os.fsencode(place)) if b"\0" not in os.fsencode(place) else os.fsencode(place)
    return "file", stat.st_dev, stat.st_ino


def unique_slides(paths: Iterable[Path]) -> tuple[list[Path], list[Repeats]]:
    """Keep one file for each slide.

    Parameters
    ----------
    paths : iterable of Path
        Slide files, in order.

    Returns
    -------
    slides : list of Path
        Each slide once, where its first file stands: that file, or, of a DICOM series, the first of its instances that
        is a level (ImageType VOLUME). A series of which only label, overview or thumbnail is there is kept as it is:
        OpenSlide looks for the others in its folder.
    repeats : list of Repeats
        The slides that were reached by several files.
    """
    groups: dict[Hashable, list[Path]] = {}
    for path in paths:
        groups.setdefault(slide_identity(path), []).append(path)
    slides, repeats = [], []
    for identity, files in groups.items():
        chosen = files[0]
        if len(files) > 1:
            if isinstance(identity, tuple) and identity[0] == "series":
                chosen = next((file for file in files if "VOLUME" in series_of(file)[1].split("\\")), files[0])
            repeats.append(Repeats(chosen, tuple(file for file in files if file != chosen)))
        slides.append(chosen)
    return slides, repeats
