"""What the commands that train have in common: their options, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.console import Console
from rich.markup import escape

from ..curriculum.curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES, PatchStrategy, RatioStrategy
from ..mixing import METHODS
from ..training.settings import SCHEDULES, Schedule, TrainingSettings
from ._options import (
    BatchSize,
    Device,
    Epochs,
    Mean,
    Model,
    Pretrained,
    Probability,
    Std,
    Threshold,
    mixing_option,
    model_option,
    run_option,
)

if TYPE_CHECKING:
    from ..training import TrainingData

__all__ = [
    "KeptRunOptions",
    "MixingOptions",
    "ModelOptions",
    "RunOptions",
    "TileMixingOptions",
    "settings_of",
    "train_and_tell",
]


@dataclass(frozen=True)
class MixingOptions:
    """How batches are mixed."""

    method: Annotated[str, mixing_option(help=f"How samples are mixed: {', '.join(METHODS.names())}, or none.")] = (
        "CellMix-Group"
    )
    p: Probability = 0.5
    patch_strategy: Annotated[
        PatchStrategy,
        mixing_option(metavar="NAME", help=f"Patch sizes of CellMix over the epochs: {', '.join(PATCH_STRATEGIES)}."),
    ] = "loss_hold"
    ratio_strategy: Annotated[
        RatioStrategy,
        mixing_option(metavar="NAME", help=f"Fix ratio of CellMix over the epochs: {', '.join(RATIO_STRATEGIES)}."),
    ] = "loss_hold"
    patch_size: Annotated[
        int | None,
        mixing_option(help="Constant patch size in pixels; implies --patch-strategy fixed.", show_default=False),
    ] = None
    fix_ratio: Annotated[
        float | None,
        mixing_option(help="Constant share of patches that stay, from 0 to 1; implies --ratio-strategy fixed."),
    ] = None
    threshold: Threshold = 0.5
    augment: Annotated[
        str | None,
        mixing_option(
            metavar="NAME",
            help="Change training images before they are mixed: light, strong, dinov2, midnight, one augmentation by "
            "its name, a recipe (.yaml), or module:function.",
            show_default=False,
        ),
    ] = None
    augment_strength: Annotated[
        tuple[float, float] | None,
        mixing_option(
            metavar="FIRST LAST",
            help="How strong augmentations are in the first and in the last epoch, with CellMix's curriculum; 1 1 by "
            "default.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class TileMixingOptions(MixingOptions):
    """The same of tiles, whose slides are known."""

    stains: Annotated[
        str | None,
        mixing_option(
            metavar="FILE",
            help="Table of stains that `cellmix-dali stain` wrote: normalise all tiles, before anything else.",
            show_default=False,
        ),
    ] = None
    stain_target: Annotated[
        str, mixing_option(help="What --stains normalises to: median, a slide of the table, or a picture of tissue.")
    ] = "median"


@dataclass(frozen=True)
class ModelOptions:
    """What is trained, and how."""

    epochs: Epochs = 10
    batch_size: BatchSize = 32
    model: Model = "small_cnn"
    pretrained: Pretrained = False
    mean: Mean = None
    std: Std = None
    learning_rate: Annotated[
        float | None, model_option(help="Highest of the schedule; by default the model's own.")
    ] = None
    schedule: Annotated[
        Schedule,
        model_option(metavar="NAME", help=f"How the learning rate goes over the batches: {', '.join(SCHEDULES)}."),
    ] = "one-cycle"
    weight_decay: Annotated[float, model_option(help="Of AdamW.")] = 1e-2
    best: Annotated[
        bool,
        model_option(
            help="Keep the epoch with the best balanced accuracy on the validation samples, where there are some; or "
            "the last one."
        ),
    ] = True
    amp: Annotated[bool, model_option(help="Mixed precision on a GPU.")] = True


@dataclass(frozen=True)
class RunOptions:
    """Where a training runs, and what it writes."""

    out: Annotated[Path, run_option(help="Folder of the results.")] = Path("train-out")
    device: Device = "cpu"
    engine: Annotated[
        Literal["native", "numba"] | None,
        run_option(help="What mixes the pixels; the result is the same. By default the faster one."),
    ] = None
    seed: Annotated[int, run_option(min=0, help="Of slides, order, mixing and weights.")] = 0
    tensorboard: Annotated[
        bool, run_option("--tensorboard", help="Write TensorBoard's event files, too, where it is installed.")
    ] = False


@dataclass(frozen=True)
class KeptRunOptions(RunOptions):
    """The same, of a training that can go on where it was stopped."""

    resume: Annotated[
        bool, run_option("--resume", help="Go on where the training in --out was stopped, with the same options.")
    ] = False
    overwrite: Annotated[bool, run_option("--overwrite", help="Start anew, whatever training is in --out.")] = False


def settings_of(mixing: MixingOptions, model: ModelOptions, run: RunOptions) -> TrainingSettings:
    """Return what the options ask for; a constant implies the strategy "fixed"."""
    return TrainingSettings(
        **vars(mixing)
        | {
            "patch_strategy": mixing.patch_strategy if mixing.patch_size is None else "fixed",
            "ratio_strategy": mixing.ratio_strategy if mixing.fix_ratio is None else "fixed",
        },
        **vars(model),
        device=run.device,
        engine=run.engine,
        seed=run.seed,
        tensorboard=run.tensorboard,
    )


def train_and_tell(
    data: TrainingData[Any], settings: TrainingSettings, out: Path, console: Console, *, resume: bool | None = None
) -> None:
    """Train, and say what came out."""
    from ..training import run_training
    from ..training.metrics import figure
    from ..training.results import PICTURES

    unit = data.source.unit
    console.print(f"task: {escape(data.task)}", soft_wrap=True)
    sizes = ", ".join(f"{count} {name}" for name, count in data.counts.items())
    console.print(f"{unit}: {sizes}; {escape(data.split)}", soft_wrap=True)
    for file, reason in data.left_out.items():
        console.print(f"left out: {escape(file)}: {escape(reason)}", soft_wrap=True)
    report = run_training(data, settings, out, console, resume=resume)
    final = report["final"]
    chosen = "the best" if settings.best and data.validation is not None else "the last"
    console.print(f"model of epoch {final['epoch']}, {chosen}:")
    for name, figures in final.items():
        if name != "epoch":
            named = {"auroc": "AUROC", "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
            told = ", ".join(f"{named.get(key, key)} {figure(figures[key])}" for key in figures if key != "confusion")
            console.print(f"{name}: {told}", soft_wrap=True)
    if data.test is None and data.validation is not None:
        console.print(f"No test {unit}: figures of the {unit} that chose the epoch are a little too good.")
    met = report[unit]
    ways = {"direct": "directly", "openslide": "through OpenSlide", "shard": "from shards"}
    counted = [f"{count} {ways[way]}" for way, count in met.get("read", {}).items() if count]
    if counted:
        console.print(f"{unit} read: {', '.join(counted)}")
    if met.get("bad"):
        console.print(f"{len(met['bad'])} bad {unit} were replaced: see faults.jsonl")
    pictures = [name for name in PICTURES if (out / name).exists()]
    files = ["report.json", "log.csv", "model.pt", *pictures]
    console.print(f"written to {escape(str(out))}: {', '.join(files)}", soft_wrap=True)
