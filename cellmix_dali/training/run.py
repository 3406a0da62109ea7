"""A training run: epochs under the curriculum, a test after each, the model, the report and the pictures."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from ..curriculum import Curriculum
from ..errors import CellMixDaliError, SlideError
from ..pictures import curriculum_picture
from ..pipelines import Loader, evaluate_loader, train_loader
from ..plugins import PlanSource, TileSource, tiles
from ..reading.faults import place_of
from ..reading.slides import TileReader
from ..slides.stream_kinds import KINDS, PIXELS, stream_kind
from .checkpoint import Checkpoint
from .data import TrainingData
from .epochs import Entry, Epochs, Listener, Optimisation
from .keeping import Kept
from .loop import answers, progress_bar, steering, versions
from .metrics import scores
from .mixed import SHOWN, alternating, draw_mixed
from .model import small_cnn
from .settings import TrainingSettings, check_settings, fitting_batch_size

__all__ = ["run_training"]

_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc")


def run_training(
    data: TrainingData, settings: TrainingSettings, out: Path, console: Console, *, resume: bool | None = None
) -> dict[str, Any]:
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
    resume : bool, optional
        Whether to go on from the checkpoint in `out`, if there is one; with True or False one is kept there until the
        end. By default none is.

    Returns
    -------
    dict
        The report, as it was written.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work, or the checkpoint is of a training that was set up otherwise.
    StoppedError
        After SIGTERM or Ctrl-C, when the state is in the checkpoint.
    """
    started = time.perf_counter()
    torch.manual_seed(settings.seed)
    curriculum = check_settings(settings, data.tile_size)
    classes = len(data.classes)
    batch, note = fitting_batch_size(settings.batch_size, len(data.train))
    notes = [*data.notes, *([] if note is None else [note])]
    if note is not None:
        console.print(f"note: {note}.", soft_wrap=True)
    loader = train_loader(
        data.train,
        num_classes=classes,
        batch_size=batch,
        curriculum=curriculum,
        method=settings.method,
        p=settings.p,
        device=settings.device,
        engine=settings.engine,
        tile_size=data.tile_size,
        edge=data.edge,
        fault_file=out / "faults.jsonl",
        seed=settings.seed,
        verify=settings.verify,
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
        verify=settings.verify,
    )
    with loader, test:
        device = torch.device("cuda" if settings.device == "gpu" else "cpu")
        model = small_cnn(classes).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.epochs * len(loader)
        )
        training = Epochs(
            settings.epochs,
            Optimisation(model, optimizer, schedule, device),
            loader,
            unit="tiles",
            curriculum=curriculum,
            validate=lambda: scores(*answers(model, test, device)),
        )
        earlier = _Earlier()
        with progress_bar(console) as progress:
            bar = progress.add_task("training", total=settings.epochs * len(loader), line="")

            def on_batch(entry: Entry, rate: float, loss: float) -> None:
                progress.update(bar, advance=1, line=f"{rate:4.0f} tiles/s loss {loss:.3f} {steering(entry)}")

            listener = Listener(on_batch, lambda entry: progress.console.print(_line(entry)))
            if resume is None:
                training.run(listener)
            else:
                about = asdict(settings) | {"classes": data.classes, "batch_size": batch, "tile_size": data.tile_size}
                Kept(
                    checkpoint := Checkpoint(out, about),
                    resume,
                    on_resume=lambda loaded: progress.update(bar, completed=loaded.batches_done),
                    extra=lambda: earlier.with_these(loader, test).as_dict(),
                    take_extra=earlier.take,
                ).run(training, listener, {"test": test})
        whole = earlier.with_these(loader, test)
        epochs, read = training.entries, {"direct": 0, "openslide": 0, **whole.read}
        kinds = _kinds_read(loader.source, whole.read) | _kinds_read(test.source, whole.read)
    torch.save({"model": model.state_dict(), "classes": data.classes, "tile_size": data.tile_size}, out / "model.pt")

    try:
        if settings.mixer is not None:
            _draw_mixed(data, settings, batch, curriculum, out / "mixed.png")
    except (CellMixDaliError, RuntimeError) as error:  # bad tiles, of which the training could leave out some
        console.print(f"no mixed.png: {escape(str(error).splitlines()[0])}", soft_wrap=True)
    if curriculum is not None:
        curriculum_picture(out / "curriculum.png", epochs)
    report = {
        "task": data.task,
        "classes": list(data.classes),
        "slides": data.slides,
        "split": data.split,
        "notes": notes,
        "tiles": {"train": len(data.train), "held_out": len(data.test), "size": data.tile_size},
        "settings": asdict(settings) | {"batch_size": batch},
        "epochs": epochs,
        "final": {key: epochs[-1][key] for key in ("train_loss", "validation_loss", *_FIGURES)},
        "tiles_read": read,
        "decoder_routes": {kind: route._asdict() for kind, route in loader.routes.items() if kind in kinds},
        "bad_tiles": whole.faults,
        "slides_left_out": [
            {"slide": str(fault.slide), "reason": fault.reason, "kind": fault.kind} for fault in data.faults
        ],
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if resume is not None:
        checkpoint.remove()
    return report


@dataclass
class _Earlier:
    """What was read, and found bad, before a training was stopped."""

    read: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)

    def with_these(self, *loaders: Loader[TileSource]) -> _Earlier:
        """The same, with what loaders have read and found since."""
        read, faults = self.read.copy(), list(self.faults)
        for loader in loaders:
            read += loader.source.read
            known = {place_of(fault) for fault in faults}
            faults += [found for fault in loader.faults if place_of(found := asdict(fault)) not in known]
        return _Earlier(read, faults)

    def as_dict(self) -> dict[str, Any]:
        return {"read": dict(self.read), "faults": self.faults}

    def take(self, state: Mapping[str, Any]) -> None:
        self.read, self.faults = Counter(state["read"]), list(state["faults"])


def _kinds_read(source: TileSource, read: Mapping[str, int]) -> set[str]:
    """Kinds of streams among a source's tiles, by the ways they were read; of shards, all that there may be."""
    kinds = {PIXELS} if read["openslide"] else set()
    if read["shard"]:
        return kinds | set(KINDS)
    reader, table = source.reader, source.table
    if read["direct"] and isinstance(reader, TileReader):
        for level in np.flatnonzero(np.bincount(table.level)).tolist():
            for number in np.flatnonzero(np.bincount(table.slide[table.level == level])).tolist():
                try:
                    of = reader.slide(number).levels[level]
                except (SlideError, IndexError):  # its tiles were replaced
                    continue
                if of.compression is not None:
                    kinds.add(stream_kind(of.compression, of.colour))
    return kinds


def _draw_mixed(
    data: TrainingData, settings: TrainingSettings, batch: int, curriculum: Curriculum | None, path: Path
) -> None:
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
