"""Slide tiles as a DALI external source: encoded blocks straight from the files, labels, and the batch's plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, SlideError, kind_of, unknown_name
from cellmix_dali.reading import tile_reader
from cellmix_dali.reading.faults import Fault, FaultLog, Substitutes
from cellmix_dali.reading.slides import EncodedTile
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.shards import image_sizes, is_sharded
from cellmix_dali.storage.moment import is_missing
from cellmix_dali.storage.patience import RETRY_SECONDS, Retry
from cellmix_dali.tables.tile_table import TileTable, require_table

from .clock import BatchPosition, EpochClock
from .host_batch import drawn_flips, mixed_labels
from .plan_source import PlanArrays, PlanSource

__all__ = ["DeliveredTiles", "TileSource"]

_AHEAD = 2  # batches, at least, that are read in the background while DALI works


class DeliveredTiles(NamedTuple):
    """The tiles of a batch.

    Attributes
    ----------
    rows : list of int
        Their rows of the tile table; another than the order says where that one is bad.
    tiles : list of EncodedTile
        Their streams.
    faults : list of (int, str, int or None, str)
        Bad rows that were met on the way: row, reason, the row that took its place, and the kind of `Fault`.
    """

    rows: list[int]
    tiles: list[EncodedTile]
    faults: list[tuple[int, str, int | None, str]]


class TileSource:
    """Feeds a tile table to a DALI graph, batch by batch; a source for `fn.external_source`, and its epoch clock.

    Tiles of directly readable slides come as the file's own encoded blocks; all others as pixels read by OpenSlide.
    What a batch holds is a pure function of (seed, epoch, iteration, rank). Reading runs ahead in threads.

    Parameters
    ----------
    table : TileTable
        The tiles.
    batch_size : int
        Tiles per batch: the pipeline's batch size.
    tile_size : int, optional
        Side of the images in pixels; tiles whose window has another size are resized to it in the graph. By default the
        windows' size, if they have only one.
    edge : {"skip", "pad"}, default "skip"
        Whether windows may reach over the right and lower edge of their level; what lies beyond is then white.
    plans : PlanSource, optional
        Draws each batch's mixing plan, under the curriculum.
    flips : bool, default False
        Whether to draw random flips for the tiles.
    shuffle, drop_last, seed, rank, world_size
        See `cellmix_dali.sampling.EpochOrder`.
    num_classes : int, optional
        If given, labels come as class shares, float32 (num_classes,), mixed as the plan says.
    balance : {"class", "slide"}, optional
        Draw tiles so that all classes, or all slides, come equally often.
    on_error : {"replace", "raise"}, default "raise"
        What is done about a tile that cannot be read: another tile of its class takes its place, or the run stops.
    fault_file : str or Path, optional
        File of JSON lines to which each bad tile is appended.
    num_workers : int, default 2
        Reading threads; each reads whole batches.
    retry_seconds : float, default 60
        How long tiles are tried again, with growing pauses, that cannot be read for a reason of the moment: too many
        open files, a right, a timeout, a server that does not answer. Only then `on_error` holds for them; they are
        told apart in the faults ("not read"), and tried again the next time that they are asked for.
    verify : {"headers", "scan", "hash"}, default "headers"
        What is verified of a tile before it is decoded. "headers": what shows without following the codes (see
        `cellmix_dali.slides.damage.BlockCheck`). "scan": the codes of JPEG scans as well: finds all that end early, and
        a part of the changed bits. "hash": of tiles in shards, their SHA-256: finds every changed bit.
        docs/performance.md says what each costs.

    Raises
    ------
    ArgumentError
        If the tiles are too few for a batch, or an argument does not fit another.
    SlideError
        If a slide is not there, or (of the first few) cannot be opened; where tiles are replaced, only if none of the
        first few can.

    Attributes
    ----------
    read : collections.Counter
        How many tiles were delivered by which way: "direct", "openslide" or "shard".
    """

    def __init__(
        self,
        table: TileTable,
        *,
        batch_size: int,
        tile_size: int | None = None,
        edge: str = "skip",
        plans: PlanSource | None = None,
        flips: bool = False,
        shuffle: bool | str = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_classes: int | None = None,
        balance: str | None = None,
        on_error: str = "raise",
        fault_file: str | Path | None = None,
        num_workers: int = 2,
        retry_seconds: float = RETRY_SECONDS,
        verify: str = "headers",
    ) -> None:
        batch_size, num_workers = integer("batch_size", batch_size, low=1), integer("num_workers", num_workers, low=1)
        require_table(table)
        self.table = table
        self.batch_size = batch_size
        self.plans = plans
        self.flips = flips
        self.balance = balance
        self.num_classes = num_classes
        if num_classes is not None:
            table.check_labels(num_classes)
        self.order = EpochOrder(
            len(table),
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            rank=rank,
            world_size=world_size,
            balance=_groups(table, balance),
        )
        self.seed, self.rank = self.order.seed, self.order.rank
        self.clock = EpochClock(len(self.order))
        self.tile_size, self.resizing = self._sizes(tile_size)
        self._check()
        retry = Retry(seconds=retry_seconds)
        self.verify = verify
        self.reader = tile_reader(table, edge=edge, lenient=on_error == "replace", retry=retry, verify=verify)
        self.read: Counter[str] = Counter()
        self.log = FaultLog(table, fault_file)
        self.bad: dict[int, str] = {}
        self._substitutes = Substitutes(table, on_error=on_error, seed=seed)
        self._ahead = max(_AHEAD, num_workers)  # a thread reads a whole batch
        self._workers = ThreadPoolExecutor(num_workers, thread_name_prefix="cellmix-dali-read")
        self._pending: dict[tuple[int, int], Future[DeliveredTiles]] = {}

    @property
    def faults(self) -> list[Fault]:
        """Bad tiles met so far, each once."""
        return self.log.all()

    @property
    def replacing(self) -> bool:
        """Whether bad tiles are replaced."""
        return self._substitutes.replacing

    @property
    def plan_fields(self) -> tuple[str, ...]:
        """Names of the plans' arrays that the graph is given: not the weights, where labels are mixed here."""
        return () if self.plans is None else self.plans.action.fields(weights=self.num_classes is None)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def __call__(self, info: BatchPosition) -> tuple[object, ...]:
        """Return a batch: streams (a list per slot), geometry, labels, rows, and what is drawn: flips, plans."""
        epoch, iteration = self.clock.at(info)
        delivered = self.batch(epoch, iteration)
        tiles, rows = delivered.tiles, np.array(delivered.rows, np.int64)
        self.read.update([tile.way for tile in tiles])
        for fault in delivered.faults:
            self.log.add(*fault)
        batch: list[object] = [[tile.streams[slot] for tile in tiles] for slot in range(self.reader.slots)]
        if not self.reader.whole:
            batch += _geometry([tile.geometry for tile in tiles])
            batch.append(np.repeat(self.table.size[rows].astype(np.int32)[:, None], 2, axis=1))
        plan = None if self.plans is None else self.plans.draw(epoch, iteration)
        batch += [self._labels(rows, plan), rows[:, None]]
        if self.flips:
            batch.append(drawn_flips(len(rows), seed=self.seed, epoch=epoch, iteration=iteration, rank=self.rank))
        if plan is not None:
            batch += plan.only(self.plan_fields)
        return tuple(batch)

    def _labels(self, rows: NDArray[np.int64], plan: PlanArrays | None) -> NDArray[np.generic]:
        """The batch's labels, (batch, 1) or (batch, classes)."""
        if self.table.label is None:
            return np.full((len(rows), 1), -1, np.int32)
        labels = self.table.label[rows]
        if self.num_classes is None:
            return labels.reshape(len(rows), -1)
        return mixed_labels(labels, self.num_classes, plan)

    def batch(self, epoch: int, iteration: int) -> DeliveredTiles:
        """Return the tiles of one batch, and have the next ones read meanwhile.

        Raises
        ------
        SlideError
            If a tile cannot be read, and is not to be replaced or cannot be.
        """
        for number in range(iteration, min(iteration + 1 + self._ahead, len(self.order))):
            if (epoch, number) not in self._pending:
                rows = self.order.batch(epoch, number)
                self._pending[epoch, number] = self._workers.submit(self._deliver, rows, epoch)
        return self._pending.pop((epoch, iteration)).result()

    def mark_bad(self, row: int, reason: str) -> None:
        """Treat a tile as one that cannot be read from now on; what was read ahead is read again."""
        self.bad[row] = reason
        self.forget()

    def forget(self) -> None:
        """Drop what was read ahead."""
        for reading in self._pending.values():
            reading.cancel()
        self._pending.clear()

    def close(self) -> None:
        """Stop the reading threads and close the slides."""
        self.forget()
        self.reader.stop_waiting()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self.reader.close()
        self.log.write()

    def _deliver(self, rows: NDArray[np.int64], epoch: int) -> DeliveredTiles:
        """Read a batch; in a thread."""
        tiles = self.reader.read(rows)
        if not self.bad and set(map(type, tiles)) <= {EncodedTile}:  # nearly always
            return DeliveredTiles(rows.tolist(), cast("list[EncodedTile]", tiles), [])
        delivered = DeliveredTiles(rows.tolist(), [], [])
        for place, tile in enumerate(tiles):
            usable = self._usable(delivered.rows[place], tile)
            if isinstance(usable, EncodedTile):
                delivered.tiles.append(usable)
            else:
                self._substitute(place, usable, epoch, delivered)
        return delivered

    def _usable(self, row: int, tile: EncodedTile | SlideError) -> EncodedTile | SlideError:
        """A tile, or why it cannot be used."""
        return SlideError(self.bad[row]) if isinstance(tile, EncodedTile) and row in self.bad else tile

    def _substitute(self, place: int, error: SlideError, epoch: int, delivered: DeliveredTiles) -> None:
        """Put another tile in the place of a bad one."""
        row, reason, kind = delivered.rows[place], str(error), kind_of(error)
        others: list[tuple[int, str, int | None, str]] = []
        for other in self._substitutes.rows(row, epoch, reason, kind):
            (tile,) = self.reader.read(np.array([other]), patient=False)  # all the time was given to the first one
            usable = self._usable(other, tile)
            if isinstance(usable, EncodedTile):
                delivered.rows[place] = other
                delivered.tiles.append(usable)
                delivered.faults.extend([(row, reason, other, kind), *others])
                return
            others.append((other, str(usable), None, kind_of(usable)))
        raise self._substitutes.none_left(row, reason, kind)

    def _sizes(self, tile_size: int | None) -> tuple[int, bool]:
        """The images' size, and whether any window has another."""
        sizes = image_sizes(self.table)
        least, most = (int(sizes.min()), int(sizes.max())) if len(sizes) else (1, 1)
        if tile_size is None and least != most:
            raise ArgumentError(
                f"The tile table mixes window sizes from {least} to {most} pixels: give tile_size, to which "
                "they are resized."
            )
        size = most if tile_size is None else integer("tile_size", tile_size, low=1)
        return size, least != size or most != size

    def _check(self) -> None:
        """Refuse at once what would fail in the middle of an epoch."""
        for path in () if is_sharded(self.table) else self.table.slides:
            if is_missing(path):
                raise SlideError(f"There is no slide at {path}. The tile table names it: correct the path there.")
        if self.plans is None:
            return
        if self.plans.batch_size != self.batch_size:
            raise ArgumentError(
                f"Plans are drawn for batch_size={self.plans.batch_size}, tiles come by {self.batch_size}."
            )
        if self.plans.tile_size != (self.tile_size, self.tile_size):
            raise ArgumentError(
                f"Plans are drawn for tiles of {self.plans.tile_size}, the table's are {self.tile_size}."
            )
        if not self.order.drop_last:
            raise ArgumentError("Batches that are mixed must be full: use drop_last=True.")


def _geometry(tiles: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
    """The batch's geometry for the graph: anchors and shapes of all slots, then of each slot the part to decode."""
    whole = np.stack(tiles)  # (batch, slots, 5, 2)
    pasted = [np.ascontiguousarray(whole[:, :, number]) for number in range(3)]
    decoded = [np.ascontiguousarray(whole[:, slot, number]) for slot in range(whole.shape[1]) for number in (3, 4)]
    # In the part that is decoded, what is used begins elsewhere than in the whole.
    pasted[0] -= whole[:, :, 3]
    return pasted + decoded


def _groups(table: TileTable, balance: str | None) -> NDArray[np.int32] | None:
    """The group of each tile, among which a balanced order draws."""
    if balance is None:
        return None
    if balance == "slide":
        return table.slide
    if balance != "class":
        raise unknown_name("balance", balance, ("class", "slide"))
    if table.label is None:
        raise ArgumentError("balance='class' needs labels, and the tile table has no column 'label'.")
    classes = table.label if table.label.ndim == 1 else table.label.argmax(axis=1)
    return classes.astype(np.int32, copy=False)
