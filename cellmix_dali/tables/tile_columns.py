"""Columns of tile tables: made from what users give, and taken from Arrow without copies where that can be."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

__all__ = ["INTEGERS", "integer_column", "label_column", "labels_of", "slide_column", "whole"]

_Integer = TypeVar("_Integer", bound=np.signedinteger[Any])

#: The columns of whole numbers, with their types.
INTEGERS: dict[str, type[np.int32 | np.int64]] = {"level": np.int32, "x": np.int64, "y": np.int64, "size": np.int32}
_LOWEST = {"level": 0, "x": 0, "y": 0, "size": 1}


def slide_column(table: pa.Table) -> tuple[pa.Table, pa.DictionaryArray]:
    """Return the slides' names as a dictionary in one piece, and the table with that; refuse what is not a path."""
    names = table["slide"]
    is_dictionary = pa.types.is_dictionary(names.type)
    of = names.type.value_type if is_dictionary else names.type
    if not (pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_null(of)):
        raise ArgumentError(f"Column 'slide' of the tile table must hold paths (strings), it holds {of}.")
    if not is_dictionary and not names.null_count:
        table = _with(table, "slide", names.dictionary_encode())
    table, column = _column(table, "slide")
    if column.dictionary.null_count:
        raise ArgumentError("Column 'slide' of the tile table names an empty path: fill it, or leave those rows out.")
    return table, column


def integer_column(table: pa.Table, name: str, check: bool) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return a column as a NumPy view, checked, and the table with it in one piece."""
    of = table[name].type
    if not pa.types.is_integer(of):
        raise ArgumentError(f"Column {name!r} of the tile table must hold integers, it holds {of}.")
    table, column = _column(table, name)
    values: NDArray[np.int64] = column.to_numpy()
    if values.dtype.kind == "u":
        values = values.astype(np.int64)  # differences of unsigned numbers wrap around
    if check and len(values) and values.min() < _LOWEST[name]:
        row = int(values.argmin())
        raise ArgumentError(f"Column {name!r} of the tile table holds {values[row]} in row {row}: too small.")
    return table, values


def labels_of(table: pa.Table) -> tuple[pa.Table, NDArray[np.int32] | NDArray[np.float32]]:
    """Return the labels, (n,) or (n, classes), and the table with them in one piece."""
    of = table["label"].type
    if pa.types.is_integer(of):
        table, column = _column(table, "label")
        return table, whole("label", column.to_numpy(), table.num_rows, np.int32)
    is_list = pa.types.is_list(of) or pa.types.is_large_list(of)
    if not (is_list or pa.types.is_fixed_size_list(of)) or not (
        pa.types.is_floating(of.value_type) or pa.types.is_integer(of.value_type)
    ):
        raise ArgumentError(
            f"Column 'label' of the tile table holds {of}: it must hold class indices (integers) or lists of "
            "class shares."
        )
    table, column = _column(table, "label")
    if is_list:
        lengths = np.unique(np.diff(column.offsets.to_numpy()))
        if len(lengths) > 1:
            raise ArgumentError(
                f"Column 'label' of the tile table holds lists of {lengths[0]} to {lengths[-1]} class shares: "
                "every tile needs one share per class."
            )
    flat = column.flatten()
    if flat.null_count:
        raise ArgumentError(f"Column 'label' of the tile table has {flat.null_count} empty class shares: fill them.")
    shares: NDArray[np.float32] = flat.to_numpy().astype(np.float32, copy=False)
    rows = table.num_rows
    return table, shares.reshape(rows, -1) if rows else shares.reshape(0, 0)


def whole(name: str, values: ArrayLike, rows: int, dtype: type[_Integer]) -> NDArray[_Integer]:
    """Return numbers as integers of a type, one per row; refuse those that this would change."""
    given = np.asarray(values)
    if given.ndim and given.shape != (rows,):
        raise ArgumentError(
            f"{name} has shape {given.shape}, there are {rows} tiles: give one for each tile, or one for all."
        )
    if given.dtype == dtype and given.ndim:
        return given
    with np.errstate(invalid="ignore"):
        whole = given.astype(dtype) if given.dtype.kind in "iufb" else None
    if whole is None or not np.array_equal(whole, given):
        wrong = given if whole is None else np.atleast_1d(given)[np.atleast_1d(whole != given)][0]
        raise ArgumentError(
            f"{name} holds {wrong!r}: whole numbers are needed that fit into {np.dtype(dtype).itemsize * 8} bits."
        )
    return np.broadcast_to(whole, (rows,))


def label_column(label: ArrayLike, rows: int) -> pa.Array:
    """Return labels as an Arrow column."""
    given = np.asarray(label)
    if given.ndim != 2:
        return pa.array(whole("label", given, rows, np.int32))
    if len(given) != rows or given.shape[1] < 1:
        raise ArgumentError(
            f"label has shape {given.shape}, there are {rows} tiles: give shares of shape (tiles, classes)."
        )
    flat = pa.array(np.ascontiguousarray(given, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, given.shape[1])


def _column(table: pa.Table, name: str) -> tuple[pa.Table, pa.Array]:
    """A column without empty cells, in one piece; the table keeps the piece, so that memory holds it once."""
    column = table[name]
    if column.null_count:
        raise ArgumentError(
            f"Column {name!r} of the tile table has {column.null_count} empty cells: fill them, "
            "or leave those rows out."
        )
    if column.num_chunks == 1:
        return table, column.chunk(0)  # combine_chunks would copy even this
    piece = column.combine_chunks()
    return _with(table, name, piece), piece


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with another form of a column."""
    return table.set_column(table.column_names.index(name), name, column)
