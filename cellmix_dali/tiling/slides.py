"""Which slides a tiling job is about: what the user named, under names that are all different."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from ..errors import ArgumentError, NotReadError, SlideError
from ..slides import slide_suffixes
from ..slides.folders import slides_in
from ..slides.identity import Repeats, unique_slides
from ..storage.moment import MOMENT, is_folder, refusal
from ..storage.objects import asked_for
from ..storage.paths import home_expanded, is_link, shown
from ..tables.slide_list import read_slide_list
from ..tables.split_columns import SPLIT_COLUMNS
from .settings import TilingSettings

__all__ = ["Collection", "JobSlide", "find_slides", "numbered"]

_LISTS = (".csv", ".parquet", ".pq")
_GLOB = frozenset("*?[")
_LONGEST_NAME = 64


@dataclass(frozen=True)
class JobSlide:
    """One slide of a job.

    Attributes
    ----------
    number : int
        Its place in the collection.
    path : Path
        The file, absolute.
    name : str
        Short, of letters, digits, "-" and "_", different from those of all other slides: its files are named so.
    label : int or None
        Class index of all its tiles.
    mpp : float or None
        Microns per pixel of its first level, whatever its file says.
    mask, annotations : Path or None
        The files that belong to it; looked for, but perhaps not there.
    patient, split, fold : str or None
        What the list says of it; goes into the table of the tiles.
    """

    number: int
    path: Path
    name: str
    label: int | None = None
    mpp: float | None = None
    mask: Path | None = None
    annotations: Path | None = None
    patient: str | None = None
    split: str | None = None
    fold: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """What the list says of its patient, split and fold."""
        said = {name: getattr(self, name) for name in SPLIT_COLUMNS}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Collection:
    """The slides of a job, in order.

    Attributes
    ----------
    slides : tuple of JobSlide
        At least one.
    classes : tuple of str or None
        Names of the labels; None without labels.
    repeats : tuple of Repeats
        Slides that were reached by several files, each of which counts once.
    folders : tuple of Path
        Folders within the named ones, which were not looked into.
    """

    slides: tuple[JobSlide, ...]
    classes: tuple[str, ...] | None
    repeats: tuple[Repeats, ...] = ()
    folders: tuple[Path, ...] = ()


def find_slides(sources: Sequence[str | Path], settings: TilingSettings) -> Collection:
    """Find the slides that a user named.

    Parameters
    ----------
    sources : sequence of str or Path
        Slide files, folders (the slides directly in them, by name), patterns such as ``/data/*/*.svs``, or one list of
        slides (CSV or Parquet), see `cellmix_dali.tables.read_slide_list`. A slide that is reached by several
        files (links, the instances of a DICOM series) counts once; a list must not name it twice. Slides of a list need
        not be there: those that are not fail later, and the job goes on.
    settings : TilingSettings
        Says the classes, and where masks and annotations are.

    Returns
    -------
    Collection

    Raises
    ------
    SlideError
        If a file or folder is not there, or a folder or pattern has no slide.
    NotReadError
        If a folder cannot be looked into for a reason of the moment. Of a slide that is noticed later.
    ArgumentError
        If nothing is named, a list stands among other sources or cannot be read, or two slides would share a mask or
        annotations.
    """
    named = [sources] if isinstance(sources, str | Path) else list(sources)
    if not named:
        raise ArgumentError("There is nothing to tile: name slide files, folders, patterns, or one CSV list of slides.")
    labels: list[int] | None = None
    mpps: list[float] | None = None
    repeats: list[Repeats] = []
    folders: list[Path] = []
    columns: dict[str, Sequence[str]] = {}
    classes = settings.classes if settings.labelled else None
    if any(Path(source).suffix.lower() in _LISTS for source in named):
        if len(named) > 1:
            raise ArgumentError("A list of slides stands alone: give the list, or files, folders and patterns.")
        listed = read_slide_list(named[0], classes=settings.classes, check_files=False)
        paths = list(listed.slides)
        if listed.labels is not None and not settings.labelled:
            labels, classes = listed.labels.tolist(), listed.classes
        mpps = None if listed.mpp is None else listed.mpp.tolist()
        columns = {name: of for name in SPLIT_COLUMNS if (of := getattr(listed, name)) is not None}
    else:
        if settings.classes is not None and not settings.labelled:
            raise ArgumentError("classes without labels: give annotations, or a list of slides with a column 'label'.")
        paths, repeats = unique_slides([path for source in named for path in _expand(source, folders)])
    names = _names(paths)
    files = settings.files_of(paths)
    slides = tuple(
        JobSlide(
            number,
            Path(shown(path.absolute())),  # a name that is not UTF-8 fits in no table: that slide fails
            names[number],
            label=None if labels is None else labels[number],
            mpp=None if mpps is None or mpps[number] != mpps[number] else mpps[number],
            mask=files[number].mask,
            annotations=files[number].annotations,
            **{name: of[number] for name, of in columns.items()},
        )
        for number, path in enumerate(paths)
    )
    return Collection(slides, classes, tuple(repeats), tuple(folders))


def _expand(source: str | Path, folders: list[Path]) -> list[Path]:
    """A file as it is; the slides of a folder, or that a pattern meets. Folders in the folder go into `folders`."""
    path = home_expanded(source)
    if _GLOB & set(path.name) and not _GLOB & set(str(path.parent)):
        asked_for(path.parent)  # a folder of a store is listed
    try:
        path = asked_for(path)
        mode = path.stat().st_mode
    except NotReadError:
        if path.suffix.lower() in slide_suffixes():
            return [path]
        raise
    except OSError as error:
        # One slide of a job is then not read; what a folder holds, or a list, must be known.
        if error.errno in MOMENT and path.suffix.lower() in slide_suffixes():
            return [path]
        if error.errno in MOMENT:
            raise refusal(f"Cannot look at {path}", error, "") from error
        mode = None
    if mode is not None and S_ISDIR(mode):
        found, below = slides_in(path)
        folders += below
        return found
    if mode is not None or is_link(path):  # a link that leads nowhere costs one slide, not the job
        return [path]
    if _GLOB & set(str(source)):
        met = sorted(Path(file) for file in glob.glob(str(path), recursive=True))  # noqa: PTH207 (it may be absolute)
        found = [file for file in met if not is_folder(file)]
        if not found:
            raise SlideError(f"No file fits the pattern {source}. Check the path.")
        return found
    raise SlideError(f"There is no slide at {path}. Check the path.")


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names, all different."""
    return numbered([re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:_LONGEST_NAME] or "slide" for path in paths])


def numbered(stems: Sequence[str]) -> list[str]:
    """Return names of files that are all different: numbered where stems are alike."""
    found: list[str] = []
    taken: set[str] = set()
    own = set(stems)
    counts: dict[str, int] = {}  # up to which each stem's numbers are taken
    for stem in stems:
        count = counts.get(stem, 1)
        name = stem if count == 1 else f"{stem}-{count}"
        while name.lower() in taken or (count > 1 and name in own):
            count += 1
            name = f"{stem}-{count}"
        counts[stem] = count
        taken.add(name.lower())  # file systems may not tell capitals from small letters
        found.append(name)
    return found
