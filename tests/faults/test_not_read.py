"""What the moment decides is not damage: it is tried again, told apart, and never remembered."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from outage import BadSector, Outage
from slide_files import directory, picture, write_tiff

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, NotReadError, SlideError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.reading import ShardReader
from cellmix_dali.reading.faults import FaultLog
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.shards import ShardWriter, copy_blocks, open_tiles, tile_rows, write_tiles
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.storage.moment import MOMENT, moment_of, probe, refusal
from cellmix_dali.storage.patience import AT_ONCE, Patience, Retry
from cellmix_dali.tables import SlideList, TileRecipe, tiles_of_slides

SHORT = Retry(seconds=0.3, first=0.01, longest=0.05)
ERRORS = ("EMFILE", "ENFILE", "EACCES", "EPERM", "ETIMEDOUT", "EIO", "ESTALE", "EAGAIN", "ENOMEM", "EHOSTUNREACH")
WAYS = ("direct", "openslide", "shard")

pytestmark = pytest.mark.filterwarnings("ignore:.*It is tried again:UserWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides of 3 x 2 blocks, and a shard of each."""
    folder = tmp_path_factory.mktemp("moment")
    (folder / "slides").mkdir()
    (folder / "shards").mkdir()
    rows = []
    for number in range(3):
        path = folder / "slides" / f"{number}.tiff"
        write_tiff(path, [directory(picture(192, 128, seed=number), pixels_per_cm=20000)])
        with open_slide(path) as slide, ShardWriter(folder / "shards", path.stem) as writer:
            table = grid_tiles(slide, 64)
            for block in copy_blocks(slide, 0, table.x, table.y):
                assert isinstance(block, memoryview)
                writer.add(block, "jpg", about={})
            written = writer.close()
        rows.append(
            tile_rows(path, x=table.x, y=table.y, size=64, level=0, tile_size=64, label=table.x // 64, written=written)
        )
    write_tiles(folder / "shards" / "tiles.parquet", rows)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same, of one's own."""
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


def table_over(folder: Path, *, first: int = 0) -> TileTable:
    """Tiles of all three slides, labelled by their column; from `first` on, so that they may lie over four blocks."""
    x, y = (64 * each.ravel() + first for each in np.meshgrid(np.arange(3 - (first > 0)), np.arange(2 - (first > 0))))
    parts = [
        TileTable.from_columns(path, x=x, y=y, size=64, label=x // 64)
        for path in sorted((folder / "slides").glob("*.tiff"))
    ]
    return TileTable.concat(parts)


def reader_of(way: str, folder: Path, retry: Retry = AT_ONCE) -> TileReader | ShardReader:
    if way == "shard":
        return ShardReader(open_tiles(folder / "shards"), retry=retry)
    return TileReader(table_over(folder, first=32 if way == "openslide" else 0), slots=1, retry=retry)


def content(tiles: list[EncodedTile | SlideError], way: str) -> list[bytes]:
    assert all(isinstance(tile, EncodedTile) and tile.way == way for tile in tiles), tiles
    return [(*tile.streams, tile.pixels)[0].tobytes() for tile in tiles if isinstance(tile, EncodedTile)]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_the_moment_are_told_from_damage(name: str) -> None:
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number))
    assert moment_of(error) == number
    told = refusal("Cannot open a.svs", error, "Copy it again.")
    assert isinstance(told, NotReadError)
    assert str(told).startswith(f"Cannot open a.svs: {os.strerror(number)}. Not read")
    assert MOMENT[number] in str(told)
    assert "Copy it again" not in str(told)
    # Libraries hand the text on, or what they met as a cause.
    assert moment_of(ValueError(f"could not read: {os.strerror(number)}")) == number
    chained = SlideError("what was done")
    chained.__cause__ = error
    assert moment_of(chained) == number


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "No such file"), IsADirectoryError(errno.EISDIR, "Is a directory"),
     OSError(errno.EINVAL, "Invalid argument"), ValueError("only 3 of its 9 bytes are in the file"), SlideError("bad")],
)  # fmt: skip
def test_damage_is_not_of_the_moment(error: Exception) -> None:
    assert moment_of(error) is None
    told = refusal("Cannot read a.svs", error, "Copy it again.")
    assert not isinstance(told, NotReadError)
    assert str(told).endswith("Copy it again.")


