"""Which tiles of a collection train, choose the best epoch, and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..tables import TileTable

__all__ = ["Division", "Sides"]

_MOVED = ("split", "fold")  # columns that have said their part once the test tiles are taken out


class Sides(NamedTuple):
    """The tiles of each set, and for a person what was held out and what should be known."""

    train: TileTable
    validation: TileTable | None
    test: TileTable
    said: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Division:
    """How tiles are divided.

    Attributes
    ----------
    hold_out, fold
        What is tested on, see `cellmix_dali.tables.splits.split_tiles`.
    validation : float, default 0
        Share of the training's patients or slides that choose the best epoch; 0: none do, and the last epoch is kept.
        Where a column ``split`` says "val" and "test", the former do.
    validation_fold : str, optional
        Instead of a share: the fold that chooses the best epoch.
    seed : int, default 0
        Of the draws.
    """

    hold_out: float = 0.2
    fold: str | None = None
    validation: float = 0.0
    validation_fold: str | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot work before anything slow begins.

        Raises
        ------
        ArgumentError
            If a share is out of range, or both a share and a fold choose the best epoch.
        """
        if not 0 <= self.validation < 1:
            raise ArgumentError(
                f"validation={self.validation}: give the share of slides that choose the best epoch, below 1; 0: none."
            )
        if self.validation and self.validation_fold is not None:
            raise ArgumentError("Give a share of slides that choose the best epoch, or a fold: not both.")
        if self.validation_fold is not None and self.validation_fold == self.fold:
            raise ArgumentError(f"Fold {self.fold} is tested on: another one must choose the best epoch.")

    def of(self, table: TileTable, classes: Sequence[str]) -> Sides:
        """Divide tiles by whole slides or patients; of a single slide the right side is tested on.

        Parameters
        ----------
        table : TileTable
            With class indices as labels.
        classes : sequence of str
            Their names.

        Raises
        ------
        ArgumentError
            See `cellmix_dali.tables.splits.split_tiles`; or if there are too few slides to choose the best epoch by.
        """
        from ..tables.splits import split_tiles  # pyarrow: only where there is something to divide

        self.check()
        divided = split_tiles(table, self.hold_out, classes=classes, fold=self.fold, seed=self.seed)
        train, validation, said, notes = divided.train, divided.validation, divided.said, divided.notes
        if self.validation_fold is not None or (self.validation and validation is None):
            drop = [name for name in _MOVED if name in train.arrow.column_names]
            if self.validation_fold is None:
                train = type(table)(train.arrow.drop_columns(drop))
            again = split_tiles(
                train, self.validation or 0.5, classes=classes, fold=self.validation_fold, seed=self.seed
            )
            train, validation, notes = again.train, again.test, (*notes, *again.notes)
            said += f"; of the rest {again.said.replace('held out', 'choose the best epoch')}"
        elif validation is not None:
            said += "; the slides with split 'val' choose the best epoch"
        return Sides(train, validation, divided.test, said, notes)

    def of_one_slide(self, table: TileTable) -> Sides:
        """Divide one slide's tiles: none that is trained on overlaps those at the right that are tested on.

        Raises
        ------
        ArgumentError
            If some are to choose the best epoch: one slide has no third part.
        """
        self.check()
        if self.validation or self.validation_fold is not None:
            raise ArgumentError("The tiles are of one slide: no other slide can choose the best epoch.")
        train, test = _left_and_right(table)
        said = "held out: the right side of the one slide (tiles of one slide resemble each other: use several slides)"
        return Sides(train.select(train.x + train.size <= test.x.min()), None, test, said, ())


def _left_and_right(table: TileTable) -> tuple[TileTable, TileTable]:
    """Split one slide's tiles: at its right side about a fifth of them, or more until both classes are there."""
    columns = np.unique(table.x)
    held_out = table.x >= columns[-1]
    for column in columns[::-1]:
        held_out = table.x >= column
        labels = table.label[held_out] if table.label is not None else np.empty(0)
        if held_out.mean() >= 0.2 and len(np.unique(labels)) > 1:
            break
    return table.select(~held_out), table.select(held_out)
