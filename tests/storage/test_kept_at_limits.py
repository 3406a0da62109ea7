"""What stays open, what is written aside and what is left behind, one more and one fewer than may be."""

from __future__ import annotations

import errno
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest

from cellmix_dali.storage import aside, open_file
from cellmix_dali.storage.aside import Aside, WriteError, remove_parts, told, write_aside
from cellmix_dali.storage.kept_open import KeptOpen
from cellmix_dali.storage.open_file import most_open, read_in_parts


class Thing:
    """What can be referred to weakly."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_the_ones_used_last_stay_open() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 3)
    owners = [Thing(str(number)) for number in range(5)]
    opened: list[str] = []

    def get(number: int) -> None:
        def make() -> Thing:
            opened.append(owners[number].name)
            return Thing("open")

        kept.get(owners[number], make)

    for number in (0, 1, 2, 0, 1, 2):
        get(number)
    assert opened == ["0", "1", "2"]
    assert len(kept) == 3
    get(0)  # now 1 was used longest ago
    get(3)
    assert len(kept) == 3
    for number in (0, 2, 3):
        get(number)
    assert opened == ["0", "1", "2", "3"]
    get(1)
    assert opened == ["0", "1", "2", "3", "1"]
    kept.drop(owners[1], Thing("another"))  # not what it has open
    get(1)
    assert opened[-1] == "1"
    assert len(opened) == 5
    kept.drop(owners[1])
    get(1)
    assert len(opened) == 6


def test_what_could_not_be_opened_takes_no_place() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 1)
    owner = Thing("owner")
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            kept.get(owner, lambda: (_ for _ in ()).throw(OSError("no")))
    assert len(kept) == 0
    first = kept.get(owner, lambda: Thing("a"))
    assert kept.get(owner, lambda: Thing("b")) is first


def test_rooms_hold_as_many_as_may_be_open_and_no_more() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 5)
    entered = threading.Event()

    def other(count: int, spare: int) -> threading.Thread:
        def enter() -> None:
            with kept.room(count, spare):
                entered.set()

        entered.clear()
        thread = threading.Thread(target=enter)
        thread.start()
        return thread

    with kept.room(2, 1):
        fits = other(1, 1)
        assert entered.wait(5)
        fits.join()
        waits = other(2, 1)  # six in all
        assert not entered.wait(0.1)
    assert entered.wait(5)
    waits.join()
    with kept.room(9, 9):  # more than there is: alone
        assert len(kept) == 0
    owner = Thing("owner")
    value = kept.get(owner, lambda: Thing("open"))
    with kept.room(1, 4):
        assert kept.get(owner, lambda: Thing("new")) is value  # five in all
    with kept.room(1, 5):
        assert kept.get(owner, lambda: Thing("new")) is not value  # it was closed for the others


@pytest.mark.parametrize(
    ("allowed", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (1024, 512), (8191, 4095), (8192, 4096), (10**6, 4096)]
)
def test_half_of_what_the_system_allows_may_be_open(allowed: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    assert most_open() == most
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert most_open() == 4096


def test_rows_are_read_in_parts_of_a_quarter_of_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_file, "most_open", lambda: 8)
    parts: list[list[int]] = []

    def read(rows: np.ndarray) -> list[int]:  # type: ignore[type-arg]
        parts.append(rows.tolist())
        return [10 * row for row in rows.tolist()]

    file = np.array([0, 0, 1, 1, 2, 2, 3, 3], np.int32)
    assert read_in_parts(read, np.arange(4), file) == [0, 10, 20, 30]
    assert parts == [[0, 1, 2, 3]]
    parts.clear()
    assert read_in_parts(read, np.array([7, 0, 3, 4, 1]), file) == [70, 0, 30, 40, 10]
    assert parts == [[7, 0], [3], [4, 1]]
    monkeypatch.setattr(open_file, "most_open", lambda: 1)
    parts.clear()
    assert read_in_parts(read, np.array([0, 2, 1]), file) == [0, 20, 10]
    assert parts == [[0], [2], [1]]


def test_bytes_go_to_the_disk_meanwhile_from_so_many_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_EARLY", 100)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda number: synced.append(number))
    file = Aside(tmp_path / "a")
    for length, times in ((99, 0), (1, 1), (99, 1), (2, 2)):
        file.wrote(length)
        if file._syncing is not None:
            file._syncing.result()
        assert len(synced) == times
    file.finish()
    assert not (tmp_path / "a").exists()
    file.rename()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EFBIG, "use smaller shards"),
        (errno.EACCES, "Choose a folder"),
        (errno.EROFS, "Choose a folder"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_what_the_system_says_against_writing(number: int, words: str) -> None:
    with (
        pytest.raises(WriteError, match=f"/x/a cannot be written: {os.strerror(number)}. .*{words}"),
        told(Path("/x/a")),
    ):
        raise OSError(number, os.strerror(number))


def test_a_file_is_there_in_full_or_not_at_all(tmp_path: Path) -> None:
    with write_aside(tmp_path / "a") as file:
        file.write(b"1")
        assert not (tmp_path / "a").exists()
    with pytest.raises(KeyError), write_aside(tmp_path / "a") as file:
        raise KeyError(file.write(b"2"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"1"


def test_only_what_writers_left_is_removed(tmp_path: Path) -> None:
    random = "0123456789ab"
    gone = [f"x-000001.tar.{random}.part", f"x-0.idx.{random}.part"]
    others = [
        f"x-a.tar.{random}.part",
        f"y-000001.tar.{random}.part",
        f"x-1.csv.{random}.part",
        f"ax-1.tar.{random}.part",
    ]
    stays = ["a.part", f"a.{random[:-1]}.part", f"a.{random}0.part", f"a.{random.upper()}.part", f".{random}.part"]
    for name in (*gone, *others, *stays):
        (tmp_path / name).touch()
    assert remove_parts(tmp_path, "x") == 2
    assert {path.name for path in tmp_path.iterdir()} == {*others, *stays}
    assert remove_parts(tmp_path) == 4
    assert {path.name for path in tmp_path.iterdir()} == {*stays}
