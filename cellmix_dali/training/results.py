"""A training run with all that it writes: a log while it runs, the model, a report and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from ..errors import CellMixDaliError
from ..pipelines.timing import Timing
from .checkpoint import Checkpoint
from .data import TrainingData
from .epoch_log import EpochLog
from .epochs import Entry, Epochs, Listener
from .keeping import Kept
from .loop import progress_bar, steering, versions
from .metrics import confusion_picture, figure
from .mixed import draw_mixed
from .run import TrainingRun, train_and_test
from .settings import TrainingSettings, check_settings, fitting_batch_size

__all__ = ["PICTURES", "run_training"]

#: What may be drawn of a run.
PICTURES = ("confusion.png", "mixed.png", "curriculum.png")


def run_training(
    data: TrainingData[Any], settings: TrainingSettings, out: Path, console: Console, *, resume: bool | None = None
) -> dict[str, Any]:
    """Train and test by `train_and_test`; write report.json, log.csv, model.pt, faults.jsonl (bad tiles), pictures.

    The pictures: confusion.png (with held-out samples), mixed.png (with a mixing method) and curriculum.png (with one
    of CellMix's).

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
        If a setting cannot work, the training diverges, or the checkpoint is of one that was set up otherwise.
    StoppedError
        After SIGTERM or Ctrl-C, when the state is in the checkpoint.
    """
    started = time.perf_counter()
    check_settings(settings, data.source.size)
    for picture in PICTURES:
        (out / picture).unlink(missing_ok=True)  # of an earlier run; not every run has them
    unit, counts = data.source.unit, data.counts
    batch, note = fitting_batch_size(settings.batch_size, counts["train"])
    notes = [*data.notes, *([] if note is None else [note])]
    for each in notes:
        console.print(f"note: {escape(each)}.", soft_wrap=True)
    told = asdict(settings) | {"learning_rate": settings.highest_rate, "batch_size": batch}
    about = told | {"classes": data.classes, "split": data.split, "size": data.source.size} | data.source.about()
    checkpoint = Checkpoint(out, about)
    with EpochLog(out, tensorboard=settings.tensorboard) as log, progress_bar(console) as progress:
        bar = progress.add_task("training", total=settings.epochs * (counts["train"] // batch), line="")

        def on_batch(entry: Entry, rate: float, loss: float) -> None:
            progress.update(bar, advance=1, line=f"{rate:4.0f} {unit}/s loss {loss:.3f} {steering(entry)}")

        def on_epoch(entry: Entry) -> None:
            log.add(entry)
            progress.console.print(_line(entry, unit))

        def on_timing(timing: Timing) -> None:
            progress.console.print(f"  {timing}", style="dim", highlight=False)

        def on_resume(loaded: Epochs) -> None:
            progress.update(bar, completed=loaded.batches_done)
            for entry in loaded.entries:
                log.add(entry)

        keep = None if resume is None else Kept(checkpoint, resume, on_resume)
        run = train_and_test(
            data, settings, listener=Listener(on_batch, on_epoch, on_timing), keep=keep, fault_file=out / "faults.jsonl"
        )
    saved = {"model": run.state, "name": settings.model, "classes": data.classes, "size": data.source.size}
    normalised = {"mean": list(run.normalisation.mean), "std": list(run.normalisation.std)}
    torch.save(saved | normalised | {"epoch": run.best_epoch}, out / "model.pt")
    _draw(data, settings, run, out, console)
    figures = {
        name: dict(tested.scores) | {"confusion": tested.confusion.tolist()} for name, tested in run.tested.items()
    }
    report = {
        "task": data.task,
        "classes": list(data.classes),
        "split": data.split,
        "samples": {"unit": unit, **counts, "size": data.source.size},
        "settings": told,
        "normalisation": normalised | {"from": run.normalisation.said_by},
        "parameters": run.parameters,
        "epochs": run.epochs,
        "final": {"epoch": run.best_epoch} | figures,
        unit: run.told,
        "left_out": dict(data.left_out),
        "notes": notes,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if resume is not None:
        checkpoint.remove()
    return report


def _draw(data: TrainingData[Any], settings: TrainingSettings, run: TrainingRun, out: Path, console: Console) -> None:
    """Draw the run's pictures."""
    from ..pictures import curriculum_picture  # with matplotlib, which the first batch need not wait for

    for name, tested in run.tested.items():
        # The last set there is: the test samples, or without them the validation samples.
        balanced = figure(tested.scores["balanced_accuracy"])
        what = f"{data.counts[name]} {name} {data.source.unit}, balanced accuracy {balanced}"
        confusion_picture(out / "confusion.png", tested.confusion, data.classes, title=what)
    if settings.mixer is not None:
        try:
            draw_mixed(out / "mixed.png", data, settings, run.epochs[-1])
        except (CellMixDaliError, RuntimeError) as error:  # bad tiles, of which the training could leave out some
            console.print(f"no mixed.png: {escape(str(error).splitlines()[0])}", soft_wrap=True)
    if settings.steered:
        curriculum_picture(out / "curriculum.png", run.epochs)


def _line(entry: Mapping[str, Any], unit: str) -> str:
    """One epoch for a person, in a terminal's usual width."""
    line = f"epoch {entry['epoch']:2d} {steering(entry)}loss {entry['train_loss']:.3f} "
    if "validation_loss" in entry:
        line += f"validation {entry['validation_loss']:.3f} balanced {figure(entry['balanced_accuracy'])} "
    return line + f"{entry['samples_per_second']:.0f} {unit}/s"
