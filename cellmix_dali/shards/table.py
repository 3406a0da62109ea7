"""The table of a collection's finished tiles, ``tiles.parquet``: its columns, writing and opening it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from .._arguments import path_of
from .._urls import place_name
from ..errors import ArgumentError
from ..storage.aside import told, write_aside
from ..storage.foreign_files import names_in
from ..storage.moment import is_folder, may_be_file
from ..tables.split_columns import SPLIT_COLUMNS
from ..tables.tile_files import FRAME
from ..tables.tile_table import TileTable

__all__ = [
    "TILES_FILE",
    "image_sizes",
    "is_sharded",
    "open_tiles",
    "tile_classes",
    "tile_edge",
    "tile_rows",
    "tile_schema",
    "tile_augmentation",
    "tile_stains",
    "tiles_file",
    "with_split_columns",
    "write_tiles",
]

TILES_FILE = "tiles.parquet"

_NAMES = pa.dictionary(pa.int32(), pa.string())
_TILE = [
    pa.field("slide", _NAMES, nullable=False),
    pa.field("level", pa.int32(), nullable=False),
    pa.field("x", pa.int64(), nullable=False),
    pa.field("y", pa.int64(), nullable=False),
    pa.field("size", pa.int32(), nullable=False),
    pa.field("tile_size", pa.int32(), nullable=False),
    pa.field("mpp", pa.float64()),
    pa.field("tissue", pa.float32()),
]
_LABEL = [pa.field("label", pa.int32(), nullable=False)]
_WRITTEN = [
    pa.field("shard", _NAMES, nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("bytes", pa.int64(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
]
_CLASSES, _EDGE = b"cellmix_dali.classes", b"cellmix_dali.edge"  # in the file's metadata
_STAINS = b"cellmix_dali.normalised"
_AUGMENTED = b"cellmix_dali.augmented"
_OF = b"cellmix_dali.of"  # in an Arrow file's metadata: size and time of the table that it was made of
_ROW_GROUP = 1 << 17
# What reading needs.
_NEEDED = {"slide", "level", "x", "y", "size", "tile_size", "label", "shard", "offset", "bytes"}


def tile_schema(*, labelled: bool, sharded: bool, said: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of ``tiles.parquet``.

    ``slide`` (path), ``level``, ``x``, ``y``, ``size`` (the window, in pixels of the level, as in every
    `cellmix_dali.tables.TileTable`), ``tile_size`` (side of the finished image in pixels), ``mpp`` (microns per pixel
    of the finished image; may be empty), ``tissue`` (share of the window that is tissue, 0 to 1; may be empty).

    Parameters
    ----------
    labelled : bool
        With ``label`` (class index).
    sharded : bool
        With ``shard`` (the shard's path from the table's folder on), ``offset`` (of the image's first byte in the
        shard), ``bytes`` (of the image), ``sha256`` (of the image, hexadecimal).
    said : sequence of str
        Of the columns ``patient``, ``split`` and ``fold`` (text, what a list says of the slide), those that are there.
    """
    of_list = [pa.field(name, _NAMES, nullable=False) for name in said]
    return pa.schema([*_TILE, *(_LABEL if labelled else []), *of_list, *(_WRITTEN if sharded else [])])


def tile_rows(
    slide: str | Path,
    *,
    x: ArrayLike,
    y: ArrayLike,
    size: ArrayLike,
    level: ArrayLike,
    tile_size: int,
    mpp: float | None = None,
    tissue: ArrayLike | None = None,
    label: ArrayLike | None = None,
    written: pa.Table | None = None,
) -> pa.Table:
    """Make the rows of one slide's tiles.

    Parameters
    ----------
    slide : str or Path
        The slide.
    x, y, size, level : integer arrays (n,), or one number for all
        The windows: upper left corners and sides in pixels of the level.
    tile_size : int
        Side of the finished images in pixels.
    mpp : float, optional
        Microns per pixel of the finished images.
    tissue : float array (n,), optional
        Share of tissue.
    label : integer array (n,), optional
        Class indices.
    written : pyarrow.Table, optional
        What `ShardWriter.close` gave; without it the rows are coordinates alone.

    Returns
    -------
    pyarrow.Table
        In the schema of `tile_schema`.

    Raises
    ------
    ArgumentError
        If columns differ in length, or cannot be what they should be.
    """
    xs = np.atleast_1d(np.asarray(x))
    rows = len(xs)
    numbers = {"level": level, "x": xs, "y": y, "size": size, "tile_size": tile_size, "mpp": mpp, "tissue": tissue}
    columns: dict[str, Any] = {"slide": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [place_name(slide)])}
    if label is not None:
        numbers["label"] = label
    for name, values in numbers.items():
        given = np.asarray(np.nan if values is None else values)
        if given.ndim and given.shape != (rows,):
            raise ArgumentError(
                f"{name} has shape {given.shape}, there are {rows} tiles: give one for each tile, or one for all."
            )
        columns[name] = pa.nulls(rows) if values is None else pa.array(np.broadcast_to(given, rows))
    if written is not None:
        if len(written) != rows:
            raise ArgumentError(f"{len(written)} tiles were written, there are {rows} windows: give the same tiles.")
        columns |= {field.name: written[field.name] for field in _WRITTEN}
    schema = tile_schema(labelled=label is not None, sharded=written is not None)
    try:
        return pa.table(columns).select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise ArgumentError(f"The tiles of {slide} do not fit the tile table: {error}.") from error


