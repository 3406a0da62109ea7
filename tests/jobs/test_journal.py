"""A job's journal: what a crash, or a failing disk, makes of a line does not count."""

from __future__ import annotations

import resource
from contextlib import closing
from pathlib import Path

import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.jobs.journal import Journal, journal_line, journal_lines
from cellmix_dali.storage.aside import WriteError

LINES = [{"n": 1, "text": "é\n"}, {"n": 2}, {"n": 3, "of": [1, {"a": None}]}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as journal:
        for line in LINES:
            journal.add(line)
    return path


def test_lines_are_there_at_once_and_added_to(path: Path, tmp_path: Path) -> None:
    with closing(Journal(path)) as journal:
        assert list(journal_lines(path)) == LINES
        journal.add({"n": 4})
        assert list(journal_lines(path)) == [*LINES, {"n": 4}]
    assert list(journal_lines(tmp_path / "none")) == []


def test_a_cut_line_is_removed_before_others_follow(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        count = whole[:length].count(b"\n")
        assert list(journal_lines(path)) == LINES[:count]
        with closing(Journal(path)) as journal:
            journal.add({"n": 9})
        assert list(journal_lines(path)) == [*LINES[:count], {"n": 9}]


def test_no_flipped_bit_counts(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert all(line in LINES for line in journal_lines(path))
    path.write_bytes(b"[1]\n\x00\xff\n" + b"[" * 100_000 + b"\n" + journal_line({"n": 5}))
    assert list(journal_lines(path)) == [{"n": 5}]


def test_what_cannot_be_written_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be written"):
        Journal(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Journal(path)) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
        try:
            with pytest.raises(WriteError, match=rf"{path} cannot be written .*room on the disk"):
                journal.add({"n": 4})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
