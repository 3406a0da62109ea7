"""How many files may be open holds for any number of threads, and no file escapes the list of what is open."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali import TileTable, open_slide
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.shards import ShardWriter, copy_blocks, open_tiles, tile_rows, write_tiles
from cellmix_dali.storage import open_file
from cellmix_dali.storage.kept_open import KeptOpen
from cellmix_dali.storage.open_file import KeptFile, most_open

sys.path.append(str(Path(__file__).parents[1] / "slides"))

from slide_files import directory, picture, write_tiff

WORKER = Path(__file__).with_name("open_files_worker.py")
ALLOWED, SLIDES = 128, 200  # 8 workers of 64 tiles want four times as many files as the system allows


class Owner:
    """Has something open."""


class Thing:
    """Is open as long as it is there."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Slides of four blocks, each with a picture of its own."""
    folder = tmp_path_factory.mktemp("many")
    return [
        write_tiff(folder / f"{number}.tiff", [directory(picture(128, 128, seed=number), pixels_per_cm=20000)])
        for number in range(SLIDES)
    ]


def sharded(slides: list[Path], folder: Path) -> TileTable:
    """A shard of two tiles for each slide."""
    folder.mkdir()
    rows = []
    for path in slides:
        with open_slide(path) as slide, ShardWriter(folder, path.stem, max_tiles=2) as writer:
            x, y = np.array([0, 64]), np.array([0, 64])
            for block in copy_blocks(slide, 0, x, y):
                assert isinstance(block, memoryview)
                writer.add(block, "jpg", about={})
            written = writer.close()
        rows.append(tile_rows(path, x=x, y=y, size=64, level=0, tile_size=64, written=written))
    write_tiles(folder / "tiles.parquet", rows)
    return open_tiles(folder)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["direct", "openslide", "shard"])
def test_the_limit_holds_for_any_number_of_workers(way: str, many: list[Path], tmp_path: Path) -> None:
    folder = many[0].parent
    # A window over four blocks is not read directly with one slot.
    x, y = ([32, 16], [32, 48]) if way == "openslide" else ([0, 64], [0, 64])
    table = TileTable.concat([TileTable.from_columns(path, x=x, y=y, size=64) for path in many])
    tiles = TileReader(table, slots=1).read(np.arange(len(table)))
    want = [(*tile.streams, tile.pixels)[0].tobytes() for tile in tiles if isinstance(tile, EncodedTile)]
    assert len(set(want)) == len(table)  # so a tile of another file would be seen
    if way == "shard":
        folder = tmp_path / "shards"
        table = sharded(many, folder)
    expected = tmp_path / "expected"
    expected.write_bytes(pickle.dumps((table, want)))
    command = [sys.executable, WORKER, str(ALLOWED), way, folder, expected]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_was_used_longest_ago_is_closed_and_counts_until_its_user_lets_go() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 2)
    owners = [Owner() for _ in range(3)]
    first = kept.get(owners[0], Thing)
    kept.get(owners[1], Thing)
    assert kept.get(owners[0], Thing) is first  # used again, so the other is the oldest
    kept.get(owners[2], Thing)
    assert len(kept) == 2
    assert kept.get(owners[0], Thing) is first
    kept.get(owners[1], Thing)
    kept.get(owners[2], Thing)
    assert kept.get(owners[1], Thing) is not first
    assert len(kept) == 2  # the first one is still held here: with it there is room for one
    assert kept.get(owners[0], Thing) is not first
    del first
    kept.get(owners[1], Thing)
    assert len(kept) == 2


def test_owners_that_are_gone_have_nothing_open() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 5)
    owner, other = Owner(), Owner()
    kept.get(owner, Thing)
    kept.get(other, Thing)
    del owner
    gc.collect()
    assert len(kept) == 1
    kept.drop(other, Thing())  # not this
    assert len(kept) == 1
    kept.drop(other)
    assert len(kept) == 0


def test_what_cannot_be_opened_does_not_count(tmp_path: Path) -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 1)

    def fail() -> Thing:
        raise FileNotFoundError

    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            kept.get(Owner(), fail)
    assert len(kept) == 0
    with pytest.raises(FileNotFoundError):
        KeptFile(tmp_path / "none").open()


def test_two_threads_that_open_the_same_have_the_same() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 9)
    owner, together = Owner(), Barrier(2)

    def slow() -> Thing:
        together.wait(5)
        return Thing()

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda _: kept.get(owner, slow), range(2))
    assert one is two
    assert len(kept) == 1


def test_threads_wait_until_there_is_room() -> None:
    kept: KeptOpen[Thing] = KeptOpen(lambda: 4)
    inside, leave, second = Event(), Event(), Event()

    def first() -> None:
        with kept.room(2, 1):
            inside.set()
            leave.wait(5)

    def other() -> None:
        with kept.room(2):
            second.set()

    threads = [Thread(target=first), Thread(target=other)]
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    with kept.room(1):  # for one there is room
        assert not second.wait(0.05)
    leave.set()
    assert second.wait(5)
    for thread in threads:
        thread.join()
    with kept.room(99):  # more than there will ever be: alone
        pass


def test_a_forked_child_opens_its_own(many: list[Path]) -> None:
    with open_slide(many[0]) as slide:
        assert slide._pixels is not None
        file, handle = slide._blocks._file(0), slide._pixels.handle()
        child = os.fork()
        if not child:
            own = slide._blocks._file(0) is not file and slide._pixels.handle() is not handle
            os._exit(0 if own and os.pread(slide._blocks._file(0).number, 2, 0) == b"II" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert slide._blocks._file(0) is file
        assert slide._pixels.handle() is handle
        assert os.pread(file.number, 2, 0) == b"II"


@pytest.mark.parametrize(
    ("allowed", "most"),
    [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (1024, 512), (8190, 4095), (8192, 4096), (8194, 4096), (-1, 4096)],
)
def test_half_of_what_the_system_allows(monkeypatch: pytest.MonkeyPatch, allowed: int, most: int) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (allowed, allowed))
    assert most_open() == most


@pytest.mark.parametrize(
    ("most", "files", "calls"),
    [(16, 4, 1), (16, 5, 2), (16, 8, 2), (16, 9, 4), (4, 1, 1), (4, 2, 2), (3, 1, 1), (1, 2, 2)],
)
def test_at_most_a_quarter_is_read_from_at_once(
    monkeypatch: pytest.MonkeyPatch, most: int, files: int, calls: int
) -> None:
    """And rows come in the order in which they were asked for."""
    monkeypatch.setattr(open_file, "most_open", lambda: most)
    file = np.repeat(np.arange(files, dtype=np.int32), 3)
    parts: list[int] = []

    def read(rows: NDArray[np.int64]) -> list[int]:
        parts.append(len({*file[rows].tolist()}))
        return rows.tolist()

    rows = np.arange(len(file))
    assert open_file.read_in_parts(read, rows, file) == rows.tolist()
    assert len(parts) == calls
    assert max(parts) <= max(1, most // 4)
