"""Slide tiles as a DALI external source: encoded blocks straight from the files, labels, and the batch's plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali._cached import cached_property
from cellmix_dali._urls import is_url
from cellmix_dali.collection import CollectionIndex
from cellmix_dali.collection.index import index_at
from cellmix_dali.errors import SlideError
from cellmix_dali.mixing.targets import Targets, values_by_name
from cellmix_dali.reading import EncodedTile, MaskReader, ShardReader, TileMasks, TileReader, tile_reader
from cellmix_dali.reading.cells import deal
from cellmix_dali.reading.faults import Fault, FaultLog, Substitutes
from cellmix_dali.reading.slides import SLIDE_CACHE
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.sampling.place_table import OtherPlaces, PlaceOrder
from cellmix_dali.shards import is_sharded
from cellmix_dali.slides.ppm import ppm
from cellmix_dali.storage.moment import first_missing
from cellmix_dali.storage.patience import RETRY_SECONDS, Retry
from cellmix_dali.tables.tile_table import TileTable, require_table

from ._dali_errors import explained
from ._delivery import Delivery, counted
from ._table_facts import digest_of_order, digest_of_table, groups, image_size
from ._trial_blocks import blocks_by_kind
from .assemble import assembled
from .dali import DataNode, Pipeline, fn, types
from .decode import decode, decoded, undecodable
from .decoder_options import USUAL, DecoderOptions
from .plan_source import PlanSource
from .source import Input, Source

__all__ = ["TileSource"]


class TileParts(NamedTuple):
    """What some kinds of tile sources do by themselves.

    Attributes
    ----------
    order : PlaceOrder
        Which rows make each batch.
    substitutes : OtherPlaces
        What takes the places of those that cannot be read.
    reader : TileReader
        Reads them.
    """

    order: PlaceOrder
    substitutes: OtherPlaces
    reader: TileReader


class TileSource(Source):
    """Feeds a tile table to a DALI graph, batch by batch; a source for `fn.external_source`, and its epoch clock.

    Tiles of directly readable slides come as the file's own encoded blocks; all others as pixels read by OpenSlide.
    What a batch holds is a pure function of (seed, epoch, iteration, rank). Reading runs ahead in threads.

    All but the table are keyword arguments, most with a default: a pipeline names the few that it changes.

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
    targets : mapping of str to Target or TargetValues, optional
        Further targets, by the names that batches have for them: columns of the table, or values of all its tiles.
        Mixed here where the labels are (`num_classes`).
    masks : AnnotationMasks or MaskSlides, optional
        Where the tiles' class masks come from, see `cellmix_dali.reading`.
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
        open files, a right, a timeout, a server that does not answer. Only then does `on_error` hold for them; the
        faults call them "not read", and they are tried again the next time that they are asked for.
    verify : {"headers", "scan", "hash"}, default "headers"
        What is verified of a tile before it is decoded. "headers": what shows without following the codes (see
        `cellmix_dali.slides.damage.BlockCheck`). "scan": the codes of JPEG scans as well: finds all that end early, and
        a part of the changed bits. "hash": of tiles in shards, their SHA-256: finds every changed bit.
        docs/performance.md says what each costs.
    slide_cache : int or str, default "512MB"
        Bytes of memory that the block tables of slides may take, such as "2GB": eight for each block of a slide, some
        1 MB for a large one. Slides used longest ago are dropped where they do not fit, and opened again, which takes
        some 10 ms each time.
    index : CollectionIndex or path, optional
        An index of the slides (``cellmix-dali index``), see `cellmix_dali.collection`: no slide is looked at to be
        opened, and their block tables take no memory of this process.
    parts : TileParts, optional
        Of kinds of sources that order, read and replace tiles by themselves.

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
    replacing : bool
        Whether bad tiles are replaced.
    rejected : dict of int to str
        Rows that the GPU's decoder cannot decode, and the CPU's can, and why: they are decoded on the CPU.
    """

    digests: ClassVar[Mapping[str, str]] = {
        "table": "the tile table holds other tiles or labels",
        "order": "the tiles come in another order",
    }

    def __init__(
        self,
        table: TileTable,
        *,
        batch_size: int,
        tile_size: int | None = None,
        edge: str = "skip",
        plans: PlanSource | None = None,
        flips: bool = False,
        targets: Targets | None = None,
        masks: TileMasks | None = None,
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
        slide_cache: int | str = SLIDE_CACHE,
        index: CollectionIndex | str | Path | None = None,
        parts: TileParts | None = None,
    ) -> None:
        num_workers = integer("num_workers", num_workers, low=1)
        require_table(table)
        if num_classes is not None:
            table.check_labels(num_classes)
        if parts is None:
            order: EpochOrder | PlaceOrder = EpochOrder(
                len(table),
                batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                seed=seed,
                rank=rank,
                world_size=world_size,
                balance=groups(table, balance),
            )
            size, self.resizing = image_size(table, tile_size)
        else:
            order, size, self.resizing = parts.order, integer("tile_size", tile_size, low=1), True
        super().__init__(
            order,
            tile_size=size,
            labels=table.label,
            plans=plans,
            num_classes=num_classes,
            flips=flips,
            targets=values_by_name(targets, len(table), table),
        )
        known = None if index is None else index_at(index)
        # At once, not in the middle of an epoch; but a store is not asked for each slide that an index has.
        slides = () if is_sharded(table) else table.slides
        missing = first_missing([each for each in slides if known is None or not is_url(each) or each not in known])
        if missing is not None:
            raise SlideError(f"There is no slide at {missing}. The tile table names it: correct the path there.")
        self.table, self.balance, self.verify = table, balance, verify
        retry = Retry(seconds=retry_seconds)
        lenient = on_error == "replace"
        if parts is None:
            reader = tile_reader(
                table, edge=edge, lenient=lenient, retry=retry, verify=verify, slide_cache=slide_cache, index=known
            )
        else:
            reader = parts.reader
        self._masks = None if masks is None else MaskReader(table, masks, size, lenient=lenient, retry=retry)
        self.read: Counter[str] = Counter()
        self.rejected: dict[int, str] = {}
        self.log = FaultLog(table, fault_file)
        self._on_gpu: frozenset[str] | None = None  # kinds that the GPU decodes, where both devices decode
        self._gpu: int | None = None  # on which the graph decodes
        self._decoder = USUAL  # how it does
        substitutes = Substitutes(table, on_error=on_error, seed=seed) if parts is None else parts.substitutes
        self.replacing = substitutes.replacing
        self._delivery = Delivery(reader, order, substitutes, bad=self.bad, num_workers=num_workers, masks=self._masks)

    @property
    def reader(self) -> TileReader | ShardReader:
        """What reads the rows."""
        return self._delivery.reader

    @property
    def faults(self) -> list[Fault]:
        """Bad tiles met so far, each once."""
        return self.log.all()

    @property
    def kinds(self) -> Iterable[str]:
        """Kinds of streams that the table's first slides hold."""
        return self.reader.kinds

    def only(self, kinds: Iterable[str]) -> None:
        """Read slides whose blocks are of other kinds than these through OpenSlide."""
        self.reader.only(kinds)

    def samples(self) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
        """Return some blocks of each kind, of the table's first slides, at most 64."""
        return blocks_by_kind(self.reader, self.table) if isinstance(self.reader, TileReader) else {}

    def split(self, kinds: Iterable[str]) -> bool:
        """Have blocks of these kinds decoded on the GPU, and all others on the CPU; not of shards."""
        if not isinstance(self.reader, TileReader):
            return False
        self._on_gpu = frozenset(kinds)
        self.reader.whole = False
        return True

    @property
    def slots(self) -> int:
        """Nodes of decoded blocks: as many as a tile has at most, for each of the decoders."""
        return self.reader.slots * (1 if self._on_gpu is None else 2)

    @property
    def inputs(self) -> list[Input]:
        """A stream per slot; where windows are put together, what is decoded of each, pixels, and `Cells`' regions.

        Last come masks, if there are any.
        """
        slots = self.slots
        streams: list[Input] = [(types.UINT8, 1)] * slots
        masks: list[Input] = [(types.UINT8, 3)] * self.masked
        if self.reader.whole:
            return [*streams, *masks]
        parts: list[Input] = [(types.INT32, 1)] * (2 * slots)
        return [*streams, *parts, (types.UINT8, 3), (types.INT32, 2), (types.INT32, 1), *masks]

    @property
    def masked(self) -> bool:
        """Whether tiles have class masks."""
        return self._masks is not None

    def mask(self, nodes: Sequence[DataNode]) -> DataNode | None:
        """Return the masks, uint8 HWC of the tile size with 1 channel."""
        return fn.reinterpret(nodes[-1], layout="HWC") if self.masked else None

    def deliver(self, epoch: int, iteration: int) -> tuple[NDArray[np.int64], list[object]]:
        """Return a batch's rows and its streams (a list per slot), dealt to cells where windows are put together."""
        delivered = self._delivery.batch(epoch, iteration)
        tiles, rows = delivered.tiles, np.array(delivered.rows, np.int64)
        self.read.update(tile.way for tile in tiles)
        self.counts.update(counted(tiles))
        for fault in delivered.faults:
            self.log.add(*fault)
        masks: list[object] = [[tile.mask for tile in tiles]] if self.masked else []
        if self.rejected:
            tiles = [self._redecoded(row, tile) for row, tile in zip(delivered.rows, tiles, strict=True)]
        if self.reader.whole:
            return rows, [[tile.streams[0] for tile in tiles], *masks]
        second = None
        if self._on_gpu is not None:
            assert isinstance(self.reader, TileReader)
            second = [kind in self._on_gpu for kind in self.reader.kinds_of(rows)]
        cells = deal(tiles, self.reader.slots, self.table.size[rows].tolist(), second=second)
        parts = cells.parts.reshape(-1, len(tiles), 2)
        return rows, [*cells.streams, *parts, cells.pixels, cells.regions, cells.firsts, *masks]

    @property
    def batches_ready(self) -> float | None:
        """See `Source.batches_ready`."""
        return self._delivery.ready

    def count_anew(self) -> None:
        """See `Source.count_anew`."""
        super().count_anew()
        self._delivery.count_anew()

    def images(self, nodes: Sequence[DataNode], device: str, decoder: DecoderOptions = USUAL) -> DataNode:
        """Decode the streams, put windows together from their blocks, and resize those of another size."""
        slots, self._gpu = self.slots, Pipeline.current().device_id if device == "mixed" else None
        self._decoder = decoder
        if self.reader.whole:
            images = decode(nodes[0], device, decoder=decoder)
        else:
            streams, parts, (pixels, regions, firsts) = (
                nodes[:slots],
                nodes[slots : 3 * slots],
                nodes[3 * slots : 3 * slots + 3],
            )
            cells = []
            for slot in range(slots):
                on = device if self._on_gpu is None or slot >= self.reader.slots else "cpu"
                anchor, shape = parts[2 * slot : 2 * slot + 2]
                images = decode(streams[slot], on, anchor=anchor, shape=shape, decoder=decoder)
                cells.append(images.gpu() if device == "mixed" else images)
            pixels = fn.reinterpret(pixels, layout="HWC")
            images = assembled(cells, pixels, regions=regions, firsts=firsts)
        if self.resizing:
            # Antialiased linear interpolation; an image that has the size already comes out as it was, to the bit.
            images = fn.resize(images, size=[self.tile_size, self.tile_size], antialias=True)
        return images

    def mark_bad(self, row: int, reason: str) -> None:
        """Treat a tile as one that cannot be read from now on; what was read ahead is read again."""
        self.bad[row] = reason
        self.forget()

    def mend(self, error: RuntimeError, epoch: int, iterations: Iterable[int]) -> None:
        """Mark the tiles that DALI cannot decode, so that others take their places; see `Source.mend`.

        Tiles that only the GPU's decoder rejects are decoded on the CPU from then on.
        """
        tried = list(iterations)
        of_decoder = "decoders" in str(error)
        bad = self._undecodable(epoch, tried) if of_decoder else {}
        if of_decoder and not bad and self._gpu is not None:
            rejected = self._undecodable(epoch, tried, device_id=self._gpu)
            if rejected:
                self.rejected |= rejected
                return
        if not bad or not self.replacing:
            where = [f"{self.table.describe(row)}: {reason}" for row, reason in bad.items()]
            raise explained(error, where) from error
        for row, reason in bad.items():
            self.mark_bad(row, reason)

    def _undecodable(self, epoch: int, iterations: Iterable[int], device_id: int | None = None) -> dict[int, str]:
        """The tiles that DALI cannot decode in the first of these batches that has any, and why."""
        self.forget()
        for iteration in iterations:
            batch = self._delivery.batch(epoch, iteration)
            tiles = dict(zip(batch.rows, batch.tiles, strict=True))
            streams = {row: tile.streams for row, tile in tiles.items() if row not in self.rejected}
            bad = undecodable(streams, device_id=device_id, decoder=self._decoder)
            if bad:
                return bad
        return {}

    def _redecoded(self, row: int, tile: EncodedTile) -> EncodedTile:
        """A tile, its streams decoded here if the GPU's decoder rejects them: PPM is taken by every decoder."""
        if row not in self.rejected or not tile.streams:
            return tile
        return tile._replace(streams=tuple(ppm(pixels) for pixels in decoded(tile.streams)))

    def state_dict(self) -> dict[str, Any]:
        """Return which tiles are bad, and which the GPU's decoder rejects, and why."""
        return super().state_dict() | {"rejected": dict(self.rejected)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take which tiles are bad, and which the GPU's decoder rejects."""
        super().load_state_dict(state)
        self.rejected = {int(row): reason for row, reason in state.get("rejected", {}).items()}

    def own_settings(self) -> dict[str, Any]:
        """Return what says which tiles, and how they are read."""
        return {
            "tiles": len(self.table),
            "tile_size": self.tile_size,
            "edge": "pad" if self.reader.pad else "skip",
            "balance": self.balance,
            "verify": self.verify,
            "masks": None if self._masks is None else self._masks.told(),
            **self._digests,
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {"table": digest_of_table(self.table), "order": digest_of_order(self.order, len(self.table))}

    def forget(self) -> None:
        """Drop what was read ahead."""
        self._delivery.forget()

    def close(self) -> None:
        """Stop the reading threads and close the slides."""
        self._delivery.close()
        self.reader.close()
        self.log.write()
