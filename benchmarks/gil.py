"""The loader beside a busy main thread: what each leaves to the other, with and without Python's interpreter lock.

The main thread runs a loop that holds the lock (plain Python), then one that does not (compiled); a second thread goes
through the loader meanwhile. Both loops keep a core busy, so the difference between them is the lock's alone.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numba
from material import Material
from measure import quotients
from settings import BATCH, CLASSES, FIX_RATIO, METHOD, PATCH, THREADS, P

from cellmix_dali.pipelines import Loader, train_loader
from cellmix_dali.plugins import TileSource

if TYPE_CHECKING:
    from groups import Report

__all__ = ["gil"]

_TILES = 2048
_ALONE_S = 0.5
_TURNS = 2000  # of a loop's step: some tens of microseconds of plain Python


def gil(material: Material, rounds: int, report: Report) -> None:
    """Loader and loop, each alone and both at once; shares are medians of the rounds'."""
    loader = train_loader(
        material.blocks(material.tiff, _TILES),
        num_classes=CLASSES,
        batch_size=BATCH,
        patch_size=PATCH,
        fix_ratio=FIX_RATIO,
        method=METHOD,
        p=P,
        num_threads=THREADS,
        num_workers=THREADS,
    )
    loops = {"holding the lock": _holding, "without the lock": _free}
    alone: list[float] = []
    loop_shares: dict[str, list[float]] = {name: [] for name in loops}
    tiles: dict[str, list[float]] = {name: [] for name in loops}
    with loader:
        for number in range(rounds + 1):  # the first warms up
            rate = _pass(loader)
            found = {name: (_speed_alone(step), *_both(loader, step)) for name, step in loops.items()}
            if number:
                alone.append(rate)
                for name, (own, beside, tiles_per_s) in found.items():
                    loop_shares[name].append(beside / own)
                    tiles[name].append(tiles_per_s)
    figures: dict[str, float] = {"loader alone, tiles/s": round(statistics.median(alone), 1)}
    for name in loops:
        figures[f"loader beside a loop {name}, tiles/s"] = round(statistics.median(tiles[name]), 1)
        figures[f"share of its speed left to a loop {name}"] = round(statistics.median(loop_shares[name]), 4)
    report.other["beside a busy main thread"] = figures
    held, free = loops
    report.rounds |= {
        "loader_beside_loop": quotients(tiles[held], alone),
        "loader_beside_loop_of_lock_alone": quotients(tiles[held], tiles[free]),
        "loop_beside_loader": [round(share, 4) for share in loop_shares[held]],
        "loop_beside_loader_of_lock_alone": quotients(loop_shares[held], loop_shares[free]),
    }


def _pass(loader: Loader[TileSource]) -> float:
    """Tiles per second of one pass."""
    began = time.perf_counter()
    count = sum(len(batch["images"]) for batch in loader)
    return count / (time.perf_counter() - began)


def _speed_alone(step: Callable[[int], int]) -> float:
    """Steps per second."""
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < _ALONE_S:
        step(_TURNS)
        steps += 1
    return steps / (time.perf_counter() - began)


def _both(loader: Loader[TileSource], step: Callable[[int], int]) -> tuple[float, float]:
    """Steps per second of the main thread, and tiles per second of one pass beside it."""
    rates: list[float] = []
    thread = threading.Thread(target=lambda: rates.append(_pass(loader)))
    steps, began = 0, time.perf_counter()
    thread.start()
    while thread.is_alive():
        step(_TURNS)
        steps += 1
    speed = steps / (time.perf_counter() - began)
    thread.join()
    return speed, rates[0]


def _holding(turns: int) -> int:
    value = 1
    for turn in range(turns):
        value = (value * 69069 + turn) & 0xFFFFFFFF
    return value


@numba.njit(nogil=True)
def _compiled(turns: int) -> int:
    value = 1
    for turn in range(turns):
        value = (value * 69069 + turn) & 0xFFFFFFFF
    return value


def _free(turns: int) -> int:
    return int(_compiled(100 * turns))
