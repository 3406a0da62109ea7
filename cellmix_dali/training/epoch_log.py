"""What a run writes after each epoch: a line of log.csv, and TensorBoard's figures where they are asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import needing

__all__ = ["EpochLog"]


class EpochLog:
    """Writes each epoch's figures when they are known, so that a run that stops leaves what it had.

    Parameters
    ----------
    folder : Path
        Where log.csv is written, anew; it must exist.
    tensorboard : bool, default False
        Whether to write TensorBoard's event files into the folder, too.

    Raises
    ------
    MissingDependencyError
        If TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self._path = folder / "log.csv"
        self._path.write_text("", encoding="utf-8")
        self._board = _board(folder) if tensorboard else None

    def add(self, entry: Mapping[str, float | None]) -> None:
        """Write one epoch; all epochs have the same figures."""
        first = not self._path.stat().st_size
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(entry))
            if first:
                writer.writeheader()
            writer.writerow(entry)
        if self._board is not None:
            for name, value in entry.items():
                if name != "epoch" and value is not None:
                    self._board.add_scalar(name, value, entry["epoch"])

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _board(folder: Path) -> Any:
    remedy = "Install it (pip install tensorboard), or leave the option out: log.csv has the same figures."
    with needing("--tensorboard needs TensorBoard", remedy):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder))
