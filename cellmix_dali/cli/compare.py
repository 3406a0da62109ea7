"""`cellmix-dali compare`: whether mixing helps on a user's own slides, tiles or images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from ..errors import ArgumentError
from ..mixing import METHODS
from ._grouped import takes
from ._hints import expect
from ._options import (
    BatchSize,
    ClassColumn,
    Device,
    Epochs,
    ImageSize,
    IndexFile,
    Mean,
    Model,
    Only,
    Pretrained,
    SkipBadImages,
    SkipBadSlides,
    Std,
    StoreOptions,
    TileSize,
    data_option,
    mixing_option,
    model_option,
    run_option,
)
from ._telling import SOME_FAILED, Display, duration, may_end_early, say
from .train import RecipeOptions, TrainGroup

if TYPE_CHECKING:
    from ..comparison import ComparedData, ComparisonSettings, ComparisonState

__all__ = ["compare"]

_SHOWN = 20  # failed runs that are named at the end


compare = typer.Typer(
    help="Compare methods of mixing with training without, on slides, finished tiles or images in folds.",
    cls=TrainGroup,
    no_args_is_help=True,
)


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared, and how every run trains."""

    out: Annotated[
        Path, run_option(help="Folder for everything that is made. Runs that are finished there are not repeated.")
    ]
    test_folds: Annotated[
        str | None, data_option(help="Folds to test on in turn, comma-separated; by default all.")
    ] = None
    methods: Annotated[
        str,
        mixing_option(
            help=f"Comma-separated: {', '.join(METHODS.names())}. Training without mixing, none, is always among them."
        ),
    ] = "none,CutMix,Mixup,CellMix-Group"
    curricula: Annotated[
        str,
        mixing_option(
            help="Of CellMix's methods, comma-separated: loss_hold, loss_back (patch size and fix ratio follow the "
            "loss), linear, reverse, random, loop (the patch size does, the ratio decays), off (both constant), or "
            "PATCH+RATIO such as linear+loss_hold."
        ),
    ] = "loss_hold"
    augmentations: Annotated[
        str,
        mixing_option(
            help="Comma-separated: light, strong, dinov2, midnight, one augmentation by its name, a recipe (.yaml) or "
            "module:object. Every method is trained under each, and without, none."
        ),
    ] = "none"
    p: Annotated[
        str, mixing_option("--p", help="Probability that a batch is mixed, from 0 to 1; several: as --learning-rate.")
    ] = "0.5"
    threshold: Annotated[
        str,
        mixing_option(
            help="Loss per sample at which the curriculum makes the next epoch harder; several: as --learning-rate."
        ),
    ] = "0.5"
    against: Annotated[
        str,
        mixing_option(
            help="Arm that the report compares the others with, such as 'CellMix-Group, off', 'hed_jitter' or "
            "'CutMix + hed_jitter'."
        ),
    ] = "none"
    also_test: Annotated[
        str | None,
        data_option(
            help="Augmentations, comma-separated as --augmentations: the test images are tested under each once more, "
            "such as under other stains."
        ),
    ] = None
    seeds: Annotated[int, run_option(min=1, help="So many runs of everything: seeds 0, 1, ...")] = 3
    epochs: Epochs = 10
    batch_size: BatchSize = 32
    model: Model = "small_cnn"
    pretrained: Pretrained = False
    mean: Mean = None
    std: Std = None
    learning_rate: Annotated[
        str | None,
        model_option(
            help="Highest of the cosine schedule; by default the model's own. Several, comma-separated: the validation "
            "fold chooses, for each arm and fold."
        ),
    ] = None
    weight_decay: Annotated[float, model_option(help="Of AdamW.")] = 1e-2
    device: Device = "cpu"
    workers: Annotated[
        int | None,
        run_option(
            min=0,
            help="Processes; by default one per core, 1 on a GPU. Results do not depend on it. 0: none, for debugging.",
        ),
    ] = None
    threads: Annotated[int, run_option(min=1, help="Of PyTorch and DALI, per run.")] = 1


@compare.command()
@takes()
def images(
    folder: Annotated[Path, typer.Argument(help="Folder of the images.")],
    folds: Annotated[
        Path,
        data_option(help="CSV with the columns path (within the folder), class, fold, and optionally group."),
    ],
    only: Only = None,
    class_column: ClassColumn = "class",
    image_size: ImageSize = 224,
    skip_bad_images: SkipBadImages = False,
    *,
    asked: CompareOptions,
) -> None:
    """Compare on folders of images that a list divides into folds.

    Every method is trained on every fold with every seed, with the same budget, initial weights and order of samples.
    The next fold chooses the epoch, and among several values of an option; the test fold chooses nothing. Writes
    runs/ (a file per run), results.csv, differences.csv, report.md, report.json and pictures into --out. Called again,
    it does what is missing; methods, curricula, folds, seeds and values may be added. Exit code: 0 all good, 3 runs
    failed, 2 wrong use, 1 the comparison had to stop (a full disk).
    """
    from ..comparison import ComparedImages

    _compare(
        "images",
        ComparedImages(
            images=folder,
            folds=folds,
            only=only,
            class_column=class_column,
            size=image_size,
            skip_bad_images=skip_bad_images,
        ),
        asked,
    )


