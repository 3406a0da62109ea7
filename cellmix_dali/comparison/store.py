"""The files of a comparison: what all its runs have in common, and a file for each run that is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .._plain import plain
from ..errors import ArgumentError
from ..jobs.asked import differences
from ..jobs.folder import JobFolder
from ..storage.aside import remove_parts, write_aside
from ..storage.foreign_files import read_json
from .records import RunRecord
from .runs import Run

__all__ = ["RunStore"]

SETTINGS = "comparison.json"
_RUNS = "runs"


class RunStore(JobFolder):
    """The folder of a comparison.

    ``comparison.json`` says what all runs have in common, ``runs/ARM/fold-F_seed-S_OPTION-VALUE.json`` is one finished
    run. Every file is there in full or not at all. The names have the values of all options that matter to the arm, so
    that a run is found again whatever else is compared.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.
    common : mapping
        What all runs must have in common, as JSON values.
    about : mapping
        What else is written beside it, and may differ: versions, paths.

    Raises
    ------
    ArgumentError
        If the folder cannot be used, another comparison runs in it, or its runs were made with other settings; says
        which.
    """

    job, name, format = "comparison", SETTINGS, 1
    also_read = (None,)  # as it was before it had a number
    says: ClassVar = {"common": dict, "about": dict}

    def __init__(self, folder: Path, common: Mapping[str, object], about: Mapping[str, object]) -> None:
        #: What is written in the folder's own `about` and differs.
        self.changed: dict[str, tuple[object, object]] = {}
        self._asked: dict[str, Any] = plain({"common": common, "about": about})
        super().__init__(folder)

    def file_of(self, run: Run) -> Path:
        """Return the file of a run."""
        return self.folder / _RUNS / run.arm.slug / f"{run.slug}.json"

    def record(self, run: Run) -> RunRecord | None:
        """Return a finished run's record, None where it is not finished.

        Raises
        ------
        ArgumentError
            If its file cannot be read, or is of another run: it must be done again.
        """
        path = self.file_of(run)
        if not path.exists():
            return None
        content = read_json(path, "The record of a run", "Remove it: the run is then done again.")
        try:
            record = RunRecord.from_json(content)
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # an ArgumentError is a ValueError, too
            raise ArgumentError(f"{path}: {error}") from error
        found = (record.method, record.curriculum, record.augment, record.fold, record.seed, dict(record.candidate))
        arm = run.arm
        if found != (arm.method, arm.curriculum, arm.augment, run.fold, run.seed, dict(run.values)):
            raise ArgumentError(f"{path} is the record of another run.")
        now = arm.recipe
        if record.recipe != now:
            raise ArgumentError(f"{path} is of a run under another augmentation: {record.recipe}, and not {now}.")
        return record

    def keep(self, run: Run, record: RunRecord) -> None:
        """Keep a finished run.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        path = self.file_of(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(path) as file:
            file.write((json.dumps(record.to_json(), separators=(",", ":")) + "\n").encode())

    def begin(self) -> None:
        """Compare with what is written, or write it."""
        for folder in (self.folder, *(self.folder / _RUNS).glob("*")):
            remove_parts(folder)
        before = self.read()
        if before is None:
            self.write(self._asked)
            return
        differing = differences(before["common"], self._asked["common"])
        if differing:
            raise ArgumentError(
                f"The runs in {self.folder} were made otherwise, and would not be comparable: {'; '.join(differing)}. "
                "Give the same settings, or another --out."
            )
        was, now = before["about"], self._asked["about"]
        self.changed = {name: (was[name], now[name]) for name in now if name in was and was[name] != now[name]}
