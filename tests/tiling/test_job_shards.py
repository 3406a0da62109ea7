"""A job done in parts, as an array of Slurm's does it: the whole is the same, byte for byte."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from tiling_jobs import TINY, Tree, assert_same, serial, tree
from typer.testing import CliRunner

from cellmix_dali.cli import app
from cellmix_dali.errors import ArgumentError
from cellmix_dali.storage.folder_lock import FolderLock
from cellmix_dali.tiling import JobShard, TilingSettings


def test_parts_one_after_the_other_make_the_same_bytes(tiny: list[Path], uninterrupted: Tree, tmp_path: Path) -> None:
    """More parts than slides, in any order; the whole makes what is missing."""
    out, of = tmp_path / "out", len(tiny) + 1
    for number in (3, 1, of):
        result = serial(tiny, out, TINY, shard=JobShard(number, of))
        assert [each.slide for each in result.slides] == [str(path) for path in tiny[number - 1 : number]]
        assert all(each.status == "done" and each.tiles > 0 for each in result.slides)
        assert not (out / "tiles.parquet").exists()
    with pytest.raises(ArgumentError, match="holds a tiling job already: go on with it by --resume"):
        serial(tiny, out, TINY)
    made = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    result = serial(tiny, out, TINY, resume=True)
    assert len(result.slides) == len(tiny)
    assert_same(tree(out), uninterrupted)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    # A part of a job that is finished finds nothing to do.
    serial(tiny, out, TINY, shard=JobShard(1, 2))
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)


@pytest.mark.slow
def test_parts_at_once_one_of_them_killed(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, start: Callable[..., ForkServerProcess]
) -> None:
    out = tmp_path / "out"
    processes = [start(tiny, out, TINY, workers=1, shard=JobShard(number, 2)) for number in (1, 2)]
    journal = out / "journals" / "1-of-2" / "journal.jsonl"
    end = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < end:
        time.sleep(0.005)
    assert processes[0].pid is not None
    os.kill(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0]
    serial(tiny, out, TINY, shard=JobShard(1, 2))
    assert journal.read_bytes().endswith(b"\n")
    serial(tiny, out, TINY, resume=True)
    assert_same(tree(out), uninterrupted)


def test_parts_hold_the_folder(tiny: list[Path], tmp_path: Path) -> None:
    out, part = tmp_path / "out", JobShard(1, 2)
    serial(tiny, out, TINY, shard=part)
    with closing(FolderLock(out, "job", shared=True)):  # as another part does
        serial(tiny, out, TINY, shard=part)
        with pytest.raises(ArgumentError, match="Another tiling job is running in"):
            serial(tiny, out, TINY, resume=True)
        with (
            closing(FolderLock(part.folder(out), "job")),
            pytest.raises(ArgumentError, match="Another tiling job of this part is running"),
        ):
            serial(tiny, out, TINY, shard=part)
    with closing(FolderLock(out, "job")), pytest.raises(ArgumentError, match="Another tiling job is running in"):
        serial(tiny, out, TINY, shard=part)


def test_parts_of_another_job_are_refused(tiny: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    serial(tiny, out, TINY, shard=JobShard(1, 2))
    with pytest.raises(ArgumentError, match="begun with other settings: tile_size was 64, is 32"):
        serial(tiny, out, TilingSettings(tile_size=32, tissue=0, shard_size=4), shard=JobShard(2, 2))
    with pytest.raises(ArgumentError, match="missing in the list of slides"):
        serial(tiny[:-1], out, TINY, shard=JobShard(2, 2))


def test_a_slide_that_fails_in_a_part_fails_in_the_whole(tiny: list[Path], tmp_path: Path) -> None:
    (bad := tmp_path / "bad.svs").write_bytes(b"no slide")
    slides, out = [*tiny[:1], bad], tmp_path / "out"
    assert [each.status for each in serial(slides, out, TINY, shard=JobShard(2, 2)).slides] == ["failed"]
    serial(slides, out, TINY, shard=JobShard(1, 2))
    assert len(serial(slides, out, TINY, resume=True).failed) == 1
    serial(slides, tmp_path / "whole", TINY)
    assert_same(tree(out), tree(tmp_path / "whole"))


def test_the_command_line(tiny: list[Path], uninterrupted: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["tile", *map(str, tiny), "--out", str(out), "--tile-size", "64", "--tissue", "0", "--shard-size", "4"]
    for more, said in [
        (["--shard", "1/2"], "that was part 1/2: when all are done, put them together with --resume"),
        (["--shard", "2/2"], "that was part 2/2"),
        (["--resume"], "see report.html"),
    ]:
        done = CliRunner().invoke(app, [*command, "--workers", "0", *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert said in " ".join(done.output.split())
    assert_same(tree(out), uninterrupted)
