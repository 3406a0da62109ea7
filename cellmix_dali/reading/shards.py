"""From rows of a tile table to encoded images in shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..collection import CollectionIndex
from ..errors import ArgumentError, SlideError, unknown_name
from ..shards.png import PNG_SIGNATURE, png_damage
from ..shards.table import image_sizes, is_sharded
from ..slides.damage import BlockCheck
from ..slides.stream_kinds import KINDS
from ..slides.usual_blocks import UsualHeader, read_usual
from ..storage.mirror import Mirror, Wanted, attach, held
from ..storage.moment import is_missing, refusal
from ..storage.open_file import KeptFile, OpenFile, read_in_parts
from ..storage.patience import AT_ONCE, Patience, Retry
from ..tables.tile_table import TileTable
from .slides import SLIDE_CACHE, VERIFY, EncodedTile, TileReader

__all__ = ["ShardReader", "tile_reader"]

_GEOMETRY = np.zeros((1, 5, 2), np.int32)  # each tile is one stream in full: nothing is cut or put together


def tile_reader(
    table: TileTable,
    *,
    edge: str = "skip",
    lenient: bool = False,
    retry: Retry = AT_ONCE,
    verify: str = "headers",
    slide_cache: int | str = SLIDE_CACHE,
    index: CollectionIndex | str | Path | None = None,
) -> TileReader | ShardReader:
    """Make the reader of a table's tiles: from shards where they are in shards, else from the slides.

    Parameters
    ----------
    table : TileTable
        The tiles; of shards, as `cellmix_dali.shards.open_tiles` gives them.
    edge, lenient
        See `cellmix_dali.reading.slides.TileReader`; tiles in shards are finished, so there it changes nothing.
    retry : Retry, optional
        See `cellmix_dali.reading.slides.TileReader`.
    verify : {"headers", "scan", "hash"}, default "headers"
        See `cellmix_dali.reading.slides.VERIFY`; "hash" for tiles in shards alone.
    slide_cache : int or str, default "512MB"
        See `cellmix_dali.reading.slides.TileReader`; tiles in shards need none.
    index : CollectionIndex or path, optional
        See `cellmix_dali.reading.slides.TileReader`; tiles in shards need none.
    """
    if not is_sharded(table):
        return TileReader(
            table, edge=edge, lenient=lenient, retry=retry, verify=verify, slide_cache=slide_cache, index=index
        )
    if edge not in ("skip", "pad"):
        raise unknown_name("edge", edge, ("skip", "pad"))
    return ShardReader(table, retry=retry, verify=verify)


class ShardReader:
    """Reads rows of a tile table as the encoded images in their shards; several threads may read at once.

    It has the interface of `cellmix_dali.reading.slides.TileReader`; each tile is one stream in full. An image is
    given out only when it is of the right length and looks whole: damage that shows in a JPEG without decoding it (see
    `cellmix_dali.slides.damage.BlockCheck`), the checksums of a PNG.

    Parameters
    ----------
    table : TileTable
        Of `cellmix_dali.shards.open_tiles`, or a part of it, or several joined.
    verify : {"headers", "scan", "hash"}, default "headers"
        See `cellmix_dali.reading.slides.VERIFY`. "hash" sees every changed bit.
    retry : Retry, optional
        How long what cannot be read for a reason of the moment is tried again. By default it is not.

    Raises
    ------
    ArgumentError
        If the table has no shards, or not for all tiles.
    SlideError
        If a shard is not there.

    Attributes
    ----------
    slots, whole, pad
        See `TileReader`: 1, True and False.
    kinds
        See `TileReader`: a shard may hold any kind.
    """

    slots = 1
    whole = True
    pad = False
    kinds = frozenset(KINDS)

    def __init__(self, table: TileTable, *, verify: str = "headers", retry: Retry = AT_ONCE) -> None:
        self.table = table
        if not is_sharded(table):
            raise ArgumentError("The tiles of this table are not in shards: open those with open_tiles(folder).")
        shard = _shards(table)
        self._paths: list[str] = shard.dictionary.to_pylist()
        self._shard: NDArray[np.int32] = shard.indices.to_numpy()
        self._offset = _numbers(table, "offset")
        self._bytes = _numbers(table, "bytes")
        self._side = image_sizes(table)
        if verify not in VERIFY:
            raise unknown_name("verify", verify, VERIFY)
        if verify == "hash" and "sha256" not in table.arrow.column_names:
            raise ArgumentError(
                "verify='hash' needs the column 'sha256' of the tile table, which is missing: use open_tiles(folder), "
                "or verify='scan'."
            )
        self._scans = verify == "scan"
        self._sha256 = table.arrow["sha256"] if verify == "hash" else None
        used = np.flatnonzero(np.bincount(self._shard, minlength=len(self._paths)))
        for path in (self._paths[number] for number in used.tolist()):
            if not Path(path).is_absolute():
                raise ArgumentError(
                    f"The tile table names a shard {path} of an unknown folder: use open_tiles(folder)."
                )
            if is_missing(path):
                raise SlideError(f"There is no shard at {path}. Copy the whole folder, or finish it with --resume.")
        self._patience = Patience(retry)
        self._files = [KeptFile(path) for path in self._paths]
        self._checks: dict[tuple[int, int], BlockCheck] = {}
        self._usual: dict[tuple[int, int], UsualHeader] = {}  # by slide and size

    def read(self, rows: NDArray[np.int64], *, patient: bool = True) -> list[EncodedTile | SlideError]:
        """Read tiles; in the place of one that cannot be read stands the reason. See `TileReader.read`."""
        return self._patience.read(self._read_now, rows, self._shard) if patient else self._read_now(rows)

    def stop_waiting(self) -> None:
        """See `TileReader.stop_waiting`."""
        self._patience.stop()

    def _read_now(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles, each once."""
        if not len(rows):
            return []
        shards = {number: attach(Path(self._paths[number])) for number in set(self._shard[rows].tolist())}
        stored = {number: mirror for number, mirror in shards.items() if mirror is not None}
        return self._read_stored(rows, stored) if stored else read_in_parts(self._read, rows, self._shard)

    def _read_stored(self, rows: NDArray[np.int64], stored: Mapping[int, Mirror]) -> list[EncodedTile | SlideError]:
        """Read tiles of shards in a store: all that they lie on is fetched in one round of requests."""
        wanted: list[Wanted] = []
        for number, mirror in stored.items():
            own = rows[self._shard[rows] == number]
            wanted.append((mirror, self._offset[own], self._offset[own] + self._bytes[own]))
        with held(wanted) as failed:
            lost = {number: failed[mirror] for number, mirror in stored.items() if mirror in failed}
            there = np.array([number not in lost for number in self._shard[rows].tolist()])
            read = iter(read_in_parts(self._read, rows[there], self._shard) if there.any() else ())
            return [
                next(read) if is_there else lost[int(self._shard[row])]
                for is_there, row in zip(there.tolist(), rows.tolist(), strict=True)
            ]

    def _read(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles of a few shards."""
        found: list[EncodedTile | SlideError | None] = [None] * len(rows)
        # In the order of the files, which disks read fastest.
        order = np.lexsort((self._offset[rows], self._shard[rows]))
        for place, row, stream in zip(order.tolist(), rows[order].tolist(), self._read_usual(rows[order]), strict=True):
            if stream is None or self._is_changed(row, stream) or self._scan_fails(row, stream):
                found[place] = self._tile(row)
            else:
                found[place] = EncodedTile((stream,), _GEOMETRY, "shard")
        return [each for each in found if each is not None]

    def only(self, kinds: Iterable[str]) -> None:
        """See `TileReader`. Tiles of shards have no other way, so their decoder must be right about all kinds.

        Raises
        ------
        ArgumentError
            If a kind is missing.
        """
        missing = self.kinds - set(kinds)
        if missing:
            raise ArgumentError(
                f"Tiles of shards are all read directly, but {', '.join(sorted(missing))} must not be. "
                "Decode them on the CPU."
            )

    def close(self) -> None:
        """Close the shards."""
        for file in self._files:
            file.close()

    def _read_usual(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8] | None]:
        """Read tiles that begin with the usual header; None stands for any other, and for bad ones."""
        shard, slide, side = self._shard[rows].tolist(), self.table.slide[rows].tolist(), self._side[rows].tolist()
        kinds: dict[tuple[int, int, int], int] = {}
        which = [kinds.setdefault(kind, len(kinds)) for kind in zip(shard, slide, side, strict=True)]
        headers = [self._usual.get((slide, side)) for _, slide, side in kinds]
        files = [
            None if header is None else self._file_or_none(shard)
            for (shard, _, _), header in zip(kinds, headers, strict=True)
        ]
        return read_usual(files, headers, np.array(which, np.int64), self._offset[rows], self._bytes[rows])

    def _tile(self, row: int) -> EncodedTile | SlideError:
        """Read any tile."""
        try:
            stream = self._stream(row)
        except SlideError as error:
            return error
        wrong = self._damage(row, stream)
        if wrong is not None:
            return SlideError(f"A tile's image is damaged: {wrong} ({self._describe(row)}).")
        return EncodedTile((np.frombuffer(stream, np.uint8),), _GEOMETRY, "shard")

    def _stream(self, row: int) -> bytes:
        """Read a tile's bytes, or say why that cannot be."""
        try:
            file = self._file(int(self._shard[row]))
            offset, length = int(self._offset[row]), int(self._bytes[row])
            there = max(0, min(length, os.fstat(file.number).st_size - offset))
            stream = os.pread(file.number, there, offset)
        except OSError as error:
            raise refusal(f"A tile cannot be read ({self._describe(row)})", error, "Check the shard.") from error
        if len(stream) != length:
            raise SlideError(
                f"A shard is cut short: only {len(stream)} of a tile's {length} bytes are there "
                f"({self._describe(row)})."
            )
        return stream

    def _damage(self, row: int, stream: bytes) -> str | None:
        """Say what is wrong with a tile's bytes, if anything is; take a sound JPEG's header for the usual one."""
        if self._is_changed(row, np.frombuffer(stream, np.uint8)):
            return "its SHA-256 is not the one that the tile table states"
        side = int(self._side[row])
        if stream.startswith(PNG_SIGNATURE):
            return png_damage(stream, side)
        if not stream.startswith(b"\xff\xd8"):
            return f"no JPEG or PNG starts here (bytes {stream[:4].hex(' ') or 'none'})"
        # Blocks of one slide share a header, as a rule.
        key = int(self.table.slide[row]), side
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = BlockCheck(side, side, scans=self._scans)
        damage = check.damage(stream)
        plain = None if damage is not None else check.plain_head(stream)
        if plain is not None:
            length, zeros = plain
            self._usual[key] = UsualHeader(stream[:length], stream[:length], zeros)
        return damage

    def _is_changed(self, row: int, stream: NDArray[np.uint8]) -> bool:
        """Whether the bytes are others than were written, where that is to be verified."""
        return self._sha256 is not None and hashlib.sha256(stream.data).hexdigest() != self._sha256[row].as_py()

    def _scan_fails(self, row: int, stream: NDArray[np.uint8]) -> bool:
        """Whether the scan of a tile that begins as usual is not whole, where that is to be verified."""
        if not self._scans:
            return False
        key = int(self.table.slide[row]), int(self._side[row])
        header = self._usual[key].header
        return self._checks[key].scan_fault(header, stream[len(header) : -2]) is not None

    def _file(self, shard: int) -> OpenFile:
        """A shard's open file; those used last stay open."""
        return self._files[shard].open()

    def _file_or_none(self, shard: int) -> OpenFile | None:
        """The same; None where it cannot be opened, which the careful way says for each tile."""
        try:
            return self._file(shard)
        except OSError:
            return None

    def _describe(self, row: int) -> str:
        return f"{self._paths[self._shard[row]]}, byte {self._offset[row]}: {self.table.describe(row)}"


def _shards(table: TileTable) -> Any:
    """The column of shards as one dictionary array without empty cells."""
    column = table.arrow["shard"]
    if column.null_count:
        raise ArgumentError(
            f"{column.null_count} of {len(table)} tiles are in no shard: tiles from shards and from slides cannot be "
            "read together. Train on one kind."
        )
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    return column.combine_chunks()


def _numbers(table: TileTable, name: str) -> NDArray[np.int64]:
    """A column of places or lengths, checked."""
    if name not in table.arrow.column_names:
        raise ArgumentError(f"The table of tiles in shards has no column {name!r}: use open_tiles(folder).")
    column = table.arrow[name]
    if column.null_count or not pa.types.is_integer(column.type):
        raise ArgumentError(f"Column {name!r} of the tile table must hold whole numbers in every row.")
    values: NDArray[np.int64] = column.to_numpy()
    if len(values) and values.min() < 0:
        raise ArgumentError(f"Column {name!r} of the tile table holds {values.min()}: too small.")
    return values