def with_split_columns(rows: pa.Table, said: Mapping[str, str]) -> pa.Table:
    """Add to the rows of one slide's tiles what a list says of it.

    Parameters
    ----------
    rows : pyarrow.Table
        Of `tile_rows`.
    said : mapping of str to str
        By the names ``patient``, ``split``, ``fold``; some, or none.

    Returns
    -------
    pyarrow.Table
    """
    for name, value in said.items():
        rows = rows.append_column(name, pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), [value]))
    return rows


def write_tiles(
    path: str | Path,
    rows: Iterable[pa.Table],
    *,
    classes: Sequence[str] | None = None,
    edge: str = "skip",
    stains: str | None = None,
    augmented: str | None = None,
) -> Path:
    """Write a table of finished tiles. The same rows give the same bytes, however they are divided.

    Parameters
    ----------
    path : str or Path
        The file (``.parquet``), or the folder, where it is ``tiles.parquet``. It is there in full or not at all.
    rows : iterable of pyarrow.Table
        Of `tile_rows`, one schema all; written in this order. With `with_split_columns` they may have these. Memory
        holds 131,072 rows at a time, and one of these tables.
    classes : sequence of str, optional
        Names of the labels; kept in the file's metadata.
    edge : {"skip", "pad"}, default "skip"
        Whether windows may reach over the edge of their level; kept in the file's metadata.
    stains : str, optional
        How the tiles' stains were normalised, for a person; kept in the file's metadata.
    augmented : str, optional
        How the tiles were augmented, for a person; kept in the file's metadata.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ArgumentError
        If there are no rows, or they have several schemas.
    WriteError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        path /= TILES_FILE
    parts = iter(rows)
    first = next(parts, None)
    if first is None:
        raise ArgumentError(f"There are no tiles to write to {path}: give at least one table of rows.")
    names = set(first.column_names)
    said = [name for name in SPLIT_COLUMNS if name in names]
    schema = tile_schema(labelled="label" in names, sharded="shard" in names, said=said)
    metadata = {**FRAME, _EDGE: edge.encode()}
    if classes is not None:
        metadata[_CLASSES] = json.dumps(list(classes)).encode()
    if stains is not None:
        metadata[_STAINS] = stains.encode()
    if augmented is not None:
        metadata[_AUGMENTED] = augmented.encode()
    encoded = [name for name in ("slide", "shard", *said) if name in names]
    options = {"compression": "zstd", "use_dictionary": encoded}
    try:
        with write_aside(path) as file, pq.ParquetWriter(file, schema.with_metadata(metadata), **options) as writer:
            for group in _row_groups(chain([first], parts), schema):
                writer.write_table(group, row_group_size=_ROW_GROUP)
    except (pa.ArrowException, ValueError) as error:
        raise ArgumentError(f"The rows for {path} do not go together: {error}. Label all of them, or none.") from error
    return path


def _row_groups(parts: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows in groups of one length, whatever their parts' lengths; each numbers its names from 0."""
    waiting, count = list[pa.Table](), 0
    for part in parts:
        waiting.append(_ordered(part, schema).cast(schema))
        count += len(part)
        while count >= _ROW_GROUP:
            joined = pa.concat_tables(waiting)
            yield _as_one(joined.slice(0, _ROW_GROUP))
            waiting, count = [joined.slice(_ROW_GROUP)], count - _ROW_GROUP
    if count:
        yield _as_one(pa.concat_tables(waiting))


def _as_one(rows: pa.Table) -> pa.Table:
    """Rows in one piece, with the names of their columns in the order in which they appear."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(number, field, _in_order(rows[field.name]))
    return rows.combine_chunks()


def _ordered(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with their columns in the schema's order; unchanged where they lack one or have others."""
    return rows.select(schema.names) if set(rows.column_names) == set(schema.names) else rows


def _in_order(names: pa.ChunkedArray) -> pa.DictionaryArray:
    """Number the names of a column in the order in which they appear, whatever numbers its parts had."""
    chunks = names.unify_dictionaries().chunks
    if not chunks:
        return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    used, first, numbers = np.unique(
        np.concatenate([chunk.indices.to_numpy() for chunk in chunks]), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    numbers = np.argsort(order)[numbers].astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(numbers), chunks[0].dictionary.take(pa.array(used[order])))


def tiles_file(path: str | Path) -> Path:
    """Return the file of a collection's table; raise `ArgumentError` if there is none."""
    path = path_of("A folder of tiles", path)
    file = path / TILES_FILE if is_folder(path) else path
    if not may_be_file(file):
        raise ArgumentError(
            f"There is no tile table at {file}: give the folder that `cellmix-dali tile --out` wrote. If tiling was "
            "interrupted, finish it with --resume."
        )
    return file


