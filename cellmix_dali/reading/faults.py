"""Tiles that cannot be read: what is done about them, and how they are reported."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._random import generator
from ..errors import DAMAGED, NOT_READ, ArgumentError, NotReadError, SlideError, unknown_name
from ..tables.tile_table import TileTable

__all__ = ["ON_ERROR", "Fault", "FaultLog", "Substitutes", "place_of"]

ON_ERROR = ("replace", "raise")

_STREAM = 3  # keeps the substitutes' random numbers apart from the others under one seed
_TRIES = 4096  # tiles tried in the place of a bad one, as a whole slide may be bad
_SMALL = 1 << 16  # tables up to this long are looked through for tiles of a class; of longer ones rows are drawn


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
        Which window of it, in pixels of the level.
    reason : str
        What is wrong.
    replaced_by : int or None
        Row of the tile that took its place when the fault was first met.
    kind : {"damaged", "not read"}
        "damaged": the tile, or its slide, is broken or missing, or is not a tile at all. "not read": it could not be
        read for a reason of the moment, as often as it was tried; nothing says that it is damaged, and it is tried
        again the next time that it is asked for.
    """

    tile: int
    slide: str
    level: int
    x: int
    y: int
    size: int
    reason: str
    replaced_by: int | None
    kind: str = DAMAGED


class FaultLog:
    """Keeps each bad tile once (of each kind), and writes it to a file of JSON lines if there is one.

    Parameters
    ----------
    table : TileTable
        The tiles.
    path : Path, optional
        File to which each fault is appended, as one JSON object per line; what it names already is not appended again.

    Raises
    ------
    ArgumentError
        If the file cannot be written.
    """

    def __init__(self, table: TileTable, path: str | Path | None = None) -> None:
        self._table = table
        self._path = None if path is None else Path(path)
        self._faults: dict[tuple[int, str], Fault] = {}
        self._unwritten: list[Fault] = []
        self._written = self._already_written()

    def all(self) -> list[Fault]:
        """Return the faults, in the order in which they were met."""
        return list(self._faults.values())

    def add(self, row: int, reason: str, replaced_by: int | None, kind: str = DAMAGED) -> None:
        """Note a bad tile; one that is already known with this kind of fault is not noted again."""
        if (row, kind) in self._faults:
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
            kind=kind,
        )
        self._faults[row, kind] = fault
        if self._path is not None and place_of(asdict(fault)) not in self._written:
            self._unwritten.append(fault)
            self.write()

    def write(self) -> None:
        """Append to the file what could not be appended before, as where no further file could be opened."""
        if self._path is None or not self._unwritten:
            return
        lines = "".join(json.dumps(asdict(fault)) + "\n" for fault in self._unwritten)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:  # a full disk is no reason to stop a run
            warnings.warn(
                f"A bad tile cannot be noted in {self._path} just now ({error}): {self._unwritten[-1]}", stacklevel=3
            )
        else:
            self._unwritten.clear()

    def _already_written(self) -> set[tuple[object, ...]]:
        """Places that the file names already: a run that resumes does not report them again."""
        if self._path is None:
            return set()
        try:
            with self._path.open("a+", encoding="utf-8", errors="replace") as file:
                file.seek(0)
                places, text = set(), file.read()
                if text and not text.endswith("\n"):  # a crash cut the last line short: the next begins on its own
                    file.write("\n")
        except OSError as error:
            raise ArgumentError(f"fault_file={str(self._path)!r} cannot be written: {error.strerror}.") from error
        for line in text.splitlines():
            try:
                places.add(place_of(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue
        return places


def place_of(fault: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what makes a fault, as a dict, the same one in another run: which tile is bad, and how."""
    place = tuple(fault[name] for name in ("slide", "level", "x", "y", "size"))
    return *place, fault.get("kind", DAMAGED)


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

    def rows(self, row: int, epoch: int, reason: str, kind: str = DAMAGED) -> Iterator[int]:
        """Return the rows to try, in order, in the place of a bad one: each once, some thousands at most.

        Raises
        ------
        SlideError
            With the reason, if bad tiles are not replaced; a `NotReadError`, if it was not read.
        """
        where = self._table.describe(row)
        if not self.replacing:
            if kind == NOT_READ:
                raise NotReadError(
                    f"A tile was not read ({where}): {reason} Go on from the last state when it can be read again, or "
                    "give more retry_seconds."
                )
            raise SlideError(f"A tile cannot be read ({where}): {reason} Use on_error='replace' to go on without it.")
        return self._draw(row, epoch)

    def _draw(self, row: int, epoch: int) -> Iterator[int]:
        """Other rows of the bad one's class, in an order drawn for it."""
        tried = {row}
        for part in self._parts(row, generator(self._seed, epoch=epoch, iteration=row, stream=_STREAM)):
            for other in part.tolist():
                if other not in tried:
                    yield other
                    tried.add(other)
                    if len(tried) > _TRIES:
                        return

    def _parts(self, row: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Rows of a row's class in random order, some more than once, in the end all."""
        length, own = len(self._table), self._classes(np.array([row]))
        if length > _SMALL:
            # Among millions of tiles those of a class are met by chance, unless it is a rare one.
            for _ in range(16):
                drawn = random.integers(0, length, _SMALL)
                yield drawn[self._classes(drawn) == own]
        yield random.permutation(np.flatnonzero(self._classes(np.arange(length)) == own))

    def _classes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        label = self._table.label
        if label is None:
            return np.zeros(len(rows), np.int64)
        own = label[rows]
        return (own if own.ndim == 1 else own.argmax(axis=1)).astype(np.int64)

    def none_left(self, row: int, reason: str, kind: str = DAMAGED) -> SlideError:
        """Make the error for a bad tile whose substitutes are all bad, too."""
        if kind == NOT_READ:
            return NotReadError(
                f"A tile was not read, and none of the other tiles of its class that were tried either "
                f"({self._table.describe(row)}): {reason} Go on from the last state when it can be read again."
            )
        return SlideError(
            f"A tile cannot be read, and none of the other tiles of its class that were tried either "
            f"({self._table.describe(row)}): {reason} Check the slides, or leave the bad ones out of the table."
        )
