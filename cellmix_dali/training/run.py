"""A training run: epochs under the curriculum, a test after each, the model, the report and the pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from ..curriculum import Curriculum
from ..decoding import KINDS, PIXELS, stream_kind
from ..errors import CellMixDaliError, SlideError
from ..mixing import METHODS, canonical_method
from ..pictures import curriculum_picture
from ..pipelines import evaluate_loader, train_loader
from ..pipelines._device import routes_taken
from ..plugins import PlanSource, TileSource, tiles
from ..reading import TileReader
from .data import TrainingData
from .loop import answers, progress_bar, reporter, steering, train_epoch, versions
from .metrics import scores
from .mixed import SHOWN, alternating, draw_mixed
from .model import small_cnn
from .settings import TrainingSettings, check_settings, fitting_batch_size

__all__ = ["run_training"]

_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc")


def run_training(data: TrainingData, settings: TrainingSettings, out: Path, console: Console) -> dict[str, Any]:
    """Train, test, and write report.json, mixed.png, curriculum.png (CellMix), model.pt and faults.jsonl (bad tiles).

    Parameters
    ----------
    data : TrainingData
        What to train and test on.
    settings : TrainingSettings
        How.
    out : Path
        Folder of the results; it must exist.
    console : rich.console.Console
        Where the progress goes.

    Returns
    -------
    dict
        The report, as it was written.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work.
    """
    started = time.perf_counter()
    torch.manual_seed(settings.seed)
    curriculum = check_settings(settings, data.tile_size)
    steered = METHODS[canonical_method(settings.method)].is_cellmix
    classes = len(data.classes)
    batch = fitting_batch_size(settings.batch_size, len(data.train))
    loader = train_loader(
        data.train,
        num_classes=classes,
        batch_size=batch,
        curriculum=curriculum if steered else None,
        method=settings.method,
        p=settings.p,
        device=settings.device,
        engine=settings.engine,
        tile_size=data.tile_size,
        edge=data.edge,
        fault_file=out / "faults.jsonl",
        seed=settings.seed,
    )
    test = evaluate_loader(
        data.test,
        batch_size=batch,
        num_classes=classes,
        device=settings.device,
        engine=settings.engine,
        tile_size=data.tile_size,
        edge=data.edge,
        on_error="replace",
        fault_file=out / "faults.jsonl",
    )
    with loader, test:
        device = torch.device("cuda" if settings.device == "gpu" else "cpu")
        model = small_cnn(classes).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.epochs * len(loader)
        )
        epochs = []
        with progress_bar(console) as progress:
            bar = progress.add_task("training", total=settings.epochs * len(loader), line="")
            for epoch in range(settings.epochs):
                entry: dict[str, Any] = {"epoch": epoch}
                if steered:
                    entry["patch_size"] = curriculum.patch_size
                    entry["fix_ratio"] = curriculum.fix_ratio
                    entry["threshold"] = curriculum.threshold
                tell = reporter(progress, bar, "tiles", entry)
                losses = train_epoch(model, loader, optimizer, schedule, device, tell)
                entry |= {"train_loss": losses.mean, "tiles_per_second": losses.per_second}
                figures = scores(*answers(model, test, device))
                entry |= {"validation_loss": figures.pop("loss")} | figures
                curriculum.step(entry["train_loss"])
                epochs.append(entry)
                progress.console.print(_line(entry))
        read = {"direct": 0, "openslide": 0, **(loader.source.read + test.source.read)}
        faults = [*loader.faults, *test.faults]
        kinds = _kinds_read(loader.source) | _kinds_read(test.source)
        held = loader.source.reader.kinds
    torch.save({"model": model.state_dict(), "classes": data.classes, "tile_size": data.tile_size}, out / "model.pt")

    try:
        _draw_mixed(data, settings, batch, curriculum, out / "mixed.png")
    except (CellMixDaliError, RuntimeError) as error:  # bad tiles, of which the training could leave out some
        console.print(f"no mixed.png: {escape(str(error).splitlines()[0])}", soft_wrap=True)
    if steered:
        curriculum_picture(out / "curriculum.png", epochs)
    report = {
        "task": data.task,
        "classes": list(data.classes),
        "slides": data.slides,
        "split": data.split,
        "notes": list(data.notes),
        "tiles": {"train": len(data.train), "held_out": len(data.test), "size": data.tile_size},
        "settings": asdict(settings) | {"batch_size": batch},
        "epochs": epochs,
        "final": {key: epochs[-1][key] for key in ("train_loss", "validation_loss", *_FIGURES)},
        "tiles_read": read,
        "decoder_routes": {
            kind: route._asdict() for kind, route in routes_taken(settings.device, held).items() if kind in kinds
        },
        "bad_tiles": [asdict(fault) for fault in faults],
        "slides_left_out": [
            {"slide": str(fault.slide), "reason": fault.reason, "kind": fault.kind} for fault in data.faults
        ],
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _kinds_read(source: TileSource) -> set[str]:
    """Kinds of streams among the tiles that a source has delivered; of shards, which hold what was put there, all."""
    kinds = {PIXELS} if source.read["openslide"] else set()
    if source.read["shard"]:
        return kinds | set(KINDS)
    reader, table = source.reader, source.table
    if source.read["direct"] and isinstance(reader, TileReader):
        for level in np.flatnonzero(np.bincount(table.level)).tolist():
            for number in np.flatnonzero(np.bincount(table.slide[table.level == level])).tolist():
                try:
                    of = reader.slide(number).levels[level]
                except (SlideError, IndexError):  # its tiles were replaced
                    continue
                if of.compression is not None:
                    kinds.add(stream_kind(of.compression, of.colour))
    return kinds


def _draw_mixed(data: TrainingData, settings: TrainingSettings, batch: int, curriculum: Curriculum, path: Path) -> None:
    """Draw some training tiles before and after mixing."""
    assert data.train.label is not None
    table = data.train.select(alternating(data.train.label, min(SHOWN, batch)))
    sources = []

    def nodes(plans: PlanSource) -> tuple[Any, Any, Any, Any]:
        source = TileSource(
            table,
            batch_size=len(table),
            tile_size=data.tile_size,
            edge=data.edge,
            plans=plans,
            shuffle=False,
            on_error="replace",
        )
        sources.append(source)
        batch_nodes = tiles(source)
        return batch_nodes.images, batch_nodes.labels, batch_nodes.tile, batch_nodes.plan

    try:
        draw_mixed(path, nodes, len(table), data.tile_size, data.classes, settings, curriculum)
    finally:
        for source in sources:
            source.close()


def _line(entry: Mapping[str, float]) -> str:
    """One epoch for a person, in a terminal's usual width."""
    return (
        f"epoch {entry['epoch'] + 1:2d} {steering(entry)}"
        f"loss {entry['train_loss']:.3f} test {entry['validation_loss']:.3f} "
        f"accuracy {entry['accuracy']:.3f} {entry['tiles_per_second']:.0f} tiles/s"
    )
