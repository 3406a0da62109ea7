"""What the commands that train have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from ..training import ImageData, ImageSettings, TrainingData, TrainingSettings

__all__ = ["train_and_tell", "train_on_images_and_tell", "training_settings"]


def training_settings(
    epochs: int,
    batch_size: int,
    method: str,
    p: float,
    patch_strategy: str,
    ratio_strategy: str,
    patch_size: int | None,
    fix_ratio: float | None,
    threshold: float,
    device: str,
    engine: str | None,
    seed: int,
    verify: str = "headers",
) -> TrainingSettings:
    """The options that both trainings share, as settings; a constant implies the strategy "fixed"."""
    from ..training import TrainingSettings

    return TrainingSettings(
        epochs=epochs,
        batch_size=batch_size,
        method=method,
        p=p,
        patch_strategy=patch_strategy if patch_size is None else "fixed",
        ratio_strategy=ratio_strategy if fix_ratio is None else "fixed",
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        threshold=threshold,
        device=device,
        engine=engine,
        seed=seed,
        verify=verify,
    )


def train_and_tell(
    data: TrainingData, settings: TrainingSettings, out: Path, console: Console, *, resume: bool | None = None
) -> None:
    """Train, and say what came out."""
    from ..training import run_training
    from ..training.metrics import figure

    console.print(f"task: {escape(data.task)}", soft_wrap=True)
    console.print(
        f"tiles: {len(data.train)} to train on, {len(data.test)} to test on; {escape(data.split)}", soft_wrap=True
    )
    report = run_training(data, settings, out, console, resume=resume)
    final, read = report["final"], report["tiles_read"]
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "auroc": "AUROC"}
    console.print(
        f"held-out {', '.join(f'{name} {figure(final[key])}' for key, name in names.items())}", soft_wrap=True
    )
    ways = {"direct": "directly", "openslide": "through OpenSlide", "shard": "from shards"}
    counted = [f"{read[way]} {words}" for way, words in ways.items() if read.get(way)]
    console.print(f"tiles read: {', '.join(counted)}")
    if report["bad_tiles"]:
        console.print(f"{len(report['bad_tiles'])} bad tiles were replaced: see faults.jsonl")
    console.print(f"written to {escape(str(out))}: report.json, mixed.png, curriculum.png, model.pt", soft_wrap=True)


def train_on_images_and_tell(
    data: ImageData, settings: ImageSettings, out: Path, console: Console, *, resume: bool | None = None
) -> None:
    """Train on image files, and say what came out."""
    from ..training import run_image_training

    sizes = ", ".join(f"{len(images)} {name}" for name, images in data.sets.items())
    console.print(f"classes: {escape(', '.join(data.classes))}", soft_wrap=True)
    console.print(f"images: {sizes}; {escape(data.split)}", soft_wrap=True)
    for file, reason in data.left_out.items():
        console.print(f"left out: {escape(file)}: {escape(reason)}", soft_wrap=True)
    report = run_image_training(data, settings, out, console, resume=resume)
    final = report["final"]
    chosen = "the best" if settings.best and data.validation is not None else "the last"
    console.print(f"model of epoch {final['epoch'] + 1}, {chosen}:")
    for name, figures in final.items():
        if name != "epoch":
            told = ", ".join(f"{key.replace('_', ' ')} {figures[key]:.3f}" for key in figures if key != "confusion")
            console.print(f"{name}: {told}", soft_wrap=True)
    if data.test is None:
        console.print("No test images: figures of the images that chose the epoch are a little too good.")
    pictures = [name for name in ("mixed.png", "curriculum.png") if (out / name).exists()]
    files = ["report.json", "log.csv", "model.pt", "confusion.png", *pictures]
    console.print(f"written to {escape(str(out))}: {', '.join(files)}", soft_wrap=True)
