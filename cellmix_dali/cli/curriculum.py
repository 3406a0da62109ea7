"""`cellmix-dali curriculum`: what each strategy of the curriculum would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import ArgumentError
from ._options import Threshold
from ._picture_file import PictureOut, ready_picture_file

if TYPE_CHECKING:
    from ..previews import LossRecord, StrategyRuns

__all__ = ["curriculum"]

_EPOCHS = 50
_COLUMNS = 9  # epochs in the printed table


def curriculum(
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help=f"Epochs of the training; by default as many as --loss-csv holds, else {_EPOCHS}."),
    ] = None,
    tile_size: Annotated[int, typer.Option(min=2, help="Side of a tile in pixels.")] = 384,
    token_size: Annotated[
        int, typer.Option(min=1, help="Side of the model's tokens in pixels; patch sizes are multiples of it.")
    ] = 16,
    loss_csv: Annotated[
        Path | None,
        typer.Option(help="CSV with a row per epoch and a column 'loss' (mean per sample), optionally 'epoch'."),
    ] = None,
    loss_column: Annotated[str, typer.Option(help="The column of --loss-csv with the loss.")] = "loss",
    patch_strategy: Annotated[
        list[str] | None, typer.Option(help="A strategy for the patch size; may be given several times. Default: all.")
    ] = None,
    ratio_strategy: Annotated[
        list[str] | None, typer.Option(help="A strategy for the fix ratio; may be given several times. Default: all.")
    ] = None,
    threshold: Threshold = 0.5,
    threshold_factor: Annotated[
        float, typer.Option(help="What the threshold is multiplied by after every epoch that was learned.")
    ] = 0.933,
    basic_ratio: Annotated[
        float, typer.Option(help="Fix ratio of the warm-up; its bounds are max(0.5 b, 0.2) and min(3 b, 0.9).")
    ] = 0.5,
    warmup_epochs: Annotated[int, typer.Option(min=0, help="Epochs at the start in which the loss moves nothing.")] = 0,
    patch_size: Annotated[
        int | None, typer.Option(help='Patch size of "fixed" in pixels; default: nearest to 32.')
    ] = None,
    fix_ratio: Annotated[
        float | None, typer.Option(help='Fix ratio of "fixed", from 0 to 1; default: the basic ratio.')
    ] = None,
    jump: Annotated[
        str | None, typer.Option(help="Every second patch size: odd (from the smallest), or even (the others).")
    ] = None,
    loop_epochs: Annotated[int, typer.Option(min=1, help='Epochs that "loop" stays at one patch size.')] = 3,
    seed: Annotated[int, typer.Option(min=0, help='Of "random".')] = 0,
    out: PictureOut = Path("curriculum.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print every epoch as JSON instead of a table.")] = False,
) -> None:
    """Show what each strategy for patch size and fix ratio would do, epoch by epoch, on a recorded or a made-up loss.

    A recorded loss is that of the training it is from: under another strategy it would have been another. Writes a
    picture to --out and prints a table.
    """
    from ..curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES
    from ..previews import made_up_losses, read_losses, run_strategies

    record = made_up_losses(epochs or _EPOCHS) if loss_csv is None else read_losses(loss_csv, loss_column)
    planned = epochs or len(record.losses)
    runs = run_strategies(
        record.losses[:planned],
        epochs=planned,
        tile_size=tile_size,
        token_size=token_size,
        patch_strategies=_strategies(patch_strategy, PATCH_STRATEGIES, patch_size),
        ratio_strategies=_strategies(ratio_strategy, RATIO_STRATEGIES, fix_ratio),
        basic_ratio=basic_ratio,
        threshold=threshold,
        threshold_factor=threshold_factor,
        warmup_epochs=warmup_epochs,
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        jump=jump,
        loop_epochs=loop_epochs,
        seed=seed,
    )
    ready_picture_file(out)
    _draw(out, runs, record, f"tiles of {tile_size} px, tokens of {token_size} px, {planned} epochs")
    if as_json:
        typer.echo(json.dumps(_as_json(runs, record, planned), indent=2))
        return
    console = Console()
    console.print(_table(runs))
    console.print(escape(record.source), soft_wrap=True)
    shown, held = len(runs.losses), len(record.losses)
    if shown < planned:
        console.print(f"It ends after {shown} of the {planned} epochs, and so does what is shown.", soft_wrap=True)
    elif held > shown:
        console.print(f"It goes on to {held} epochs; the first {shown} are shown.", soft_wrap=True)
    console.print(f"written to {escape(str(out))}", soft_wrap=True)


def _strategies(given: list[str] | None, known: tuple[str, ...], fixed: float | None) -> tuple[str, ...]:
    """The strategies asked for, each once; a constant goes with "fixed" alone."""
    if given and fixed is not None and "fixed" not in given:
        raise ArgumentError(
            f"The constant {fixed:g} is of the strategy 'fixed', which is not among those asked for "
            f"({', '.join(given)}): add it, or leave the constant out."
        )
    return tuple(dict.fromkeys(given)) if given else known


def _draw(out: Path, runs: StrategyRuns, record: LossRecord, what: str) -> None:
    from ..pictures import strategies_picture

    strategies_picture(
        out,
        losses=runs.losses,
        thresholds=runs.thresholds,
        learned=runs.learned,
        patch_sizes=runs.patch_sizes,
        fix_ratios=runs.fix_ratios,
        source=record.source,
        title=f"What each strategy would do: {what}",
        warmup_epochs=runs.warmup_epochs,
    )


def _table(runs: StrategyRuns) -> Table:
    """Some epochs, evenly spread, the first and the last among them."""
    last = len(runs.losses) - 1
    epochs = sorted({round(last * step / (_COLUMNS - 1)) for step in range(_COLUMNS)})
    table = Table("epoch", *map(str, epochs), box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"

    def rows(values: dict[str, list[str]]) -> None:
        for name, cells in values.items():
            table.add_row(name, *(cells[epoch] for epoch in epochs))
        table.add_section()

    rows({"loss": [f"{loss:.2f}" for loss in runs.losses], "threshold": [f"{of:.2f}" for of in runs.thresholds]})
    table.add_row("[bold]patch size")
    rows({name: [str(size) for size in sizes] for name, sizes in runs.patch_sizes.items()})
    table.add_row("[bold]fix ratio")
    rows({name: [f"{ratio:.2f}" for ratio in ratios] for name, ratios in runs.fix_ratios.items()})
    return table


def _as_json(runs: StrategyRuns, record: LossRecord, planned: int) -> dict[str, object]:
    """Every epoch of every strategy."""
    return {
        "epochs": planned,
        "loss_source": record.source,
        "loss": runs.losses,
        "threshold": runs.thresholds,
        "learned": runs.learned,
        "patch_sizes_offered": runs.offered,
        "patch_size": runs.patch_sizes,
        "fix_ratio": runs.fix_ratios,
    }
