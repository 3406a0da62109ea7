"""Batches of tiles read ahead in threads, bad tiles replaced by others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import SlideError, kind_of
from cellmix_dali.reading import EncodedTile, MaskReader, ShardReader, TileReader
from cellmix_dali.reading.faults import Substitutes
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.sampling.place_table import OtherPlaces, PlaceOrder

__all__ = ["DeliveredTiles", "Delivery", "counted"]

_AHEAD = 2  # batches, at least, that are read in the background while DALI works


class DeliveredTiles(NamedTuple):
    """The tiles of a batch.

    Attributes
    ----------
    rows : list of int
        Their rows of the tile table; another row than the order's where that one is bad.
    tiles : list of EncodedTile
        Their streams.
    faults : list of (int, str, int or None, str)
        Bad rows that were met on the way: row, reason, the row that took its place, and the kind of `Fault`.
    """

    rows: list[int]
    tiles: list[EncodedTile]
    faults: list[tuple[int, str, int | None, str]]


class Delivery:
    """Reads the batches of an order, and those that come next, in threads.

    Parameters
    ----------
    reader : TileReader or ShardReader
        Reads rows.
    order : EpochOrder or PlaceOrder
        Which rows make each batch.
    substitutes : Substitutes or OtherPlaces
        Says what takes the place of a row that cannot be read.
    bad : mapping of int to str
        Rows that are not to be delivered though they can be read, and why; whoever adds to it calls `forget`.
    num_workers : int
        Threads; each reads whole batches.
    masks : MaskReader, optional
        Reads the class mask of each tile; a tile whose mask cannot be read is as one that cannot be read itself.
    """

    def __init__(
        self,
        reader: TileReader | ShardReader,
        order: EpochOrder | PlaceOrder,
        substitutes: Substitutes | OtherPlaces,
        *,
        bad: Mapping[int, str],
        num_workers: int,
        masks: MaskReader | None = None,
    ) -> None:
        self.reader, self._order, self._substitutes, self._bad = reader, order, substitutes, bad
        self._masks = masks
        self._ahead = max(_AHEAD, num_workers)  # a thread reads a whole batch
        self._workers = ThreadPoolExecutor(num_workers, thread_name_prefix="cellmix-dali-read")
        self._pending: dict[tuple[int, int], Future[DeliveredTiles]] = {}
        self.count_anew()

    @property
    def ready(self) -> float | None:
        """How many batches were ready when one was asked for, on average; None where none was asked for."""
        return self._ready / self._asked if self._asked else None

    def count_anew(self) -> None:
        """Forget how many were ready."""
        self._ready = self._asked = 0

    def batch(self, epoch: int, iteration: int) -> DeliveredTiles:
        """Return the tiles of one batch and read the next ones in the background.

        Raises
        ------
        SlideError
            If a tile cannot be read, and is not to be replaced or cannot be.
        """
        self._asked += 1
        self._ready += sum(reading.done() for reading in self._pending.values())
        for number in range(iteration, min(iteration + 1 + self._ahead, len(self._order))):
            if (epoch, number) not in self._pending:
                rows = self._order.batch(epoch, number)
                self._pending[epoch, number] = self._workers.submit(self._deliver, rows, epoch)
        return self._pending.pop((epoch, iteration)).result()

    def forget(self) -> None:
        """Drop what was read ahead."""
        for reading in self._pending.values():
            reading.cancel()
        self._pending.clear()

    def close(self) -> None:
        """Stop the threads."""
        self.forget()
        self.reader.stop_waiting()
        if self._masks is not None:
            self._masks.stop_waiting()
        self._workers.shutdown(wait=True, cancel_futures=True)
        if self._masks is not None:
            self._masks.close()

    def _deliver(self, rows: NDArray[np.int64], epoch: int) -> DeliveredTiles:
        """Read a batch; in a thread."""
        tiles = self._read(rows)
        if not self._bad and set(map(type, tiles)) <= {EncodedTile}:  # nearly always
            return DeliveredTiles(rows.tolist(), cast("list[EncodedTile]", tiles), [])
        delivered = DeliveredTiles(rows.tolist(), [], [])
        for place, tile in enumerate(tiles):
            usable = self._usable(delivered.rows[place], tile)
            if isinstance(usable, EncodedTile):
                delivered.tiles.append(usable)
            else:
                self._substitute(place, usable, epoch, delivered)
        return delivered

    def _read(self, rows: NDArray[np.int64], *, patient: bool = True) -> list[EncodedTile | SlideError]:
        """Read tiles, and their masks if they have any."""
        tiles = self.reader.read(rows, patient=patient)
        if self._masks is None:
            return tiles
        places = [place for place, tile in enumerate(tiles) if isinstance(tile, EncodedTile)]
        for place, mask in zip(places, self._masks.read(rows[places], patient=patient), strict=True):
            if isinstance(mask, SlideError):
                tiles[place] = mask
            else:
                tiles[place] = cast("EncodedTile", tiles[place])._replace(mask=mask)
        return tiles

    def _usable(self, row: int, tile: EncodedTile | SlideError) -> EncodedTile | SlideError:
        """A tile, or why it cannot be used."""
        return SlideError(self._bad[row]) if isinstance(tile, EncodedTile) and row in self._bad else tile

    def _substitute(self, place: int, error: SlideError, epoch: int, delivered: DeliveredTiles) -> None:
        """Put another tile in the place of a bad one."""
        row, reason, kind = delivered.rows[place], str(error), kind_of(error)
        others: list[tuple[int, str, int | None, str]] = []
        for other in self._substitutes.rows(row, epoch, reason, kind):
            (tile,) = self._read(np.array([other]), patient=False)  # all the time was given to the first one
            usable = self._usable(other, tile)
            if isinstance(usable, EncodedTile):
                delivered.rows[place] = other
                delivered.tiles.append(usable)
                delivered.faults.extend([(row, reason, other, kind), *others])
                return
            others.append((other, str(usable), None, kind_of(usable)))
        raise self._substitutes.none_left(row, reason, kind)


def counted(tiles: Sequence[EncodedTile]) -> Counter[str]:
    """Count what a batch was read of: tiles by their ways, bytes, blocks, and how often blocks were shared."""
    counts = Counter(tile.way for tile in tiles)
    streams = {id(stream): stream.nbytes for tile in tiles for stream in tile.streams}
    pixels = sum(tile.pixels.nbytes for tile in tiles if tile.pixels is not None)
    counts["bytes"] = sum(streams.values()) + pixels
    counts["blocks"] = len(streams)
    counts["shared"] = sum(len(tile.streams) for tile in tiles) - len(streams)
    return counts
