"""Memory over many epochs, in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from settings import BLOCK, CLASSES

from cellmix_dali import TileTable
from cellmix_dali.pipelines import train_loader

__all__ = ["memory_over_epochs"]

_BATCH = 32


def memory_over_epochs(table: TileTable, epochs: int) -> dict[int, float]:
    """Return the resident memory in MiB after epochs 1, 10, 20, ... of training on the table."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_train, table.slides[0], table.x.tolist(), table.y.tolist(), epochs).result()


def _train(slide: str, x: list[int], y: list[int], epochs: int) -> dict[int, float]:
    table = TileTable.from_columns(slide, x=x, y=y, size=BLOCK, label=[row % CLASSES for row in range(len(x))])
    found = {}
    with train_loader(table, num_classes=CLASSES, batch_size=_BATCH, patch_size=32, fix_ratio=0.5) as loader:
        for epoch in range(1, epochs + 1):
            for batch in loader:
                batch["images"].mean()
            if epoch == 1 or epoch % 10 == 0:
                gc.collect()
                found[epoch] = round(_resident(), 1)
    return found


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
