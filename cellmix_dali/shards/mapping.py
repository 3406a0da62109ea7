"""The Arrow file beside a table of finished tiles, which all processes of a machine map.

It holds each column in one piece, as mapping needs it, and is made of a Parquet file of any length in little memory:
columns are put together one after the other, in files that are mapped themselves.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._arguments import local_only
from ..storage.aside import told
from ..storage.foreign_files import reading
from ..tables.tile_table import TileTable

__all__ = ["mapped_table"]

_OF = b"cellmix_dali.of"  # in the Arrow file's metadata: size and time of the table that it was made of
_LEFT_OUT = "sha256"  # more bytes than all the others
_ROWS = 1 << 17  # that are looked at together


def mapped_table(file: Path, columns: Set[str] | None) -> TileTable:
    """Map the Arrow file beside a table, made where there is none of this very table.

    Parameters
    ----------
    file : Path
        ``tiles.parquet``.
    columns : set of str or None
        Which of its columns; None: all.

    Raises
    ------
    ArgumentError
        If either file cannot be read, or the Arrow file cannot be made, as in a store.
    """
    beside = local_only("The Arrow file of a table", file.with_suffix(".arrow"))
    # Who makes it holds the table: the others of this machine wait, and find it made.
    with told(beside), file.open("rb") as held:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        state = os.fstat(held.fileno())
        of = f"{state.st_size} {state.st_mtime_ns}".encode()
        if not beside.exists() or (TileTable.open(beside).arrow.schema.metadata or {}).get(_OF) != of:
            with TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as scratch:
                table = _in_one_piece(file, Path(scratch))
                table = table.replace_schema_metadata({**(table.schema.metadata or {}), _OF: of})
                TileTable(table).save(beside)
    return TileTable.open(beside, columns=columns)


def _in_one_piece(file: Path, scratch: Path) -> pa.Table:
    """A Parquet file's columns, each in one piece that lies in a file of `scratch`."""
    with (
        reading(file, "The tile table", "It must be a Parquet file, whole: make or copy it again."),
        pq.ParquetFile(file, memory_map=True) as parquet,
    ):
        fields = [field for field in parquet.schema_arrow if field.name != _LEFT_OUT]
        columns = []
        for number, field in enumerate(fields):
            (scratch / str(number)).mkdir()
            columns.append(_column(parquet, field, scratch / str(number)))
        return pa.table(columns, pa.schema(fields, parquet.schema_arrow.metadata))


def _column(parquet: pq.ParquetFile, field: pa.Field, scratch: Path) -> pa.Array:
    """A column of numbers or of names by their numbers; one of another kind is read to memory."""
    rows, is_names = parquet.metadata.num_rows, pa.types.is_dictionary(field.type)
    stored = field.type.index_type if is_names else field.type
    if not rows or not (pa.types.is_integer(stored) or pa.types.is_floating(stored)):
        return parquet.read([field.name]).column(0).combine_chunks()
    values = np.memmap(scratch / "values", stored.to_pandas_dtype(), "w+", shape=rows)
    valid = np.memmap(scratch / "valid", np.bool_, "w+", shape=rows)
    names: dict[str | None, int] = {}
    at = 0
    for batch in parquet.iter_batches(_ROWS, columns=[field.name]):
        part = batch.column(0)
        numbers = (part.indices if is_names else part).fill_null(0).to_numpy()
        if is_names:
            own = [names.setdefault(name, len(names)) for name in part.dictionary.to_pylist()]
            numbers = np.array(own, stored.to_pandas_dtype())[numbers] if own else 0
        values[at : at + len(part)] = numbers
        valid[at : at + len(part)] = part.is_valid().to_numpy(zero_copy_only=False)
        at += len(part)
    buffers = [_bits(valid, scratch), pa.py_buffer(values)]
    array = pa.Array.from_buffers(stored, rows, buffers)
    if not is_names:
        return array
    return pa.DictionaryArray.from_arrays(array, pa.array(list(names), field.type.value_type))


def _bits(valid: NDArray[np.bool_], scratch: Path) -> pa.Buffer | None:
    """Which cells hold something, a bit each; None where all do."""
    rows = len(valid)
    if all(valid[at : at + _ROWS].all() for at in range(0, rows, _ROWS)):
        return None
    bits = np.memmap(scratch / "bits", np.uint8, "w+", shape=-(-rows // 8))
    for at in range(0, rows, _ROWS):
        packed = np.packbits(valid[at : at + _ROWS], bitorder="little")
        bits[at // 8 : at // 8 + len(packed)] = packed
    return pa.py_buffer(bits)
