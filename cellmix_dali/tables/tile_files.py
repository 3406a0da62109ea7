"""Files of tile tables: Arrow, which is mapped, and Parquet, which is read."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ArgumentError, unknown_name
from ..storage.foreign_files import map_arrow, read_parquet

__all__ = ["FRAME", "read_parquet_tiles", "read_tile_file", "stating_frame", "write_tile_file"]

_ARROW = (".arrow", ".feather", ".ipc")
_PARQUET = (".parquet", ".pq")
_REMEDY = "It must be {kind}, whole: make or copy it again."
_CHECKED = b"cellmix_dali.checked_rows"  # in a file's metadata: how many rows were checked before it was written

FRAME = {b"cellmix_dali.coordinates": b"x, y and size in pixels of the row's level, from its upper left corner"}
"""Metadata of every tile table: what its columns count."""


def stating_frame(table: pa.Table) -> pa.Table:
    """Return the table with `FRAME` in its metadata.

    Raises
    ------
    ArgumentError
        If its metadata states other coordinates.
    """
    metadata = table.schema.metadata or {}
    ((key, ours),) = FRAME.items()
    stated = metadata.get(key, ours)
    if stated != ours:
        raise ArgumentError(
            f"The tile table's metadata state the coordinates {stated.decode(errors='replace')!r}, expected "
            f"{ours.decode()!r}. Convert its columns x and y with cellmix_dali.tables.from_level0, or make it again."
        )
    return table if key in metadata else table.replace_schema_metadata({**metadata, **FRAME})


def read_tile_file(path: Path, columns: Set[str] | None = None) -> tuple[pa.Table, bool]:
    """Map or read a file by its suffix; return its columns, and whether its rows were checked when it was written.

    Of the columns that it has, all are returned, or those that are named.

    Raises
    ------
    ArgumentError
        If there is no such file, or it is of another kind or broken.
    """
    suffix = _suffix(path)
    if suffix in _PARQUET:
        return read_parquet_tiles(path, columns), False
    kind = "an Arrow file (the random-access kind, not a stream)"
    table = map_arrow(path, "The tile table", _REMEDY.format(kind=kind))
    if columns is not None:
        table = table.select([name for name in table.column_names if name in columns])
    return table, (table.schema.metadata or {}).get(_CHECKED) == str(table.num_rows).encode()


def read_parquet_tiles(path: Path, columns: Set[str] | None = None) -> pa.Table:
    """Read a Parquet file, whatever its suffix; see `read_tile_file`."""
    return read_parquet(path, "The tile table", _REMEDY.format(kind="a Parquet file"), columns=columns)


def write_tile_file(table: pa.Table, path: Path) -> None:
    """Write checked columns to a file, of the kind that its suffix says; it takes its place when it is complete.

    Raises
    ------
    ArgumentError
        If the suffix is not one of a tile table.
    """
    suffix = _suffix(path)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _CHECKED: str(table.num_rows).encode()})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if suffix in _PARQUET:
            pq.write_table(table, part)
        else:
            if any(column.num_chunks > 1 for column in table.columns):
                table = table.combine_chunks()
            with pa.ipc.new_file(str(part), table.schema) as file:
                file.write_table(table)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _suffix(path: Path) -> str:
    """The suffix of a tile table's file; refused if it is none."""
    suffix = path.suffix.lower()
    if suffix not in (*_ARROW, *_PARQUET):
        raise unknown_name("suffix of a tile table", path.suffix, (*_ARROW, *_PARQUET))
    return suffix
