"""Processes that do the runs of a comparison, each its own, so that one that dies takes no other's run with it."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from .records import RunRecord
from .runs import Run, Work, Worker, do_run, start_worker
from .settings import ComparisonSettings

__all__ = ["do_runs"]

_TRIES = 2  # of a run whose process dies


def do_runs(runs: Sequence[Run], work: Work, workers: int) -> Generator[tuple[Run, RunRecord | str], None, None]:
    """Do runs, begun in their order; give each with its record, or the reason why there is none, as they end.

    A process that dies is replaced, and its run done again once. When the iterator is closed, or an exception comes
    out of it (Ctrl-C), the processes are stopped, whatever they are at.

    Parameters
    ----------
    runs : sequence of Run
        What is to be done.
    work : Work
        What all have in common.
    workers : int
        Processes at most; 0: this process does the runs.
    """
    if not workers:
        yield from _done_here(runs, work)
        return
    waiting = deque((run, 1) for run in runs)
    with _lanes(work.settings, min(workers, len(runs))) as lanes:
        under_way: dict[Future[RunRecord | str], tuple[int, Run, int]] = {}

        def begin(lane: int) -> None:
            if waiting:
                run, tries = waiting.popleft()
                with _uninterrupted():  # a process is started by the first run that it is given
                    future = lanes[lane].submit(do_run, run, work.data[run.fold])
                under_way[future] = lane, run, tries

        for lane in range(len(lanes)):
            begin(lane)
        while under_way:
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                lane, run, tries = under_way.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lanes[lane].shutdown(wait=False)
                    lanes[lane] = _lane(work.settings)
                    if tries < _TRIES:
                        waiting.appendleft((run, tries + 1))
                        begin(lane)
                        continue
                    outcome = (
                        f"the process at work on it died {tries} times: a library crashed, or the machine has too "
                        "little memory. Try it with fewer --workers."
                    )
                begin(lane)
                yield run, outcome


def _done_here(runs: Sequence[Run], work: Work) -> Iterator[tuple[Run, RunRecord | str]]:
    """Do the runs in this process."""
    worker, threads = Worker(work.settings), torch.get_num_threads()
    torch.set_num_threads(work.settings.threads)
    try:
        for run in runs:
            yield run, worker.do(run, work.data[run.fold])
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _lanes(settings: ComparisonSettings, count: int) -> Iterator[list[ProcessPoolExecutor]]:
    """Processes, none of which is left at the end."""
    before = {child.pid for child in multiprocessing.active_children()}
    lanes = [_lane(settings) for _ in range(count)]
    try:
        yield lanes
    except BaseException:
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()
        raise
    finally:
        for lane in lanes:
            lane.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes started meanwhile never hear of it, not even while they load."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lane(settings: ComparisonSettings) -> ProcessPoolExecutor:
    """One process; DALI and its threads do not survive a fork.

    What it is started with must be small: until it has read that, this process waits. Lists of files go with the runs.
    """
    return ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker, initargs=(settings,)
    )
