"""Training that is meant to be killed: it logs every batch, saves its state after each, and goes on from it.

    python resume_worker.py FOLDER RANK WORLD_SIZE [STOP_AT]

FOLDER holds `blocks.parquet` and `windows.parquet`. Several trainings run in turns, batch by batch, one for each of
`WAYS`, each with its files in FOLDER/WAY-RANK. Each point that a training passes is told on standard output; at the
point STOP_AT the process waits to be killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from cellmix_dali import Curriculum, TileTable
from cellmix_dali.pipelines import Loader, train_loader
from cellmix_dali.plugins import TileSource, tile_source
from cellmix_dali.reading.slides import TileReader

EPOCHS = 3
#: Name: which table, and by which way its tiles are then read.
WAYS = {"blocks": ("blocks", "direct"), "windows": ("windows", "direct"), "openslide": ("windows", "openslide")}


def make_curriculum() -> Curriculum:
    """Moves after the first epoch, whatever the loss, as losses are below 1; after the second as the loss says."""
    return Curriculum(epochs=EPOCHS, tile_size=256, threshold=1.0, threshold_factor=0.5, patch_strategy="loss_back")


def make_loader(way: str, table: TileTable, **arguments: Any) -> Loader[TileSource]:
    """The loader of one way of reading; without enough slots, tiles of several blocks come through OpenSlide."""
    own = {"num_classes": 3, "batch_size": 4, "seed": 11, "p": 0.7, "method": "CellMix-Group4"}
    if "patch_size" not in arguments:
        own["curriculum"] = make_curriculum()
    slots = 1 if WAYS[way][1] == "openslide" else None
    with mock.patch.object(tile_source, "tile_reader", partial(TileReader, slots=slots)):
        return train_loader(table, **own | arguments)


def digest(batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """One batch in a few words."""
    contents = hashlib.sha256()
    for name in ("images", "labels", "tile"):
        contents.update(batch[name].numpy().tobytes())
    applied = {name: batch[name].unique().tolist() for name in ("epoch", "iteration", "patch_size", "fix_ratio")}
    return {**applied, "tile": batch["tile"].flatten().tolist(), "sha256": contents.hexdigest()}


def loss_of(line: dict[str, Any]) -> float:
    """A number from 0 to 1 that depends on all of a batch."""
    return int(line["sha256"][:8], 16) / 2**32


def train(loader: Loader[TileSource], curriculum: Curriculum, folder: Path) -> Iterator[str]:
    """Go on from the saved state, if there is one; yields what has just been done."""
    log, state = folder / "log.jsonl", folder / "state.pickle"
    losses: list[float] = []
    steps: list[float] = []

    def save() -> None:
        aside = state.with_suffix(".aside")
        write(aside, pickle.dumps({"loader": loader.state_dict(), "losses": losses, "steps": steps}), os.O_TRUNC)
        aside.rename(state)

    if state.exists():
        saved = pickle.loads(state.read_bytes())
        loader.load_state_dict(saved["loader"])
        losses, steps = saved["losses"], saved["steps"]
        if curriculum.epoch < loader.epoch:  # killed between an epoch's last batch and the step
            steps.append(sum(losses) / len(losses))
            losses = []
            curriculum.step(steps[-1])
            save()
    while loader.epoch < EPOCHS:
        epoch = loader.epoch
        for batch in loader:
            line = digest(batch)
            losses.append(loss_of(line))
            write(log, json.dumps(line).encode() + b"\n", os.O_APPEND)
            yield f"logged {epoch} {line['iteration'][0]}"
            save()
            yield f"saved {epoch} {line['iteration'][0]}"
        yield f"ended {epoch}"
        steps.append(sum(losses) / len(losses))
        losses = []
        curriculum.step(steps[-1])
        yield f"stepped {epoch}"
        save()
        yield f"over {epoch}"


def write(path: Path, content: bytes, how: int) -> None:
    """Write in one call, to the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | how)
    os.write(file, content)
    os.fsync(file)
    os.close(file)


def train_all(folder: Path, rank: int, world_size: int) -> Iterator[str]:
    """All ways in turns."""
    trainings = {}
    for way, (name, read) in WAYS.items():
        table = TileTable.from_parquet(folder / f"{name}.parquet")
        curriculum = make_curriculum()
        loader = make_loader(way, table, curriculum=curriculum, rank=rank, world_size=world_size)
        place = folder / f"{way}-{rank}"
        place.mkdir(exist_ok=True)
        trainings[way] = train(loader, curriculum, place), loader, read
    while trainings:
        for way, (training, loader, read) in list(trainings.items()):
            point = next(training, None)
            if point is not None:
                yield f"{way} {point}"
                continue
            if set(loader.source.read) - {read}:
                raise RuntimeError(f"{way}: tiles were read {loader.source.read}, not {read}.")
            loader.close()
            del trainings[way]


def main() -> None:
    folder, rank, world_size, *stop_at = sys.argv[1:]
    for point in train_all(Path(folder), int(rank), int(world_size)):
        print(point, flush=True)
        if [point] == stop_at:
            sys.stdin.read()  # nothing ever comes
    print("done", flush=True)


if __name__ == "__main__":
    main()
