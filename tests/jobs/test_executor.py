"""Who does a job's work: this process and worker processes alike, also where these die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from left_behind import children
from pieces import deadly, failing, lost, nothing, process, setting, square

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.jobs import JobStoppedError
from cellmix_dali.jobs.executor import Executor, carry_out, make_executor
from cellmix_dali.storage.aside import WriteError


def all_of(executor: Executor[Any, Any], tasks: list[Any]) -> dict[Any, Any]:
    waiting: Iterator[Any] = iter(tasks)
    with closing(executor):
        return dict(carry_out(executor, lambda: next(waiting, None)))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_task_has_its_outcome(workers: int) -> None:
    assert all_of(make_executor(square, nothing, workers), list(range(10))) == {n: n * n for n in range(10)}


def test_where_the_work_is_done() -> None:
    here, other = make_executor(process, nothing, 0), make_executor(process, nothing, 1)
    assert (here.in_processes, other.in_processes) == (False, True)
    assert set(all_of(here, [1, 2]).values()) == {os.getpid()}
    workers = set(all_of(other, [1, 2, 3]).values())
    assert len(workers) == 1
    assert os.getpid() not in workers
    assert not any(psutil.pid_exists(worker) for worker in workers)


def test_a_tasks_outcome_may_bring_others() -> None:
    """And no more tasks are taken at once than there are workers."""
    waiting, met = deque([3]), []
    with closing(make_executor(square, nothing, 0)) as executor:
        for task, outcome in carry_out(executor, lambda: waiting.popleft() if waiting else None):
            assert outcome == task * task
            met.append(task)
            waiting.extend(range(task))
            if len(met) == 1:
                assert len(waiting) == 3
    assert met == [3, 0, 1, 2, 0, 0, 1, 0]


def test_a_process_that_dies_is_replaced_and_work_that_kills_is_given_up(tmp_path: Path) -> None:
    marker = str(tmp_path / "died once")
    assert all_of(make_executor(deadly, lost, 1), ["", marker, "always", "", marker]) == {
        "": "done",
        marker: "done",
        "always": "lost",
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_no_tasks_fault_stops_the_job(workers: int) -> None:
    with pytest.raises(WriteError, match="the disk is full"):
        all_of(make_executor(failing, nothing, workers), ["full"])


def test_an_error_of_a_worker_is_told_in_a_line() -> None:
    with pytest.raises(JobStoppedError, match=r"A worker failed \(RuntimeError: no reason\)"):
        all_of(make_executor(failing, nothing, 1), ["otherwise"])
    assert issubclass(JobStoppedError, CellMixDaliError)


def test_what_workers_are_started_with() -> None:
    """One thread each; and memory is not given back at once, which costs trainings half of their speed."""
    found = all_of(make_executor(setting, nothing, 1), ["OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"])
    assert found == {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": None}


def test_ctrl_c_while_the_workers_start_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from cellmix_dali.jobs import processes

    before, context = children(), processes.get_context
    held_back = []

    def interrupted(method: str) -> Any:  # asked for while Ctrl-C is held back
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        held_back.append(method)
        return context(method)

    monkeypatch.setattr(processes, "get_context", interrupted)
    with closing(make_executor(square, nothing, 2)) as executor, pytest.raises(KeyboardInterrupt):
        executor.submit(3)
    assert held_back == ["spawn"]
    deadline = time.monotonic() + 30
    while children() - before:
        assert time.monotonic() < deadline, children() - before
        time.sleep(0.1)
