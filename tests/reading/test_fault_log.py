"""The list of bad tiles, in memory and in its file."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from cellmix_dali import TileTable
from cellmix_dali.reading.faults import FaultLog

TABLE = TileTable.from_columns("a.svs", x=[0, 8, 16], y=[0, 0, 0], size=8)


def test_each_tile_is_noted_once(tmp_path: Path) -> None:
    file = tmp_path / "faults.jsonl"
    log = FaultLog(TABLE, file)
    log.add(1, "bad", 2)
    log.add(1, "bad again", 0)
    (fault,) = log.all()
    assert (fault.tile, fault.slide, fault.x, fault.reason, fault.replaced_by) == (1, "a.svs", 8, "bad", 2)
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == {
        "tile": 1, "slide": "a.svs", "level": 0, "x": 8, "y": 0, "size": 8, "reason": "bad", "replaced_by": 2,
        "kind": "damaged",
    }  # fmt: skip


def test_a_run_that_resumes_does_not_repeat_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "faults.jsonl"
    FaultLog(TABLE, file).add(1, "bad", 2)
    with file.open("a") as cut:
        cut.write('{"slide": "a.sv')  # the process died while writing
    log = FaultLog(TABLE, str(file))
    log.add(1, "bad", 2)
    log.add(2, "worse", None)
    assert [fault.tile for fault in log.all()] == [1, 2]
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    assert [json.loads(lines[number])["tile"] for number in (0, 2)] == [1, 2]


def test_what_cannot_be_written_now_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faults.jsonl"
    log = FaultLog(TABLE, file)
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        patch.setattr(Path, "open", fail)
        for row in (1, 2):
            with pytest.warns(UserWarning, match=r"cannot be noted .* just now \(.*Too many open files"):
                log.add(row, "bad", None, "not read")
    assert file.read_text() == ""
    log.add(0, "bad", None)
    assert [json.loads(line)["tile"] for line in file.read_text().splitlines()] == [1, 2, 0]
    log.write()
    assert len(file.read_text().splitlines()) == 3
