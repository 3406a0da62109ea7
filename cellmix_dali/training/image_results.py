"""A training run on image files with all that it writes: a log while it runs, the model, a report and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ..curriculum import Curriculum
from ..pictures import curriculum_picture
from ..pipelines.images import ImageSource
from ..plugins import PlanSource, tiles
from .checkpoint import Checkpoint
from .epoch_log import EpochLog
from .epochs import Entry, Epochs, Listener
from .image_run import train_and_test
from .images import ImageData
from .keeping import Kept
from .loop import progress_bar, steering, versions
from .metrics import confusion_picture
from .mixed import SHOWN, alternating, draw_mixed
from .settings import ImageSettings, check_image_settings, fitting_batch_size

__all__ = ["run_image_training"]


def run_image_training(
    data: ImageData, settings: ImageSettings, out: Path, console: Console, *, resume: bool | None = None
) -> dict[str, Any]:
    """Train and test by `train_and_test`; write report.json, log.csv, model.pt and the pictures.

    The pictures: confusion.png, mixed.png (with a mixing method) and curriculum.png (with one of CellMix's).

    Parameters
    ----------
    data : ImageData
        What to train and test on; see `readable_images`.
    settings : ImageSettings
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
    curriculum = check_image_settings(settings)
    for picture in ("mixed.png", "curriculum.png"):
        (out / picture).unlink(missing_ok=True)  # of an earlier run; not every method has them
    batch, note = fitting_batch_size(settings.batch_size, len(data.train))
    notes = [*data.notes, *([] if note is None else [note])]
    for each in notes:
        console.print(f"note: {each}.", soft_wrap=True)
    about = asdict(settings) | {"classes": data.classes, "batch_size": batch, "split": data.split}
    checkpoint = Checkpoint(out, about)
    with EpochLog(out, tensorboard=settings.tensorboard) as log, progress_bar(console) as progress:
        bar = progress.add_task("training", total=settings.epochs * (len(data.train) // batch), line="")

        def on_batch(entry: Entry, rate: float, loss: float) -> None:
            progress.update(bar, advance=1, line=f"{rate:4.0f} images/s loss {loss:.3f} {steering(entry)}")

        def on_epoch(entry: Entry) -> None:
            log.add(entry)
            progress.console.print(_line(entry))

        def on_resume(loaded: Epochs) -> None:
            progress.update(bar, completed=loaded.batches_done)
            for entry in loaded.entries:
                log.add(entry)

        keep = None if resume is None else Kept(checkpoint, resume, on_resume)
        run = train_and_test(data, settings, listener=Listener(on_batch, on_epoch), keep=keep)
    for name, tested in run.tested.items():
        # The last set there is: the test images, or without them the validation images.
        what = f"{len(data.sets[name])} {name} images, balanced accuracy {tested.scores['balanced_accuracy']:.3f}"
        confusion_picture(out / "confusion.png", tested.confusion, data.classes, title=what)
    saved = {"model": run.state, "name": settings.model, "classes": data.classes, "image_size": settings.image_size}
    torch.save(saved | {"epoch": run.best_epoch}, out / "model.pt")
    if settings.mixer is not None:
        _draw_mixed(data, settings, batch, curriculum, out / "mixed.png")
    if curriculum is not None:
        curriculum_picture(out / "curriculum.png", run.epochs)
    figures = {
        name: dict(tested.scores) | {"confusion": tested.confusion.tolist()} for name, tested in run.tested.items()
    }
    report = {
        "task": f"{len(data.classes)} classes: {', '.join(data.classes)}",
        "classes": list(data.classes),
        "folder": data.folder,
        "split": data.split,
        "images": {name: len(images) for name, images in data.sets.items()} | {"size": settings.image_size},
        "settings": asdict(settings) | {"batch_size": batch},
        "parameters": run.parameters,
        "epochs": run.epochs,
        "final": {"epoch": run.best_epoch} | figures,
        "images_left_out": dict(data.left_out),
        "notes": notes,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if resume is not None:
        checkpoint.remove()
    return report


def _draw_mixed(
    data: ImageData, settings: ImageSettings, batch: int, curriculum: Curriculum | None, path: Path
) -> None:
    """Draw some training images before and after mixing."""
    shown = alternating(data.train.labels, min(SHOWN, batch))
    files, labels = [data.train.files[number] for number in shown.tolist()], data.train.labels[shown]

    def nodes(plans: PlanSource) -> tuple[Any, Any, Any, Any]:
        source = ImageSource(
            files, labels, batch_size=len(files), image_size=settings.image_size, plans=plans, shuffle=False
        )
        batch_nodes = tiles(source)
        return batch_nodes.images, batch_nodes.labels, batch_nodes.tile, batch_nodes.plan

    draw_mixed(path, nodes, len(files), settings.image_size, data.classes, settings, curriculum)


def _line(entry: Mapping[str, float]) -> str:
    """One epoch for a person, in a terminal's usual width."""
    line = f"epoch {entry['epoch'] + 1:2d} {steering(entry)}loss {entry['train_loss']:.3f} "
    if "validation_loss" in entry:
        line += f"validation {entry['validation_loss']:.3f} balanced {entry['balanced_accuracy']:.3f} "
    return line + f"{entry['images_per_second']:.0f} images/s"
