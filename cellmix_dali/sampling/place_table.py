"""Random places as a table without an end: each number of a tile is a row, worked out when it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .._arguments import integer
from ..errors import DAMAGED, NOT_READ, ArgumentError, NotReadError, SlideError
from ..tables.tile_table import TileTable
from .places import Drawn, Places

__all__ = ["OtherPlaces", "PlaceOrder", "PlaceTable"]

_ATTEMPT = 2**44  # rows from here on are other draws in the places of those that cannot be read
_ATTEMPTS = 64
_KEPT = 64  # batches whose places are kept
_OF_A_SAMPLE = 256


class PlaceOrder:
    """Which rows of a `PlaceTable` make which batch; as `EpochOrder`, but without an end.

    Parameters
    ----------
    batch_size : int
        Tiles per batch and rank.
    steps : int
        Batches of a pass over the loader. A tile's number goes on from one pass to the next: with other steps the same
        batches come.
    seed : int, default 0
        Key of the places.
    rank, world_size : int, default 0 and 1
        This process among those that train together; each draws by itself.
    """

    shuffle, drop_last = True, True

    def __init__(self, batch_size: int, steps: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.batch_size = integer("batch_size", batch_size, low=1)
        self.steps = integer("steps", steps, low=1)
        self.world_size = integer("world_size", world_size, low=1)
        self.rank = integer("rank", rank, low=0, high=self.world_size - 1)
        self.seed = integer("seed", seed, low=0, high=2**64 - 1)

    def __len__(self) -> int:
        """Batches per pass."""
        return self.steps

    def batch(self, epoch: int, iteration: int) -> NDArray[np.int64]:
        """Return the rows of one batch."""
        first = ((epoch * self.steps + iteration) * self.world_size + self.rank) * self.batch_size
        return np.arange(first, first + self.batch_size, dtype=np.int64)

    def of_all_ranks(self, epoch: int, iteration: int) -> NDArray[np.int64]:
        """Return the rows of one iteration on all ranks, one rank after the other."""
        count = self.world_size * self.batch_size
        first = (epoch * self.steps + iteration) * count
        return np.arange(first, first + count, dtype=np.int64)


class _Column:
    """One column of the table: an array of rows gives an array, a row gives a number."""

    def __init__(self, of: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> None:
        self._of = of

    def __getitem__(self, rows: Any) -> Any:
        found = self._of(np.atleast_1d(np.asarray(rows, np.int64)))
        return found if np.ndim(rows) else found[0]


class PlaceTable(TileTable):
    """The places of all tiles, by their numbers; used wherever rows of a tile table are read.

    Parameters
    ----------
    places : Places
        Draws them.
    order : PlaceOrder
        Says to which batch and rank a number belongs.

    Notes
    -----
    It has no Arrow table of its own: what needs all rows at once cannot be had. `sample` is an ordinary table of some.
    """

    def __init__(self, places: Places, order: PlaceOrder) -> None:
        self.places, self._order = places, order
        self.slides = tuple(slide.path for slide in places.slides)
        self._batch = functools.lru_cache(_KEPT)(self._drawn)
        columns: dict[str, Any] = {
            name: _Column(functools.partial(self._rows, number)) for number, name in enumerate(Drawn._fields)
        }
        self.slide, self.level, self.x, self.y, self.size = columns.values()
        self.label = None
        if places.labels is not None:
            labels: Any = _Column(lambda rows: places.labels[self._rows(0, rows)].astype(np.int32))  # type: ignore[index]
            self.label = labels
        self.sample = self._some()
        self.arrow = self.sample.arrow.slice(0, 0)

    def __len__(self) -> int:
        return _ATTEMPT

    def __repr__(self) -> str:
        return f"<PlaceTable: places without an end on {len(self.slides)} slides>"

    def _rows(self, column: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """A column of some rows."""
        batches = rows // self._order.batch_size
        found = np.empty(len(rows), np.int64)
        for batch in np.unique(batches).tolist():
            own = batches == batch
            found[own] = self._batch(batch)[column][rows[own] % self._order.batch_size]
        return found

    def _drawn(self, batch: int) -> Drawn:
        """The places of a batch of a rank, by its number among all."""
        order, per_attempt = self._order, _ATTEMPT // self._order.batch_size
        attempt, batch = divmod(batch, per_attempt)
        iteration, rank = divmod(batch, order.world_size)
        return self.places.draw(order.seed, iteration, rank=rank, count=order.batch_size, attempt=attempt)

    def _some(self) -> TileTable:
        """An ordinary table of the first tiles, by which it is seen of how many blocks tiles are made."""
        rows = np.arange(max(_OF_A_SAMPLE, self._order.batch_size))
        slide, level, x, y, size = (self._rows(number, rows) for number in range(5))
        names = pa.DictionaryArray.from_arrays(pa.array(slide.astype(np.int32)), pa.array(self.slides, pa.string()))
        columns = {"slide": names, "level": level.astype(np.int32), "x": x, "y": y, "size": size.astype(np.int32)}
        return TileTable(pa.table(columns))

    def save(self, path: Any) -> NoReturn:
        """Not possible: it has no end."""
        raise ArgumentError(f"A table of random places has no end, so it cannot be written to {path}: save its sample.")


class OtherPlaces:
    """What takes the place of a tile that cannot be read: another draw; as `cellmix_dali.reading.faults.Substitutes`.

    Parameters
    ----------
    table : PlaceTable
        The places.
    batch_size : int
        Tiles per batch.
    on_error : {"replace", "raise"}
        Whether bad tiles are replaced at all.
    """

    def __init__(self, table: PlaceTable, *, batch_size: int, on_error: str) -> None:
        self.replacing = on_error == "replace"
        self._table, self._batch_size = table, batch_size

    def rows(self, row: int, epoch: int, reason: str, kind: str = DAMAGED) -> Iterator[int]:
        """Return the rows to try, in order, in the place of a bad one.

        Raises
        ------
        SlideError
            With the reason, if bad tiles are not replaced; a `NotReadError`, if it was not read.
        """
        del epoch  # each number comes once
        where = self._table.describe(row)
        if not self.replacing:
            error = NotReadError if kind == NOT_READ else SlideError
            raise error(f"A tile cannot be read ({where}): {reason} Use on_error='replace' to go on without it.")
        step = _ATTEMPT // self._batch_size * self._batch_size
        return iter([row + attempt * step for attempt in range(1, _ATTEMPTS)])

    def none_left(self, row: int, reason: str, kind: str = DAMAGED) -> SlideError:
        """Make the error for a bad tile whose substitutes are all bad, too."""
        error = NotReadError if kind == NOT_READ else SlideError
        return error(
            f"A tile cannot be read, and none of {_ATTEMPTS - 1} others drawn in its place either "
            f"({self._table.describe(row)}): {reason} Check the slides."
        )
