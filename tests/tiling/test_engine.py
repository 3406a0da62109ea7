"""The tiling job and its workers, its own and those of a Dask cluster: they die, they hang, they outlive the job."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from hanging import METHOD, slide_that_hangs
from tiling_jobs import TINY, Tree, assert_same, serial, tree

from cellmix_dali.errors import ArgumentError
from cellmix_dali.storage.aside import WriteError
from cellmix_dali.tiling import JobState, JobStoppedError, TilingSettings, tile_slides


def workers_of(pid: int) -> list[psutil.Process]:
    """Worker processes that a process has started."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            words, parent = child.cmdline(), child.parent() or child
        except psutil.Error:
            continue
        if any("multiprocessing.spawn" in word for word in words) or words == parent.cmdline():
            found.append(child)
    return found


def wait_until(true: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def reads(process: psutil.Process, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return any(link.resolve() == path for link in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.slow
def test_a_cluster_that_is_there_makes_the_same_bytes(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, cluster: Any
) -> None:
    out, states = tmp_path / "out", list[JobState]()
    result = tile_slides(tiny, out, TINY, scheduler=cluster.scheduler_address, progress=states.append)
    assert not result.failed
    assert_same(tree(out), uninterrupted)
    assert {state.last.slide for state in states if state.last} == {str(path) for path in tiny}


@pytest.mark.slow
def test_decoded_tiles_are_the_same_bytes_too(slides: list[Path], tmp_path: Path, cluster: Any) -> None:
    settings = TilingSettings(tile_size=200, mpp=0.8, edge="pad", tissue=0.2, shard_size=5)
    tile_slides(slides, tmp_path / "two", settings, scheduler=cluster.scheduler_address)
    serial(slides, tmp_path / "none", settings)
    assert_same(tree(tmp_path / "two"), tree(tmp_path / "none"))


def test_a_worker_that_cannot_write_stops_the_job(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, cluster: Any
) -> None:
    out = tmp_path / "out"
    pids = [worker.process.pid for worker in cluster.workers.values()]
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (15_000, before[0][1]))
    try:
        with pytest.raises(WriteError, match="cannot be written"):
            tile_slides(tiny, out, TINY, scheduler=cluster.scheduler_address)
    finally:
        for pid, limit in zip(pids, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    tile_slides(tiny, out, TINY, scheduler=cluster.scheduler_address, resume=True)
    assert_same(tree(out), uninterrupted)


@pytest.mark.slow
def test_a_slide_that_kills_its_workers_is_given_up(tiny: list[Path], tmp_path: Path, cluster: Any) -> None:
    killed: list[int] = []
    hangs = tmp_path / "hangs.tiff"

    def kill_who_reads() -> None:
        while not done.wait(0.05):
            for worker in workers_of(os.getpid()):
                if reads(worker, pipe):
                    worker.kill()
                    killed.append(worker.pid)

    done = threading.Event()
    killer = threading.Thread(target=kill_who_reads)
    settings = replace(TINY, tissue_method=METHOD)
    with slide_that_hangs(hangs) as pipe:
        killer.start()
        try:
            result = tile_slides(
                [tiny[0], hangs, *tiny[1:]],
                tmp_path / "out",
                settings,
                mixed_resolutions=True,
                scheduler=cluster.scheduler_address,
            )
        finally:
            done.set()
            killer.join()
    assert [slide.status for slide in result.slides] == ["done", "failed", "done", "done"]
    assert "hangs.tiff" in result.failed[0].reason
    assert "died" in result.failed[0].reason
    assert len(set(killed)) >= 2


@pytest.mark.slow
def test_workers_of_its_own(tiny: list[Path], uninterrupted: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    others = {worker.pid for worker in workers_of(os.getpid())}
    seen: set[int] = set()
    before = {connection.laddr for connection in psutil.Process().net_connections("inet")}
    listening: set[Any] = set()

    def kill_one(_: JobState) -> None:
        mine = [worker for worker in workers_of(os.getpid()) if worker.pid not in others]
        if not seen:
            mine[0].kill()
            for process in (psutil.Process(), *mine[1:]):
                listening.update(connection.laddr for connection in process.net_connections("inet"))
        seen.update(worker.pid for worker in mine)

    result = tile_slides(tiny, out, TINY, workers=2, progress=kill_one)
    assert not result.failed
    assert_same(tree(out), uninterrupted)
    assert listening <= before  # they need no network
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in seen), "its workers are still there", 10)


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_no_workers(
    tiny: list[Path], tmp_path: Path, start: Callable[..., ForkServerProcess]
) -> None:
    hangs = tmp_path / "hangs.tiff"
    out, slides, settings = tmp_path / "out", [*tiny, hangs], replace(TINY, tissue_method=METHOD)
    with slide_that_hangs(hangs, side=336):
        process = start(slides, out, settings, workers=1, mixed_resolutions=True)
        # The last slide holds the job, so it is killed while its worker is at work.
        wait_until(lambda: len(list(out.glob("parts/*"))) == 18 or not process.is_alive(), "it makes no shards")
        assert process.pid
        workers = workers_of(process.pid)
        assert len(workers) == 1
        process.kill()
        process.join()
        wait_until(lambda: not any(worker.is_running() for worker in workers), "a worker goes on without its job", 20)
    hangs.write_bytes(b"no slide either")
    result = tile_slides(slides, out, settings, workers=0, resume=True)
    assert [Path(slide.slide).name for slide in result.failed] == ["hangs.tiff"]
    assert result.tiles == 3 * 24


@pytest.mark.slow
@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "Interrupted")])
def test_a_job_that_is_asked_to_end_says_so_and_leaves_no_workers(
    tiny: list[Path], tmp_path: Path, number: signal.Signals, word: str
) -> None:
    out, hangs = tmp_path / "out", tmp_path / "hangs.tiff"
    code = f"import sys; sys.path += {sys.path}; from cellmix_dali.cli import main; main()"
    asked = ["--out", str(out), "--tile-size", "64", "--tissue", "0", "--tissue-method", METHOD, "--shard-size", "4"]
    command = [sys.executable, "-c", code, "tile", *map(str, tiny), str(hangs), *asked, "--mixed-resolutions"]
    with slide_that_hangs(hangs, side=368):
        job = subprocess.Popen([*command, "--workers", "1"], stdout=-1, stderr=-1, text=True)
        wait_until(lambda: len(list(out.glob("parts/*"))) == 18 or job.poll() is not None, "it makes no shards")
        workers = workers_of(job.pid)
        assert len(workers) == 1
        job.send_signal(number)
        _, err = job.communicate(timeout=60)
    assert (job.returncode, err) == (128 + number, f"{word}. What is done is kept: go on with --resume.\n")
    wait_until(lambda: not any(worker.is_running() for worker in workers), "a worker goes on without its job", 20)