@compare.command()
@takes(StoreOptions)
def slides(
    slide_list: Annotated[
        Path, typer.Argument(help="CSV with the columns 'slide' (path), 'label', 'fold', and optionally 'patient'.")
    ],
    asked: CompareOptions,
    tiles: RecipeOptions,
    skip_bad_slides: SkipBadSlides = False,
    index: IndexFile = None,
) -> None:
    """Compare on tiles of a list of slides with a column 'fold', as `compare images` does."""
    recipe = tiles.recipe()
    from ..comparison import ComparedSlides

    _compare(
        "slides",
        ComparedSlides(
            place=slide_list,
            recipe=recipe,
            mixed_resolutions=tiles.mixed_resolutions,
            skip_bad_slides=skip_bad_slides,
            index=index or asked.out / "collection.index",
            workers=asked.workers,
        ),
        asked,
    )


@compare.command()
@takes(StoreOptions)
def tiles(
    folder: Annotated[Path, typer.Argument(help="The folder that `cellmix-dali tile --out` wrote.")],
    asked: CompareOptions,
    tile_size: TileSize = None,
) -> None:
    """Compare on finished tiles whose list of slides had a column 'fold', as `compare images` does."""
    from ..comparison import ComparedTiles

    _compare("tiles", ComparedTiles(place=folder, tile_size=tile_size), asked)


def _compare(kind: str, data: ComparedData, asked: CompareOptions) -> None:
    """Do the runs, and say what came out."""
    console, errors = Console(), Console(stderr=True)
    settings = _settings(data, asked, console)
    settings.check(data.size, asked.against)
    expect(kind, data.place, "compare")
    from ..comparison import AllRunsFailedError, compare as run_comparison, print_report  # takes seconds

    display = _Display(console)
    try:
        with may_end_early(errors, "Finished runs are kept: give the same command to go on."), display:
            result = run_comparison(
                settings,
                asked.out,
                against=asked.against,
                workers=asked.workers,
                checking=display.checking,
                progress=display.show,
            )
    except AllRunsFailedError as error:
        say(errors, f"[bold red]Error:[/] {escape(str(error))}")
        sys.exit(SOME_FAILED)
    for note in result.notes:
        say(console, escape(note))
    print_report(result.report, console)
    if result.failed:
        say(console, f"[red]{len(result.failed):,} runs failed:[/]")
        for name, reason in list(result.failed.items())[:_SHOWN]:
            say(console, f"  {escape(name)}: {escape(reason)}")
        if len(result.failed) > _SHOWN:
            say(console, f"  and {len(result.failed) - _SHOWN:,} more: see report.md")
    say(console, f"written to {escape(str(asked.out))}: see report.md")
    if result.failed:
        sys.exit(SOME_FAILED)


def _settings(data: ComparedData, asked: CompareOptions, console: Console) -> ComparisonSettings:
    """Return what the options ask for."""
    from ..comparison import ComparisonSettings, parse_augmentations, parse_curricula, parse_methods, parse_values
    from ..training import default_learning_rate

    chosen = parse_methods(asked.methods)
    if "none" not in [name.strip().lower() for name in asked.methods.split(",")]:
        say(console, "none was added to --methods: it is what the others are compared with")
    rates: tuple[float, ...] = (default_learning_rate(asked.model),)
    if asked.learning_rate is not None:
        rates = parse_values("--learning-rate", asked.learning_rate)
    return ComparisonSettings(
        data=data,
        test_folds=None if asked.test_folds is None else _names("--test-folds", asked.test_folds),
        methods=chosen,
        curricula=parse_curricula(asked.curricula),
        augmentations=parse_augmentations(asked.augmentations),
        also_test=() if asked.also_test is None else _names("--also-test", asked.also_test),
        seeds=asked.seeds,
        learning_rate=rates,
        p=parse_values("--p", asked.p),
        threshold=parse_values("--threshold", asked.threshold),
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        model=asked.model,
        pretrained=asked.pretrained,
        mean=asked.mean,
        std=asked.std,
        weight_decay=asked.weight_decay,
        device=asked.device,
        threads=asked.threads,
    )


class _Display(Display):
    """Shows how far a comparison is: a bar, or a line for each run that ends."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
        )
        if self.bars is not None:
            self._bar = self.bars.add_task("images", total=None, text="decoding every one once")

    def checking(self, done: int, images: int) -> None:
        """Show how many images are checked."""
        if self.bars is not None:
            self.bars.update(self._bar, completed=done, total=images)

    def show(self, state: ComparisonState) -> None:
        """Show a state."""
        left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
        told = "starting" if state.last is None and state.last_failed is None else ""
        if state.last_failed is not None:
            say(self.console, f"[red]failed:[/] {escape(state.last_failed[0])}: {escape(state.last_failed[1])}")
        if state.last is not None:
            run = state.last
            told = (
                f"{run.arm}, fold {run.fold}, seed {run.seed}: balanced accuracy "
                f"{run.test['balanced_accuracy']:.3f} ({run.seconds:.0f} s)"
            )
        ended = state.done + state.failed
        if self.bars is not None:
            self.bars.update(
                self._bar, description="runs", completed=ended, total=state.runs, text=escape(f"{told}{left}")
            )
        else:
            say(self.console, f"{ended:,} of {state.runs:,} runs{left}" + (f": {escape(told)}" if told else ""))


def _names(option: str, text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ArgumentError(f"{option} {text!r}: give at least one.")
    return names