def test_what_a_library_hides_is_found_by_a_probe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hidden = folder / "slides" / "0.tiff", ValueError("Unsupported or missing image file")
    assert probe(path) is None
    assert probe(path.with_name("none")) is None
    assert not isinstance(refusal("Cannot open", hidden, "Copy it.", path=path), NotReadError)
    before = len(list(Path("/proc/self/fd").iterdir()))
    outage = Outage(monkeypatch, errno.ESTALE, path)
    assert isinstance(refusal("Cannot open", hidden, "Copy it.", path=path), NotReadError)
    outage.over = True
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_pauses_grow_and_fill_the_time() -> None:
    pauses = list(Retry(seconds=60).pauses())
    assert sum(pauses) == pytest.approx(60)
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert max(pauses) == 10
    assert sorted(pauses[:-1]) == pauses[:-1]
    assert list(AT_ONCE.pauses()) == []
    assert list(Retry(seconds=0.5, first=0.125, growth=1).pauses()) == [0.125] * 4
    with pytest.raises(ArgumentError, match="growth"):
        Retry(growth=0.99)
    for bad in (-1, float("nan"), "long"):
        with pytest.raises(ArgumentError, match="retry_seconds"):
            Retry(seconds=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opening", [True, False])
def test_tiles_are_right_after_an_outage(
    way: str, name: str, opening: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = content(reader_of(way, folder).read(np.arange(6)), way)
    reader = reader_of(way, folder, SHORT)
    rows = np.arange(6)
    if not opening:  # what is open cannot be read
        reader.read(rows)
    number = getattr(errno, name)
    with monkeypatch.context() as patch:
        outage = Outage(patch, number, folder, calls=9, opening=opening, says_why=name == "EIO")
        assert content(reader.read(rows), way) == want
        assert outage.over
        assert content(reader.read(rows), way) == want


@pytest.mark.parametrize("way", WAYS)
def test_what_stays_away_is_not_read_and_not_remembered(
    way: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(way, folder, SHORT)
    rows = np.arange(len(reader.table))
    want = content(reader_of(way, folder).read(rows), way)
    gone = [folder / "slides" / "1.tiff", *(folder / "shards").glob("1-*.tar")]
    reader.close()
    with monkeypatch.context() as patch:
        outage = Outage(patch, errno.EACCES, *gone)
        for number in range(3):
            began = time.monotonic()
            tiles = reader.read(rows)
            took = time.monotonic() - began
            # All the time is spent on a file once; then it is tried once each time.
            assert took >= 0.3 if number == 0 else took < 0.3
            unread = [isinstance(tile, NotReadError) for tile in tiles]
            assert unread == (reader.table.slide[rows] == 1).tolist()
            assert all(isinstance(tile, EncodedTile) or "Permission denied" in str(tile) for tile in tiles)
            assert [(*tile.streams, tile.pixels)[0].tobytes() for tile in tiles if isinstance(tile, EncodedTile)] == [
                each for each, not_there in zip(want, unread, strict=True) if not not_there
            ]
        outage.over = True
        assert content(reader.read(rows), way) == want
        outage.over = False
        reader.close()
        began = time.monotonic()
        reader.read(rows)
        assert time.monotonic() - began >= 0.3  # it was there again, so it is waited for


@pytest.mark.parametrize("way", ["direct", "shard"])
def test_a_bad_place_of_a_disk_costs_its_time_once(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reader_of(way, folder, SHORT)
    rows = np.arange(len(reader.table))
    want = content(reader.read(rows), way)
    if isinstance(reader, ShardReader):
        path, place = Path(reader._paths[1]), int(reader._offset[8]) + 50
    else:
        path = folder / "slides" / "1.tiff"
        place = int(reader.slide(1)._blocks.tables[0].offsets[2]) + 50
    with monkeypatch.context() as patch:
        sector = BadSector(patch, path, place)
        for number in range(4):
            part = rows if number % 2 == 0 else np.delete(rows, 8)  # without it, the file can be read
            began = time.monotonic()
            tiles = reader.read(part)
            assert (time.monotonic() - began >= 0.3) == (number == 0)
            assert [row for row, tile in zip(part, tiles, strict=True) if isinstance(tile, NotReadError)] == (
                [8] if number % 2 == 0 else []
            )
        sector.there = False
        assert content(reader.read(rows), way) == want
        sector.there = True
        began = time.monotonic()
        assert isinstance(reader.read(rows)[8], NotReadError)
        assert time.monotonic() - began >= 0.3  # it had been read since


@pytest.mark.parametrize("says_why", [True, False])
@pytest.mark.parametrize("name", ["EMFILE", "EACCES", "ETIMEDOUT"])
def test_slides_are_opened_as_what_they_are(
    name: str, says_why: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "slides" / "0.tiff"
    number, want = getattr(errno, name), repr(open_slide(path))
    refused = 0
    for before in range(40):  # any of the calls that look at it may be the one that fails, or the first one that does
        for calls in (1, 2, 3, None):
            with monkeypatch.context() as patch:
                outage = Outage(patch, number, path, before=before, calls=calls, says_why=says_why)
                try:
                    slide = open_slide(path)
                except NotReadError:
                    refused += 1
                else:
                    assert repr(slide) == want
                    slide.close()
        if outage.met <= 0:
            break
    assert 5 < before < 39
    assert refused > before


def test_a_file_that_openslide_takes_for_another_kind(rendered: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotReadError, match="another kind of slide than before"):
        OpenSlideFile(rendered[0].path, "generic-tiff").handle()
    found = openslide.OpenSlide.detect_format
    answers = ["generic-tiff"]  # as where the vendor's name could not be read
    monkeypatch.setattr(
        openslide.OpenSlide,
        "detect_format",
        staticmethod(lambda path: answers.pop() if answers else found(path)),
    )
    with open_slide(rendered[0].path) as slide:
        assert slide.vendor == "aperio"


def train(table: TileTable, **arguments: Any) -> Loader[TileSource]:
    own = {"num_classes": 3, "batch_size": 6, "p": 0, "flips": False, "shuffle": False, "retry_seconds": 0.2}
    return train_loader(table, patch_size=32, fix_ratio=0.5, **(own | arguments))


def rows_of(loader: Loader[TileSource]) -> list[int]:
    return [row for batch in loader for row in batch["tile"].flatten().tolist()]


@pytest.mark.parametrize("sharded", [False, True])
def test_training_tells_what_was_not_read_from_damage(
    sharded: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_tiles(folder / "shards") if sharded else table_over(folder)
    gone = next((folder / "shards").glob("1-*.tar")) if sharded else folder / "slides" / "1.tiff"
    broken = next((folder / "shards").glob("2-*.tar")) if sharded else folder / "slides" / "2.tiff"
    content = broken.read_bytes()
    noted = folder / "faults.jsonl"
    with monkeypatch.context() as patch, train(table, fault_file=noted) as loader:
        assert rows_of(loader) == list(range(18))
        loader.source.reader.close()
        outage = Outage(patch, errno.ETIMEDOUT, gone)
        with broken.open("r+b") as file:
            file.seek(content.index(b"\xff\xd9") - 400)  # in the scan of its first tile
            file.write(bytes(200))
        rows = rows_of(loader)
        assert not set(rows) & {*range(6, 12), 12}
        assert [table.label[row] for row in rows] == [table.label[row] for row in range(18)]
        faults = {fault.tile: fault for fault in loader.faults}
        assert {row: fault.kind for row, fault in faults.items()} == dict.fromkeys(range(6, 12), "not read") | {
            12: "damaged"
        }
        assert all("Not read" in faults[row].reason for row in range(6, 12))
        assert loader.source.bad == {}
        assert loader.state_dict()["bad"] == {}
        outage.over = True
        rows = rows_of(loader)
        assert [*rows[:12], *rows[13:]] == [*range(12), *range(13, 18)]
        assert rows[12] in (15, 0, 3, 6, 9)  # of its class
        lines = [json.loads(line) for line in noted.read_text().splitlines()]
        assert {line["tile"]: line["kind"] for line in lines} == {row: fault.kind for row, fault in faults.items()}
        assert len(lines) == 7


def test_a_run_that_must_not_replace_stops_and_says_that_it_was_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_over(folder)
    with monkeypatch.context() as patch:
        loader = evaluate_loader(table, batch_size=3, retry_seconds=0.2)
        batches = iter(loader)
        next(batches)
        loader.source.reader.close()
        Outage(patch, errno.EIO, folder / "slides" / "2.tiff")
        with pytest.raises(NotReadError, match=r"A tile was not read .*2\.tiff.*Input/output error.*retry_seconds"):
            list(batches)


def test_nothing_can_be_read_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        loader = train(table_over(folder), retry_seconds=0.2)
        loader.source.reader.close()
        Outage(patch, errno.ESTALE, folder)
        began = time.monotonic()
        with pytest.raises(NotReadError, match="none of the other tiles of its class that were tried either"):
            list(loader)
        assert time.monotonic() - began < 3  # the substitutes are not waited for, too


def test_the_first_slides_are_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_over(folder)
    with monkeypatch.context() as patch:
        outage = Outage(patch, errno.ESTALE, folder, calls=9)
        with pytest.warns(UserWarning, match=r"Stale file handle.*It is tried again for 5 s"):
            source = TileSource(table, batch_size=3, retry_seconds=5)
        assert outage.over
        assert (source.reader.slots, source.reader.whole) == (1, True)
        source.close()
        outage.over, outage._left = False, None
        with pytest.raises(NotReadError):
            TileSource(table, batch_size=3, retry_seconds=0.1)


def test_a_slide_of_a_collection_that_was_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = sorted((folder / "slides").iterdir())
    third.write_bytes(third.read_bytes()[:3000])
    with monkeypatch.context() as patch:
        Outage(patch, errno.ETIMEDOUT, second)
        _, faults = tiles_of_slides(
            SlideList((first, second, third)), TileRecipe(64, tissue=0, level=0), on_error="skip"
        )
    assert [(fault.slide, fault.kind) for fault in faults] == [(second, "not read"), (third, "damaged")]


def test_closing_ends_a_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        source = TileSource(table_over(folder), batch_size=3, retry_seconds=600)
        source.reader.close()
        outage = Outage(patch, errno.ETIMEDOUT, folder)
        order = source._delivery._workers.submit(source._delivery._deliver, np.arange(3), 0)
        while not outage.met:
            time.sleep(0.01)
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < 2
        assert isinstance(order.exception(), NotReadError)


def test_a_call_is_made_again() -> None:
    tries = []

    def opened() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise NotReadError("not now")
        return "open"

    patience = Patience(SHORT)
    assert patience.call(opened, 0) == "open"
    assert len(tries) == 3

    def refused() -> str:
        tries.append(1)
        raise NotReadError("not now")

    for file, waited in ((5, True), (5, False), (6, True)):
        tries.clear()
        with pytest.raises(NotReadError):
            patience.call(refused, file)
        assert (len(tries) > 1) == waited
    # What was called is no row of a table.
    seen = []
    patience.read(
        lambda rows: seen.append(rows.tolist()) or [NotReadError("no")] * len(rows), np.arange(1), np.zeros(1)
    )
    assert len(seen) > 1
    with pytest.raises(SlideError, match="broken"):
        Patience(SHORT).call(_broken, 0)


def _broken() -> None:
    raise SlideError("broken")


def test_a_tile_is_noted_once_of_each_kind(tmp_path: Path) -> None:
    table = TileTable.from_columns("a.svs", x=[0, 8], y=[0, 0], size=8)
    for _ in range(2):  # the second run resumes
        log = FaultLog(table, tmp_path / "faults.jsonl")
        for kind in ("not read", "not read", "damaged"):
            log.add(1, "why", 0, kind)
        assert [fault.kind for fault in log.all()] == ["not read", "damaged"]
    lines = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["not read", "damaged"]
    old = {name: value for name, value in lines[1].items() if name != "kind"}  # of an earlier version
    (tmp_path / "old.jsonl").write_text(json.dumps(old) + "\n")
    FaultLog(table, tmp_path / "old.jsonl").add(1, "why", 0)
    assert len((tmp_path / "old.jsonl").read_text().splitlines()) == 1


HOG = """
import os, pickle, resource, sys, threading, time
import numpy as np
from cellmix_dali.storage.patience import Retry
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.errors import NotReadError
table = pickle.loads(open(sys.argv[1], "rb").read())
rows = np.arange(len(table))
want = [(*tile.streams, tile.pixels)[0].tobytes() for tile in TileReader(table, slots=1).read(rows)]
reader = TileReader(table, slots=1, retry=Retry(seconds=20, first=0.02, longest=0.1))
at_once = TileReader(table, slots=1)
reader.close()
at_once.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
hog = []
def fill():
    try:
        while True:
            hog.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
def empty():
    while hog:
        os.close(hog.pop())
# None is free, or one, two, three: what needs more than there are fails midway.
for free in range(6):
    fill()
    for _ in range(free):
        os.close(hog.pop())
    for tile, right in zip(at_once.read(rows), want, strict=True):
        assert isinstance(tile, (EncodedTile, NotReadError)), tile
        assert isinstance(tile, NotReadError) or (*tile.streams, tile.pixels)[0].tobytes() == right
    at_once.close()
    fill()
    timer = threading.Timer(0.15, empty)
    timer.start()
    found = reader.read(rows)
    timer.join()
    assert [(*tile.streams, tile.pixels)[0].tobytes() for tile in found] == want
    reader.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 32])
def test_a_process_that_has_no_file_left(first: int, folder: Path) -> None:
    import pickle

    (folder / "table").write_bytes(pickle.dumps(table_over(folder, first=first)))
    command = [sys.executable, "-W", "ignore", "-c", HOG, str(folder / "table")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
