"""Writing the table of a collection's finished tiles, ``tiles.parquet``, slide by slide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from .._urls import place_name
from ..errors import ArgumentError
from ..storage.aside import write_aside
from ..tables.split_columns import SPLIT_COLUMNS
from ..tables.tile_files import FRAME
from .table import AUGMENTED, CLASSES, EDGE, STAINS, TILES_FILE, WRITTEN_FIELDS, tile_schema

__all__ = ["tile_rows", "with_split_columns", "write_tiles"]

_ROW_GROUP = 1 << 17


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
        columns |= {field.name: written[field.name] for field in WRITTEN_FIELDS}
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
    metadata = {**FRAME, EDGE: edge.encode()}
    if classes is not None:
        metadata[CLASSES] = json.dumps(list(classes)).encode()
    if stains is not None:
        metadata[STAINS] = stains.encode()
    if augmented is not None:
        metadata[AUGMENTED] = augmented.encode()
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
