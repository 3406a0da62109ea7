"""Jobs that are interrupted, in any way and at any moment, and go on: the same bytes as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from tiling_jobs import TINY, Tree, assert_same, serial, tree

from cellmix_dali.errors import ArgumentError
from cellmix_dali.storage.aside import WriteError
from cellmix_dali.tiling import TilingSettings


def files_in(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def wait_for_files(process: ForkServerProcess, folder: Path, count: int) -> None:
    """Wait until a job has so many files, or has ended."""
    deadline = time.monotonic() + 60
    while process.is_alive() and files_in(folder) < count:
        assert time.monotonic() < deadline, f"{files_in(folder)} files in a minute"
        time.sleep(0.0005)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_killed_and_resumed(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, start: Callable[..., ForkServerProcess], seed: int
) -> None:
    out = tmp_path / "out"
    moments = random.Random(seed)
    for run in range(2):  # it is killed while it resumes, too
        process = start(tiny, out, resume=run > 0)
        wait_for_files(process, out, moments.randrange(1, len(uninterrupted)))
        time.sleep(moments.random() * 0.02)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)


class Crash(BaseException):
    """The end of the process, as far as the job can see."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the job end at its n-th call that makes something lasting: before it, or just after."""
    real_fsync, real_replace = os.fsync, Path.replace
    state = {"left": -1}

    def due() -> bool:
        state["left"] -= 1
        return state["left"] == -1

    def fsync(number: int) -> None:
        if due():
            raise Crash
        real_fsync(number)

    def replace(path: Path, target: Path) -> Path:
        found = real_replace(path, target)
        if due():
            raise Crash
        return found

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)

    def arm(count: int) -> None:
        state["left"] = count

    return arm


@pytest.mark.slow
def test_a_crash_at_every_moment(tiny: list[Path], tmp_path: Path, crash_at: Callable[[int], None]) -> None:
    settings = TilingSettings(tile_size=64, tissue=0, shard_size=16)
    crash_at(10**9)
    serial(tiny[:1], tmp_path / "whole", settings)
    whole = tree(tmp_path / "whole")
    count = 0
    while True:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        crash_at(count)
        try:
            serial(tiny[:1], out, settings)
        except Crash:
            crash_at(10**9)
            serial(tiny[:1], out, settings, resume=True)
            assert_same(tree(out), whole)
        else:
            break
        count += 1
    assert count > 30


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Let no file grow above so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 5_000, 15_000])
def test_a_full_disk(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, small_files: Callable[[int], None], size: int
) -> None:
    out = tmp_path / "out"
    small_files(size)
    with pytest.raises(WriteError, match="cannot be written"):
        serial(tiny, out, TINY)
    small_files(resource.RLIM_INFINITY)
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)


def test_damage_to_results_is_made_good(tiny: list[Path], uninterrupted: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    shards, parts = sorted((out / "shards").glob("*.tar")), sorted((out / "parts").iterdir())
    flipped = bytearray(shards[0].read_bytes())
    flipped[1000] ^= 1
    shards[0].write_bytes(flipped)
    shards[-1].with_suffix(".idx").unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:-1])
    sorted((out / "plans").iterdir())[1].unlink()
    (out / "overviews" / "slide-3.jpg").write_bytes(b"")
    (out / "tiles.parquet").unlink()
    (out / "shards" / "stray.tar").write_bytes(b"of something else")
    (out / "shards" / "slide-1-p0000-00000.tar.0123456789ab.part").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in (shards[1], *shards[3:-1])}
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_torn_journal(tiny: list[Path], uninterrupted: Tree, tmp_path: Path, crash_at: Callable[[int], None]) -> None:
    out = tmp_path / "out"
    crash_at(60)
    with pytest.raises(Crash):
        serial(tiny, out, TINY)
    crash_at(10**9)
    journal = out / "journal.jsonl"
    assert journal.read_bytes().count(b"\n") > 3
    with journal.open("ab") as file:
        file.write(b'{"kind":"part","slide":2,"part":0,"fi')
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)


