"""A training run on image files: epochs under the curriculum, the best one kept, and one look at the test images."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ..curriculum import Curriculum
from ..pictures import curriculum_picture
from ..pipelines import ImageLoader, evaluate_image_loader, train_image_loader
from ..pipelines.images import ImageSource
from ..plugins import PlanSource
from .epoch_log import EpochLog
from .images import ImageData, ImageSet
from .loop import answers, progress_bar, reporter, steering, train_epoch, versions
from .metrics import confusion_matrix, confusion_picture, scores
from .mixed import SHOWN, alternating, draw_mixed
from .models import make_model
from .settings import ImageSettings, check_image_settings, fitting_batch_size

__all__ = ["run_image_training"]

_WARM_UP = 0.05  # share of the steps in which the learning rate rises


def run_image_training(data: ImageData, settings: ImageSettings, out: Path, console: Console) -> dict[str, Any]:
    """Train, choose the best epoch, test once; write report.json, log.csv, model.pt and the pictures.

    The pictures: confusion.png, mixed.png (with a mixing method) and curriculum.png (with one of CellMix's). The best
    epoch is that with the highest balanced accuracy on the validation images, of equal ones that with the lower loss.
    The test images are looked at once, by the model that is kept. The same seed gives the same initial weights, the
    same order of images and the same flips whatever the method.

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

    Returns
    -------
    dict
        The report, as it was written.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work, or the training diverges.
    """
    started = time.perf_counter()
    curriculum = check_image_settings(settings)
    batch = fitting_batch_size(settings, len(data.train))
    device = torch.device("cuda" if settings.device == "gpu" else "cpu")
    torch.manual_seed(settings.seed)
    model = make_model(settings.model, len(data.classes), settings.image_size, pretrained=settings.pretrained)
    model.to(device)
    with (
        EpochLog(out, tensorboard=settings.tensorboard) as log,
        _train_loader(data, settings, batch, curriculum) as loader,
    ):
        epochs, best = _train(model, loader, data.validation, settings, batch, curriculum, device, console, log)
    held_out = {name: images for name, images in data.sets.items() if name != "train"}
    final: dict[str, Any] = {"epoch": best}
    for name, images in held_out.items():
        with _evaluate_loader(images, settings, batch) as test_loader:
            logits, labels = answers(model, test_loader, device)
        matrix = confusion_matrix(logits, labels)
        final[name] = scores(logits, labels) | {"confusion": matrix.tolist()}
        # The last set there is: the test images, or without them the validation images.
        what = f"{len(images)} {name} images, balanced accuracy {final[name]['balanced_accuracy']:.3f}"
        confusion_picture(out / "confusion.png", matrix, data.classes, title=what)
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    saved = {"model": state, "name": settings.model, "classes": data.classes, "image_size": settings.image_size}
    torch.save(saved | {"epoch": best}, out / "model.pt")

    if settings.mixer is not None:
        _draw_mixed(data, settings, batch, curriculum, out / "mixed.png")
    if curriculum is not None:
        curriculum_picture(out / "curriculum.png", epochs)
    report = {
        "task": f"{len(data.classes)} classes: {', '.join(data.classes)}",
        "classes": list(data.classes),
        "folder": data.folder,
        "split": data.split,
        "images": {name: len(images) for name, images in data.sets.items()} | {"size": settings.image_size},
        "settings": asdict(settings) | {"batch_size": batch},
        "parameters": sum(value.numel() for value in model.parameters()),
        "epochs": epochs,
        "final": final,
        "images_left_out": dict(data.left_out),
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _train(
    model: nn.Module,
    loader: ImageLoader,
    validation: ImageSet | None,
    settings: ImageSettings,
    batch: int,
    curriculum: Curriculum | None,
    device: torch.device,
    console: Console,
    log: EpochLog,
) -> tuple[list[dict[str, Any]], int]:
    """Train; leave the model as it was in the best epoch, or in the last one. Give all epochs and which one it is."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, steps))
    scaler = torch.amp.GradScaler(device.type) if settings.amp and device.type == "cuda" else None
    held_out = None if validation is None else _evaluate_loader(validation, settings, batch)
    epochs: list[dict[str, Any]] = []
    best, kept = settings.epochs - 1, None
    with progress_bar(console) as progress:
        bar = progress.add_task("training", total=steps, line="")
        for epoch in range(settings.epochs):
            entry: dict[str, Any] = {"epoch": epoch, "learning_rate": schedule.get_last_lr()[0]}
            if curriculum is not None:
                entry["patch_size"] = curriculum.patch_size
                entry["fix_ratio"] = curriculum.fix_ratio
                entry["threshold"] = curriculum.threshold
            tell = reporter(progress, bar, "images", entry)
            entry |= train_epoch(model, loader, optimizer, schedule, device, tell, scaler=scaler)
            entry["images_per_second"] = entry.pop("tiles_per_second")
            if curriculum is not None:
                curriculum.step(entry["train_loss"])
            if held_out is not None:
                figures = scores(*answers(model, held_out, device))
                entry |= {"validation_loss": figures.pop("loss")} | figures
            epochs.append(entry)
            log.add(entry)
            progress.console.print(_line(entry))
            if settings.best and held_out is not None and entry is max(epochs, key=_goodness):
                best, kept = epoch, copy.deepcopy(model.state_dict())
    if kept is not None:
        model.load_state_dict(kept)
    return epochs, best


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Give the learning rate's share of its highest: it rises for a twentieth of the steps, then falls as a cosine.

    Half a cosine's period down to zero, without restarts (Loshchilov & Hutter, "SGDR", ICLR 2017).
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _goodness(entry: Mapping[str, float]) -> tuple[float, float]:
    """What makes an epoch the best one."""
    return entry["balanced_accuracy"], -entry["validation_loss"]


def _train_loader(data: ImageData, settings: ImageSettings, batch: int, curriculum: Curriculum | None) -> ImageLoader:
    return train_image_loader(
        data.train.files,
        data.train.labels,
        num_classes=len(data.classes),
        batch_size=batch,
        image_size=settings.image_size,
        curriculum=curriculum,
        method=settings.mixer,
        p=settings.p,
        device=settings.device,
        engine=settings.engine,
        seed=settings.seed,
    )


def _evaluate_loader(images: ImageSet, settings: ImageSettings, batch: int) -> ImageLoader:
    return evaluate_image_loader(
        images.files,
        images.labels,
        batch_size=batch,
        image_size=settings.image_size,
        device=settings.device,
        engine=settings.engine,
    )


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
        batch_nodes = source.nodes()
        return batch_nodes.images, batch_nodes.labels, batch_nodes.item, batch_nodes.plan

    draw_mixed(path, nodes, len(files), settings.image_size, data.classes, settings, curriculum)


def _line(entry: Mapping[str, float]) -> str:
    """One epoch for a person, in a terminal's usual width."""
    line = f"epoch {entry['epoch'] + 1:2d} {steering(entry)}loss {entry['train_loss']:.3f} "
    if "validation_loss" in entry:
        line += f"validation {entry['validation_loss']:.3f} balanced {entry['balanced_accuracy']:.3f} "
    return line + f"{entry['images_per_second']:.0f} images/s"
