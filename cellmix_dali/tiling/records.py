"""What a job remembers of finished work: which files it wrote, and what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._urls import place_name
from ..errors import DAMAGED, NOT_READ, NotReadError
from ..shards import shard_digest
from ..storage.mirror import attach
from ..storage.moment import MOMENT, refusal
from .slides import JobSlide

__all__ = ["BadTile", "FileStamp", "Input", "PartRecord", "PlanRecord", "file_stamps", "inputs_of", "intact"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Input:
    """The state of a file that a slide's tiles are made from; size and time are None where there is none.

    Attributes
    ----------
    path : str
    bytes : int or None
    modified : int or None
        Nanoseconds since 1970.
    """

    path: str
    bytes: int | None
    modified: int | None


@dataclass(frozen=True)
class FileStamp:
    """A file that was written.

    Attributes
    ----------
    path : str
        Within the job's folder, with slashes.
    bytes : int
    digest : str
        Its SHA-256; of a shard `cellmix_dali.shards.shard_digest`.
    modified : int or None
        When it was written, nanoseconds since 1970. It is in the journal, and not in the manifest, which is the same
        for all runs.
    """

    path: str
    bytes: int
    digest: str
    modified: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BadTile:
    """A tile that was left out since it cannot be read: its window in pixels of its level, why, and the kind of fault.

    The kinds are those of `cellmix_dali.reading.faults.Fault`. A job that resumes makes a part anew that has a tile
    which was "not read".
    """

    level: int
    x: int
    y: int
    size: int
    reason: str
    kind: str = DAMAGED


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """A slide that was looked at: what its tiles are.

    Attributes
    ----------
    slide : int
        Its number.
    inputs : tuple of Input
        What it was made from.
    files : tuple of FileStamp
        The table of the tiles to make and the overview picture.
    grid, tiles : int
        Places of the grid, and those chosen.
    parts : int
        Units of work that the tiles are made in.
    level, window : int
        Level that is read, and the side of a tile's window in its pixels.
    mpp : float or None
        Microns per pixel of the finished tiles.
    route : {"direct", "openslide"}
        How it was read.
    tissue_mm2 : float or None
        Area of tissue.
    overview : str or None
        Path of the overview picture within the job's folder.
    note : str
        For a person, such as that there is no tissue.
    seconds : float
        Time it took.
    """

    slide: int
    inputs: tuple[Input, ...]
    files: tuple[FileStamp, ...]
    grid: int
    tiles: int
    parts: int
    level: int | None
    window: int | None
    mpp: float | None
    route: Literal["direct", "openslide"]
    tissue_mm2: float | None = None
    overview: str | None = None
    note: str = ""
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PlanRecord:
        """Read what `to_json` gave."""
        return cls(
            **{
                **values,
                "inputs": tuple(Input(**each) for each in values["inputs"]),
                "files": tuple(FileStamp(**each) for each in values["files"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """A part of a slide whose tiles were made.

    Attributes
    ----------
    slide, part : int
        Which.
    files : tuple of FileStamp
        Shards with their index files, and the table of the tiles in them.
    copied, encoded : int
        Tiles with the slide file's own bytes, and tiles encoded anew.
    bytes : int
        Of the tiles.
    bad : tuple of BadTile
        Tiles that were left out.
    seconds : float
        Time it took.
    """

    slide: int
    part: int
    files: tuple[FileStamp, ...]
    copied: int
    encoded: int
    bytes: int
    bad: tuple[BadTile, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def unread(self) -> int:
        """Tiles that were left out for a reason of the moment."""
        return sum(tile.kind == NOT_READ for tile in self.bad)

    @property
    def tiles(self) -> int:
        """Tiles that were made."""
        return self.copied + self.encoded

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PartRecord:
        """Read what `to_json` gave."""
        return cls(
            **{
                **values,
                "files": tuple(FileStamp(**each) for each in values["files"]),
                "bad": tuple(BadTile(**each) for each in values["bad"]),
            }
        )


def inputs_of(slide: JobSlide) -> tuple[Input, ...]:
    """Look at the files that a slide's tiles are made from.

    Raises
    ------
    NotReadError
        If that is not possible just now: it would look as if they had changed.
    """
    return tuple(_input(path) for path in (slide.path, slide.mask, slide.annotations) if path is not None)


def _input(path: Path) -> Input:
    try:
        mirror = attach(path, fresh=True)
        if mirror is not None:  # the version stands for the time: its own is that of this machine's copy
            version = int.from_bytes(hashlib.sha256(mirror.of.version.encode()).digest()[:7], "big")
            return Input(place_name(path), mirror.of.size, version)
        state = path.stat()
    except NotReadError:
        raise
    except OSError as error:
        if error.errno in MOMENT:
            raise refusal(f"Cannot look at {path}", error, "") from error
        return Input(place_name(path), None, None)
    return Input(str(path), state.st_size, state.st_mtime_ns)


def file_stamps(folder: Path, paths: Iterable[Path], known: Mapping[str, str] | None = None) -> tuple[FileStamp, ...]:
    """Measure files that were written into a job's folder, in the order of their paths.

    Digests that are known already, by the file's name, are not worked out again.
    """
    digests = known or {}
    stamps = []
    for path in sorted(paths):
        state, digest = path.stat(), digests.get(path.name) or _digest(path)
        stamps.append(FileStamp(path.relative_to(folder).as_posix(), state.st_size, digest, state.st_mtime_ns))
    return tuple(stamps)


def intact(folder: Path, files: Iterable[FileStamp], *, before: int | None = None, verify: bool = False) -> bool:
    """Whether files are all there with the bytes that they were written with.

    A file of the right size counts as it is if it is as old as it was when it was noted. Any other file, such as one of
    a folder that was copied, is read, and its digest compared.

    Parameters
    ----------
    folder : Path
        The job's folder.
    files : iterable of FileStamp
    before : int, optional
        Of files whose time was not noted: how old they must be at least, nanoseconds since 1970.
    verify : bool, default False
        Whether to read all files.
    """
    stamps = list(files)
    try:
        states = [(folder / stamp.path).stat() for stamp in stamps]
        # Sizes first: they cost nothing, and tell most of what can be wrong.
        if any(state.st_size != stamp.bytes for state, stamp in zip(states, stamps, strict=True)):
            return False
        return all(
            (not verify and _is_as_old(state.st_mtime_ns, stamp.modified, before))
            or _digest(folder / stamp.path) == stamp.digest
            for state, stamp in zip(states, stamps, strict=True)
        )
    except (OSError, ValueError):
        return False


def _is_as_old(modified: int, noted: int | None, before: int | None) -> bool:
    """Whether a file was not written to since it was noted."""
    if noted is not None:
        return modified == noted
    return before is not None and modified < before  # times are coarse: at the same one it may be later


def _digest(path: Path) -> str:
    if path.suffix == ".tar":
        return shard_digest(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
