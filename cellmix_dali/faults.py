"""Tiles that cannot be read: what is done about them, and what is said."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import SlideError, unknown_name
from .mixing.random import generator
from .tiles import TileTable

__all__ = ["ON_ERROR", "Fault", "FaultLog", "Substitutes"]

ON_ERROR = ("replace", "raise")

_STREAM = 3  # keeps the substitutes' random numbers apart from the others under one seed
_TRIES = 32


@dataclass(frozen=True)
class Fault:
    """One tile that could not be read.

    Attributes
    ----------
    tile : int
        Row of the tile table.
    slide : str
        Path of the slide.
    level, x, y, size : int
        Which window of it.
    reason : str
        What is wrong.
    replaced_by : int or None
        Row of the tile that took its place when the fault was first met.
    """

    tile: int
    slide: str
    level: int
    x: int
    y: int
    size: int
    reason: str
    replaced_by: int | None


class FaultLog:
    """Keeps each bad tile once, and writes it to a file of JSON lines if there is one.

    Parameters
    ----------
    table : TileTable
        The tiles.
    path : Path, optional
        File to which each fault is appended, as one JSON object a line; what it names already is not appended again.
    """

    def __init__(self, table: TileTable, path: str | Path | None = None) -> None:
        self._table = table
        self._path = None if path is None else Path(path)
        self._faults: dict[int, Fault] = {}
        self._written = self._already_written()

    def __contains__(self, row: int) -> bool:
        return row in self._faults

    def all(self) -> list[Fault]:
        """Give the faults, in the order in which they were met."""
        return list(self._faults.values())

    def add(self, row: int, reason: str, replaced_by: int | None) -> None:
        """Note a bad tile; one that is known already is not noted again."""
        if row in self._faults:
            return
        table = self._table
        fault = Fault(
            tile=row,
            slide=table.slides[table.slide[row]],
            level=int(table.level[row]),
            x=int(table.x[row]),
            y=int(table.y[row]),
            size=int(table.size[row]),
            reason=reason,
            replaced_by=replaced_by,
        )
        self._faults[row] = fault
        if self._path is not None and _place(asdict(fault)) not in self._written:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(fault)) + "\n")

    def _already_written(self) -> set[tuple[object, ...]]:
        """Places that the file names already: a run that resumes does not report them again."""
        if self._path is None or not self._path.is_file():
            return set()
        places, text = set(), self._path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):  # a crash cut the last line short: the next begins on its own
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")
        for line in text.splitlines():
            try:
                places.add(_place(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue
        return places


def _place(fault: dict[str, Any]) -> tuple[object, ...]:
    """What makes a fault the same one in another run."""
    return tuple(fault[name] for name in ("slide", "level", "x", "y", "size"))


class Substitutes:
    """Draws the tiles that take the place of bad ones: of the same class, a pure function of (seed, epoch, bad tile).

    Parameters
    ----------
    table : TileTable
        The tiles. Of soft labels, the greatest share is the class; without labels every tile is of the same class.
    on_error : {"replace", "raise"}
        Whether bad tiles are replaced at all.
    seed : int
        Of the draw.

    Raises
    ------
    ArgumentError
        If `on_error` is neither.
    """

    def __init__(self, table: TileTable, *, on_error: str, seed: int) -> None:
        if on_error not in ON_ERROR:
            raise unknown_name("on_error", on_error, ON_ERROR)
        self.replacing = on_error == "replace"
        self._table = table
        self._seed = seed

    def rows(self, row: int, epoch: int, reason: str) -> list[int]:
        """Give the rows to try, in order, in the place of a bad one.

        Raises
        ------
        SlideError
            With the reason, if bad tiles are not replaced.
        """
        where = self._table.describe(row)
        if not self.replacing:
            raise SlideError(f"A tile cannot be read ({where}): {reason} Use on_error='replace' to go on without it.")
        label = self._table.label
        if label is None:
            alike = np.arange(len(self._table))
        else:
            classes = label if label.ndim == 1 else label.argmax(axis=1)
            alike = np.flatnonzero(classes == classes[row])
        random = generator(self._seed, epoch=epoch, iteration=row, stream=_STREAM)
        drawn = alike[random.integers(0, len(alike), _TRIES)]
        return [int(other) for other in drawn if other != row]

    def none_left(self, row: int, reason: str) -> SlideError:
        """Make the error for a bad tile whose substitutes are all bad, too."""
        return SlideError(
            f"A tile cannot be read, and none of {_TRIES} other tiles of its class either "
            f"({self._table.describe(row)}): {reason} Check the slides, or leave the bad ones out of the table."
        )