def open_tiles(path: str | Path, *, columns: Iterable[str] | None = None, mapped: bool = False) -> TileTable:
    """Open a collection of finished tiles, to train on it: ``train_loader(open_tiles(folder), ...)``.

    Parameters
    ----------
    path : str or Path
        The collection's folder, or its ``tiles.parquet``. The folder may have been moved, and the slides may be gone.
    columns : iterable of str, optional
        Which columns to read besides those that say where tiles lie, and ``label``; by default all. A row takes 60
        bytes of memory without, and 130 to 220 with all: ``sha256`` alone takes 72.
    mapped : bool, default False
        Whether to map an Arrow file that lies beside ``tiles.parquet``, ``tiles.arrow``, where all processes of a
        machine share the memory: all columns but ``sha256``. If it is not there, or is of another ``tiles.parquet``, it
        is made first, by one process while others wait.

    Returns
    -------
    TileTable
        With the columns of `tile_schema` that were asked for, ``shard`` as absolute paths, and others that there are.
        Of a table of coordinates alone (``--coords-only``), the tiles are read from the slides.

    Raises
    ------
    ArgumentError
        If there is no such table, or it is not of this kind; if `mapped` and the Arrow file cannot be made.
    """
    file = tiles_file(path)
    wanted = None if columns is None else {*_NEEDED, *columns}
    table = _mapped(file, wanted) if mapped else TileTable.open(file, columns=wanted)
    needed = [field.name for field in (*_TILE, *(_WRITTEN if is_sharded(table) else []))]
    left_out = set() if wanted is None else set(needed) - wanted
    left_out |= {"sha256"} if mapped else set()
    missing = [name for name in needed if name not in table.arrow.column_names and name not in left_out]
    if missing:
        raise ArgumentError(
            f"{file} is not a table of finished tiles: it has no column {missing[0]!r} (it has: "
            f"{', '.join(table.arrow.column_names)}). For a table of windows use TileTable.open."
        )
    if not is_sharded(table):
        return table
    shard = table.arrow["shard"].cast(_NAMES).combine_chunks()
    names = names_in("shard", shard.dictionary)
    wrong = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if wrong:
        raise ArgumentError(f"{file} names a shard outside its folder: {wrong[0]!r}. It was not written by tiling.")
    folder = file.absolute().parent
    paths = pa.array([str(folder / name) for name in names], pa.string())
    arrow = table.arrow.set_column(
        table.arrow.column_names.index("shard"), "shard", pa.DictionaryArray.from_arrays(shard.indices, paths)
    )
    return TileTable(arrow, check=False)


def _mapped(file: Path, columns: Set[str] | None) -> TileTable:
    """The Arrow file beside a table, made where there is none of this very table."""
    beside = file.with_suffix(".arrow")
    # Who makes it holds the table: the others of this machine wait, and find it made.
    with told(beside), file.open("rb") as held:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        state = os.fstat(held.fileno())
        of = f"{state.st_size} {state.st_mtime_ns}".encode()
        if not beside.exists() or (TileTable.open(beside).arrow.schema.metadata or {}).get(_OF) != of:
            table = TileTable.open(file)
            arrow = table.arrow.drop_columns([name for name in ("sha256",) if name in table.arrow.column_names])
            arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _OF: of})
            TileTable(arrow, check=False).save(beside)
    return TileTable.open(beside, columns=columns)


def is_sharded(table: TileTable) -> bool:
    """Whether a table's tiles are in shards, and not read from the slides."""
    return "shard" in table.arrow.column_names


def image_sizes(table: TileTable) -> NDArray[np.int64]:
    """Return the side of each tile's image as it is read, in pixels: of the finished image, or of the window."""
    if not is_sharded(table):
        return table.size
    sizes: NDArray[np.int64] = table.arrow["tile_size"].to_numpy()
    return sizes


def tile_classes(table: TileTable) -> tuple[str, ...] | None:
    """Return the names of the labels that the table's file states."""
    stated = (table.arrow.schema.metadata or {}).get(_CLASSES)
    if stated is None:
        return None
    try:
        names = json.loads(stated)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArgumentError("The tile table states names of classes that cannot be read: make or copy it again.")
    return tuple(names)


def tile_edge(table: TileTable) -> str:
    """Return what was done at the slides' edges, as the table's file states it: "skip" or "pad"."""
    stated: bytes = (table.arrow.schema.metadata or {}).get(_EDGE, b"skip")
    return stated.decode()


def tile_stains(table: TileTable) -> str | None:
    """Return how the tiles' stains were normalised, as the table's file states it; None where they are as scanned."""
    stated: bytes | None = (table.arrow.schema.metadata or {}).get(_STAINS)
    return None if stated is None else stated.decode()


def tile_augmentation(table: TileTable) -> str | None:
    """Return how the tiles were augmented, as the table's file states it; None where they were not."""
    stated: bytes | None = (table.arrow.schema.metadata or {}).get(_AUGMENTED)
    return None if stated is None else stated.decode()
