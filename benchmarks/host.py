"""The Python side: what one tile costs on the host before any decoder sees it, and one plan."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from settings import BATCH, BLOCK, FIX_RATIO, METHOD, PATCH

from cellmix_dali import CellMix, TileTable
from cellmix_dali.plugins import PlanSource, TileSource

__all__ = ["BATCH", "host_times", "plan_times", "read_times"]

_PATCHES = (16, 32, 64, 128)
_PLANS = 50
_READ = 32  # tiles that a reading thread gets at once: half a batch


@dataclass
class _Batch:
    epoch_idx: int = 0
    iteration: int = 0


def host_times(table: TileTable, rounds: int) -> dict[str, Any]:
    """Microseconds per tile: reading alone in one thread, and the source with its reading threads, batch after batch.

    The source is called as fast as it answers, so its time is what bounds a decoder that takes none.
    """
    found: dict[str, Any] = {}
    rows = np.random.default_rng(0).permutation(len(table))
    plans = PlanSource(
        CellMix(METHOD), tile_size=int(table.size[0]), batch_size=BATCH, patch_size=PATCH, fix_ratio=FIX_RATIO
    )
    for threads in (1, 2, 4):
        source = TileSource(table, batch_size=BATCH, plans=plans, num_workers=threads)

        def call(source: TileSource = source) -> None:
            for iteration in range(len(source)):
                source(_Batch(0, iteration))

        def read(source: TileSource = source) -> None:
            for first in range(0, len(table), _READ):
                source.reader.read(rows[first : first + _READ])

        if threads == 1:
            found["reader.read, one thread"] = _microseconds(read, len(table), rounds)
        found[f"TileSource.__call__, {threads} reading threads"] = _microseconds(call, len(source) * BATCH, rounds)
        source.close()
    return found


def read_times(table: TileTable, rounds: int, *, verify: str) -> dict[str, Any]:
    """Microseconds per tile for reading alone in one thread."""
    source = TileSource(table, batch_size=BATCH, num_workers=1, verify=verify)

    def read() -> None:
        for first in range(0, len(table), _READ):
            source.reader.read(np.arange(first, min(first + _READ, len(table))))

    found = _microseconds(read, len(table), rounds)
    source.close()
    return found


def plan_times(rounds: int) -> dict[str, Any]:
    """Microseconds per batch for drawing a plan and putting it in the terms of `multi_paste`."""
    found: dict[str, Any] = {}
    for patch in _PATCHES:
        plans = PlanSource(CellMix(METHOD), tile_size=BLOCK, batch_size=BATCH, patch_size=patch, fix_ratio=FIX_RATIO)

        def draw(plans: PlanSource = plans) -> None:
            for iteration in range(_PLANS):
                plans.draw(0, iteration)

        found[f"patches of {patch} px"] = _microseconds(draw, _PLANS, rounds)
    return found


def _microseconds(run: Callable[[], None], count: int, rounds: int) -> dict[str, Any]:
    run()
    wall, cpu = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        run()
        wall.append(round((time.perf_counter() - start) / count * 1e6, 2))
        cpu.append(round((time.process_time() - used) / count * 1e6, 2))
    return {"median_us": statistics.median(wall), "us": wall, "cpu_us": cpu}
