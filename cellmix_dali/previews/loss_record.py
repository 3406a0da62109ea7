"""The loss of a training, epoch by epoch: recorded, or made up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._arguments import integer
from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..tables.columns import UserTable

__all__ = ["LossRecord", "made_up_losses", "read_losses"]

_FORMULA = "0.15 + 0.75 exp(-3.5 epoch / epochs) + 0.04 sin(2.1 epoch)"


@dataclass(frozen=True)
class LossRecord:
    """Mean losses a sample.

    Attributes
    ----------
    losses : tuple of float
        One per epoch.
    source : str
        Where they are from, for a person.
    """

    losses: tuple[float, ...]
    source: str


def made_up_losses(epochs: int) -> LossRecord:
    """Make losses up that fall as a training's often do, with a ripple, so that both outcomes of a test occur.

    Parameters
    ----------
    epochs : int
        How many, 1 or more.

    Returns
    -------
    LossRecord
        The formula is its source.
    """
    epochs = integer("epochs", epochs, low=1)
    losses = (0.15 + 0.75 * math.exp(-3.5 * epoch / epochs) + 0.04 * math.sin(2.1 * epoch) for epoch in range(epochs))
    return LossRecord(tuple(losses), f"made-up loss: {_FORMULA}")


def read_losses(path: str | Path, column: str = "loss") -> LossRecord:
    """Read the losses of a training from a CSV.

    Parameters
    ----------
    path : str or Path
        A CSV (UTF-8, commas, a header), one row per epoch, in order. With a column ``epoch``, its numbers must follow
        each other, and rows with an empty loss are passed over, so that logs with other rows in between can be read.
    column : str, default "loss"
        The column with the mean loss per sample.

    Returns
    -------
    LossRecord

    Raises
    ------
    ArgumentError
        If there is no such file or column, a loss is not a finite number, or an epoch is missing or is there twice.
    """
    from ..tables.columns import UserTable  # pyarrow: only where there is a file to read

    if column == "epoch":
        raise ArgumentError("column='epoch' holds the epochs' numbers: name the column with the losses.")
    try:
        table = UserTable(Path(path), (column,), ("epoch",))
    except ArgumentError as error:
        if f"no column {column!r}" not in str(error):
            raise
        raise ArgumentError(f"{error} Or name the column that holds the loss: column=..., --loss-column.") from error
    cells = table.text(column)
    numbers = table.text("epoch") if "epoch" in table else None
    losses: list[float] = []
    last: int | None = None
    for row, cell in enumerate(cells):
        if numbers is not None and not cell:
            continue
        try:
            loss = float(cell)
        except ValueError:
            loss = math.nan
        if not math.isfinite(loss):
            what = f"{column} is {cell!r}" if cell else f"column {column!r} is empty"
            table.fail(row, f"{what}. Give every epoch's mean loss per sample as a number.")
        if numbers is not None:
            epoch = _epoch(table, row, numbers[row])
            if last is not None and epoch != last + 1:
                table.fail(row, f"epoch {epoch} follows epoch {last}. Give one row per epoch, in order.")
            last = epoch
        losses.append(loss)
    if not losses:
        raise ArgumentError(f"Column {column!r} of {path} is empty in every row: there is no loss in it.")
    return LossRecord(tuple(losses), f"{column} of {Path(path).name}")


def _epoch(table: UserTable, row: int, cell: str) -> int:
    """A cell of the column epoch."""
    try:
        return int(cell)
    except ValueError:
        table.fail(row, f"epoch is {cell!r}. Give whole numbers, one row per epoch.")