def test_no_scheduler(tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellmix_dali.jobs.cluster._CONNECT", "1s")
    with pytest.raises(JobStoppedError, match="at tcp:"):
        tile_slides(tiny, tmp_path / "out", TINY, scheduler="tcp://127.0.0.1:9")


@pytest.mark.slow
def test_a_slide_that_hangs_has_a_deadline(tiny: list[Path], tmp_path: Path) -> None:
    """It fails, with where it hung; the others are tiled; a job that resumes tries it again."""
    hangs = tmp_path / "hangs.tiff"
    out, slides, settings = tmp_path / "out", [hangs, *tiny], replace(TINY, tissue_method=METHOD)
    options: dict[str, Any] = {"workers": 1, "mixed_resolutions": True, "slide_timeout": 10}
    with slide_that_hangs(hangs, side=352):
        result = tile_slides(slides, out, settings, **options)
    assert [slide.status for slide in result.slides] == ["failed", "done", "done", "done"]
    reason = result.failed[0].reason
    assert "took longer than 10 seconds" in reason
    assert "pathlib.py" in reason or "hanging.py" in reason
    assert not (out / "timeouts").exists()
    assert result.tiles == 3 * 24
    result = tile_slides(slides, out, settings, resume=True, **options)  # nothing hangs any more
    assert [slide.status for slide in result.slides] == ["done"] * 4
    whole = tile_slides(slides, tmp_path / "whole", settings, **options | {"slide_timeout": None})
    assert whole.tiles == result.tiles > 3 * 24
    assert_same(tree(out), tree(tmp_path / "whole"))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "soon"])
def test_deadlines_that_are_none(tiny: list[Path], tmp_path: Path, seconds: Any) -> None:
    with pytest.raises(ArgumentError, match="slide_timeout"):
        tile_slides(tiny, tmp_path / "out", TINY, workers=0, slide_timeout=seconds)


@pytest.mark.slow
def test_few_files_may_be_open(tiny: list[Path], tmp_path: Path) -> None:
    """One clear message, and no traceback; the job can be resumed."""
    code = "from cellmix_dali.cli import main; main()"
    command = [sys.executable, "-c", code, "tile", *map(str, tiny), "--out", str(tmp_path / "out"), "--tissue", "0"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    told = " ".join(done.stderr.split())
    assert told.startswith("Stopped: The workers cannot be started: a process may have 8 files open (ulimit -n)")
    assert "Traceback" not in told
    assert "--resume" in told
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


_HOLDER = """
import os, sys, time
from pathlib import Path
from cellmix_dali.storage.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]), "tiling job")
if os.fork() == 0:  # as a library may that starts processes without a word
    time.sleep(float(sys.argv[2]))
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_processes_of_a_killed_job_are_waited_for(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a job that runs is refused at once."""
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(out), "2"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    began = time.monotonic()
    with pytest.raises(ArgumentError, match="Another tiling job is running"):
        serial(tiny, out, TINY, resume=True)
    assert time.monotonic() - began < 3
    holder.kill()
    began = time.monotonic()
    serial(tiny, out, TINY, resume=True)  # the holder is not asked after yet: dead, it still has its number
    assert time.monotonic() - began > 0.5
    holder.wait()
    assert "Waiting for processes of a tiling job that was killed" in caplog.text
    assert_same(tree(out), uninterrupted)
