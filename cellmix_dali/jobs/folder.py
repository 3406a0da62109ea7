"""The folder of a job: held by one process, with a file that says what the job was asked for."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..errors import ArgumentError
from ..storage.aside import write_aside
from ..storage.folder_lock import FolderLock
from ..storage.foreign_files import reading
from .asked import is_whole, with_sum
from .journal import Journal

__all__ = ["JobFolder"]

_Folder = TypeVar("_Folder", bound="JobFolder")


class JobFolder(ABC):
    """A job's folder: nobody else can run a job in it at the same time.

    Parameters
    ----------
    folder : Path
        Made if need be.
    own : Path, optional
        A folder within it, for a part of a job: parts of one job may run at the same time, but neither two of one
        folder nor the whole job beside a part.

    Raises
    ------
    ArgumentError
        If the folder cannot be used, another job runs in it, or `begin` refuses it.
    """

    #: What works in it, for messages: "tiling job".
    job: ClassVar[str]
    #: The file that says what the job was asked for.
    name: ClassVar[str]
    #: What stands in it, and its kind.
    says: ClassVar[Mapping[str, type | tuple[type, ...]]]
    #: Number of its format, and those that are read, too; None of a file that has neither number nor checksum.
    format: ClassVar[int]
    also_read: ClassVar[tuple[int | None, ...]] = ()

    #: What is done, from `begin` on, where the job notes that; closed with the folder.
    _journal: Journal | None = None

    def __init__(self, folder: Path, own: Path | None = None) -> None:
        self.folder, self.path = folder, folder / self.name
        self._locks = [FolderLock(folder, self.job, shared=own is not None)]
        try:
            if own is not None:
                self._locks.append(FolderLock(own, f"{self.job} of this part"))
            self.begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self: _Folder) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._journal is not None:
            self._journal.close()
        for lock in self._locks:
            lock.close()

    @abstractmethod
    def begin(self) -> None:
        """Find what is there and compare it with what is asked for, or begin anew."""

    def read(self) -> dict[str, Any] | None:
        """Return what the job was asked for before; None where there was none.

        Raises
        ------
        ArgumentError
            If the file cannot be read, is damaged, or is of another version.
        """
        if not self.path.exists():
            return None
        with reading(self.path, f"The record of the {self.job}'s settings", "Begin anew, in another folder."):
            found = json.loads(self.path.read_bytes())
            if not isinstance(found, dict):
                raise ValueError("it is not an object")
            if found.get("format") not in (self.format, *self.also_read):
                raise ArgumentError(
                    f"{self.path} is of another version of cellmix_dali: begin anew, in another folder."
                )
            if "format" in found and not is_whole(found):
                raise ValueError("its checksum is another one: it was changed, or the disk has damaged it")
            wrong = next((name for name, kind in self.says.items() if not isinstance(found.get(name), kind)), None)
            if wrong is not None:
                raise ValueError(f"it does not say {wrong!r}")
        return found

    def write(self, values: Mapping[str, Any]) -> None:
        """Write what the job is asked for: the file is then there in full, or as it was.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        with write_aside(self.path) as file:
            summed = with_sum({"format": self.format, **values})
            file.write(json.dumps(summed, indent=1, ensure_ascii=False).encode() + b"\n")
