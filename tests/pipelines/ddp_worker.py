"""One of several ranks, started by torchrun: goes through a loader, and writes down what it saw.

    torchrun --nproc-per-node=2 ddp_worker.py TABLE FOLDER BATCH_SIZE [SCRIPT ARGUMENT ...]

A script that is named is run afterwards, in the same processes: starting others takes long.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from resume_worker import digest

from cellmix_dali import Curriculum, TileTable
from cellmix_dali.pipelines import train_loader

EPOCHS = 4


def go_through(table: TileTable, batch_size: int, num_workers: int) -> dict[str, Any]:
    """Every batch of all epochs, and what a curriculum stepped with this rank's own loss would have asked for."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    agreed, own = (Curriculum(epochs=EPOCHS, tile_size=256) for _ in range(2))
    # The even ranks learn, the odd ones do not; their mean is below the first two thresholds, and above the third.
    loss = 0.1 if rank % 2 == 0 else 0.8
    batches, of_its_own = [], []
    with train_loader(
        table,
        num_classes=3,
        batch_size=batch_size,
        curriculum=agreed,
        p=1.0,
        seed=3,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
    ) as loader:
        for _ in range(EPOCHS):
            batches.append([digest(batch) for batch in loader])
            of_its_own.append(own.patch_size)
            mean = torch.tensor(loss)
            dist.all_reduce(mean)
            agreed.step(mean / world_size)
            own.step(loss)
    return {"batches": batches, "of_its_own": of_its_own}


def main() -> None:
    table, folder, batch_size, *script = sys.argv[1:]
    dist.init_process_group("gloo")
    tiles = TileTable.from_parquet(table)
    seen = [go_through(tiles, int(batch_size), num_workers) for num_workers in (1, 3)]
    (Path(folder) / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    if script:
        sys.argv = script
        sys.path.insert(0, str(Path(script[0]).parent))
        with mock.patch.object(dist, "init_process_group"), mock.patch.object(dist, "destroy_process_group"):
            runpy.run_path(script[0], run_name="__main__")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