def test_a_slide_that_changed_is_done_again(tiny: list[Path], tmp_path: Path) -> None:
    own = [tmp_path / slide.name for slide in tiny[:2]]
    for slide, copy in zip(tiny, own, strict=False):
        shutil.copy(slide, copy)
    out = tmp_path / "out"
    serial(own, out, TINY)
    shutil.copy(tiny[2], own[0])
    result = serial(own, out, TINY, resume=True)
    assert result.changed == (own[0],)
    serial(own, tmp_path / "anew", TINY)
    assert_same(tree(out), tree(tmp_path / "anew"))


def test_other_settings_are_refused(tiny: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    serial(tiny[:2], out, TINY)
    before = tree(out)
    for settings, words in (
        (TilingSettings(tile_size=32, tissue=0, shard_size=4), "tile_size was 64, is 32"),
        (TilingSettings(tile_size=64, tissue=0.3, shard_size=4, quality=80), "tissue was 0.0, is 0.3; quality was 90"),
    ):
        with pytest.raises(ArgumentError, match=words):
            serial(tiny[:2], out, settings, resume=True)
    with pytest.raises(ArgumentError, match=f"new in the list of slides: {tiny[2]}"):
        serial(tiny, out, TINY, resume=True)
    with pytest.raises(ArgumentError, match=f"missing in the list of slides: {tiny[1]}"):
        serial(tiny[:1], out, TINY, resume=True)
    with pytest.raises(ArgumentError, match="another order"):
        serial(tiny[1::-1], out, TINY, resume=True)
    with pytest.raises(ArgumentError, match="--resume"):
        serial(tiny[:2], out, TINY)
    assert_same(tree(out), before)
    (tmp_path / "list.csv").write_text("slide,label\n" + "".join(f"{slide},a\n" for slide in tiny[:2]))
    with pytest.raises(ArgumentError, match="classes was null"):
        serial(tmp_path / "list.csv", out, TINY, resume=True)


def test_a_folder_of_something_else(tiny: list[Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(ArgumentError, match=r"is not empty \(it has thesis.tex\)"):
            serial(tiny, tmp_path, TINY, resume=resume)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be used"):
        serial(tiny, tmp_path / "file" / "out", TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thesis.tex"]


def test_two_jobs_in_one_folder(tiny: list[Path], tmp_path: Path) -> None:
    from cellmix_dali.tiling.manifest import Manifest
    from cellmix_dali.tiling.slides import find_slides

    collection = find_slides(tiny, TINY)
    with Manifest(tmp_path / "out", TINY, collection, {}, resume=False), pytest.raises(ArgumentError, match="Another"):
        serial(tiny, tmp_path / "out", TINY, resume=True)


def test_annotations_that_changed_are_read_again(tmp_path: Path) -> None:
    """A job that goes on after somebody has drawn anew: labels are those of the new drawing."""
    from cellmix_dali.shards import open_tiles
    from cellmix_dali.synthetic import render_slides

    slide = render_slides(tmp_path / "slides", count=1, side=512, seed=1)[0].path
    drawn = slide.with_suffix(".geojson")

    def outline(x: int) -> list[list[int]]:
        return [[x, 0], [x + 256, 0], [x + 256, 512], [x, 512], [x, 0]]

    def draw(left: str, right: str) -> None:
        features = [
            {
                "type": "Feature",
                "properties": {"classification": {"name": name}},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[x, 0], [x + 256, 0], [x + 256, 512], [x, 512], [x, 0]]],
                },
            }
            for name, x in ((left, 0), (right, 256))
        ]
        drawn.write_text(json.dumps(features))

    settings = TilingSettings(tile_size=128, tissue=0, annotations=slide.parent, classes=("a", "b"))
    out, found = tmp_path / "out", []
    for names, resume in ((("a", "b"), False), (("a", "b"), True), (("b", "a"), True)):
        if not found or names == ("b", "a"):
            draw(*names)
        result = serial([slide], out, settings, resume=resume)
        assert result.tiles == 16
        assert bool(result.changed) == (names == ("b", "a"))
        table = open_tiles(out)
        assert table.label is not None
        found.append([int(label) for label, x in zip(table.label, table.x, strict=True) if x == 0])
    assert found == [[0] * 4, [0] * 4, [1] * 4]
