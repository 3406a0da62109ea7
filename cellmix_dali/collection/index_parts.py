"""Parts of an index, which processes on many hosts make beside each other, until the whole takes them over."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from shutil import rmtree

from .._urls import url_of
from ..errors import ArgumentError
from ..jobs.job_shard import JobShard
from ..storage.folder_lock import FolderLock
from ..storage.objects import here_folder
from ..storage.stores import remove

__all__ = ["finished_parts", "forget_parts", "part_place"]

_JOB, _WHAT = ".job", "index job of this part"


def part_place(out: Path, shard: JobShard) -> Path:
    """Return where the index of a part lies, beside the whole one."""
    return _folder(out) / f"{shard.name}.index"


def finished_parts(out: Path) -> list[Path]:
    """Return the indexes of parts that are finished, of the whole that is to lie at `out`.

    Raises
    ------
    ArgumentError
        If a process on a host of the same file system makes a part just now.
    NotReadError
        If a store cannot be asked.
    """
    folder = _folder(out)
    here_folder(folder)
    for job in folder.glob(f"*{_JOB}"):
        with closing(FolderLock(job, _WHAT)):  # which says so, if it is held
            pass
    return sorted(folder.glob("*-of-*.index"))


def forget_parts(out: Path, parts: list[Path]) -> None:
    """Remove parts that were taken over, and what is left of their jobs.

    Raises
    ------
    NotReadError
        If a store refuses.
    """
    remove([url for each in parts if (url := url_of(each)) is not None])
    for each in parts:
        each.unlink(missing_ok=True)
    for job in _folder(out).glob(f"*{_JOB}"):
        with suppress(ArgumentError), closing(FolderLock(job, _WHAT)):  # a part that began meanwhile goes on
            rmtree(job, ignore_errors=True)
    with suppress(OSError):  # there is none, or others are in it
        _folder(out).rmdir()


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")
