"""`cellmix-dali compare`: whether mixing helps on a user's own images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from ..errors import ArgumentError
from ._options import BatchSize, ClassColumn, Device, Epochs, ImageSize, Model, Only, Pretrained, SkipBadImages
from ._telling import SOME_FAILED, Display, duration, may_end_early, say

if TYPE_CHECKING:
    from ..comparison import ComparisonState

__all__ = ["compare"]

_SHOWN = 20  # failed runs that are named at the end


def compare(
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    folds: Annotated[
        Path, typer.Option(help="CSV with the columns path (within --images), class, fold, and optionally group.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for everything that is made. Runs that are finished there are not repeated.")
    ],
    only: Only = None,
    class_column: ClassColumn = "class",
    test_folds: Annotated[
        str | None, typer.Option(help="Folds to test on in turn, comma-separated; by default all.")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated: CellMix, CellMix-Group, CellMix-Random4, ..., CutMix, Mixup, Cutout, FMix, "
            "ResizeMix, SaliencyMix. Training without mixing, none, is always among them."
        ),
    ] = "none,CutMix,Mixup,CellMix-Group",
    curricula: Annotated[
        str,
        typer.Option(
            help="Of CellMix's methods, comma-separated: loss_hold, loss_back (patch size and fix ratio follow the "
            "loss), linear, reverse, random, loop (the patch size does, the ratio decays), off (both constant), or "
            "PATCH+RATIO such as linear+loss_hold."
        ),
    ] = "loss_hold",
    seeds: Annotated[int, typer.Option(min=1, help="So many runs of everything: seeds 0, 1, ...")] = 3,
    epochs: Epochs = 10,
    batch_size: BatchSize = 32,
    image_size: ImageSize = 224,
    model: Model = "small_cnn",
    pretrained: Pretrained = False,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            help="Highest of the cosine schedule; by default the model's own. Several, comma-separated: the validation "
            "fold chooses, for each arm and fold."
        ),
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-2,
    p: Annotated[
        str, typer.Option("--p", help="Probability that a batch is mixed, from 0 to 1; several: as --learning-rate.")
    ] = "0.5",
    against: Annotated[
        str,
        typer.Option(help="Arm that the report compares the others with, such as 'CellMix-Group, off' or 'CutMix'."),
    ] = "none",
    threshold: Annotated[
        str,
        typer.Option(
            help="Loss per sample at which the curriculum makes the next epoch harder; several: as --learning-rate."
        ),
    ] = "0.5",
    device: Device = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes; by default one a core, 1 on a GPU. Results do not depend on it. 0: none, for debugging.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch and DALI, a run.")] = 1,
    skip_bad_images: SkipBadImages = False,
) -> None:
    """Compare methods of mixing with training without, on folders of images that a list divides into folds.

    Every method is trained on every fold with every seed, with the same budget, initial weights and order of images.
    The next fold chooses the epoch, and values of which several are given; the test fold chooses nothing. Writes
    runs/ (a file a run), results.csv, differences.csv, report.md, report.json and pictures into --out. Called again, it
    does what is missing; methods, curricula, folds, seeds and values may be added. Exit code: 0 all good, 3 runs
    failed, 2 wrong use, 1 the comparison had to stop (a full disk).
    """
    console, errors = Console(), Console(stderr=True)
    from ..comparison import (
        AllRunsFailedError,
        ComparisonSettings,
        parse_curricula,
        parse_methods,
        parse_values,
        print_report,
    )
    from ..comparison import compare as run_comparison
    from ..training import default_learning_rate

    chosen = parse_methods(methods)
    if "none" not in [name.strip().lower() for name in methods.split(",")]:
        say(console, "none was added to --methods: it is what the others are compared with")
    rates = (default_learning_rate(model),) if learning_rate is None else parse_values("--learning-rate", learning_rate)
    settings = ComparisonSettings(
        images=images,
        folds=folds,
        only=only,
        class_column=class_column,
        test_folds=None if test_folds is None else _names(test_folds),
        skip_bad_images=skip_bad_images,
        methods=chosen,
        curricula=parse_curricula(curricula),
        seeds=seeds,
        learning_rate=rates,
        p=parse_values("--p", p),
        threshold=parse_values("--threshold", threshold),
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        model=model,
        pretrained=pretrained,
        weight_decay=weight_decay,
        device=device,
        threads=threads,
    )
    display = _Display(console)
    try:
        with may_end_early(errors, "Finished runs are kept: give the same command to go on."), display:
            result = run_comparison(
                settings, out, against=against, workers=workers, checking=display.checking, progress=display.show
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
    say(console, f"written to {escape(str(out))}: see report.md")
    if result.failed:
        sys.exit(SOME_FAILED)


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


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ArgumentError(f"--test-folds {text!r}: give at least one.")
    return names
