"""Columns of a tile table as numbers: targets beside the class labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import ArgumentError, unknown_name
from .tile_table import TileTable

__all__ = ["column_numbers"]


def column_numbers(table: TileTable, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return columns of a tile table beside each other.

    Parameters
    ----------
    table : TileTable
        The tiles.
    columns : sequence of str
        Names of columns that hold numbers, booleans, or lists of them that are all of one length.

    Returns
    -------
    float64 array (tiles, numbers)

    Raises
    ------
    ArgumentError
        If there is no such column, it holds something else, or a cell is empty.
    """
    parts = [_numbers(table, name) for name in columns]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0))


def _numbers(table: TileTable, name: str) -> NDArray[np.float64]:
    """One column, (tiles, numbers)."""
    if name not in table.arrow.column_names:
        raise unknown_name("column of the tile table", name, table.arrow.column_names)
    column = table.arrow[name]
    if column.null_count:
        raise ArgumentError(
            f"Column {name!r} of the tile table has {column.null_count} empty cells: fill them, or leave those rows "
            "out (table.select)."
        )
    of = column.type
    is_list = pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of)
    number = of.value_type if is_list else of
    if not (pa.types.is_floating(number) or pa.types.is_integer(number) or pa.types.is_boolean(number)):
        raise ArgumentError(
            f"Column {name!r} of the tile table holds {of}: targets are numbers, booleans, or lists of them. Names of "
            "classes are for the column 'label'."
        )
    whole = column.combine_chunks()
    if not is_list:
        return _as_floats(whole)[:, None]
    flat = whole.flatten()
    if flat.null_count:
        raise ArgumentError(f"The lists in column {name!r} of the tile table have {flat.null_count} empty places.")
    if len(table) and len(flat) % len(table):
        raise _unequal(name)
    width = len(flat) // len(table) if len(table) else 0
    if not pa.types.is_fixed_size_list(of) and (np.diff(whole.offsets.to_numpy()) != width).any():
        raise _unequal(name)
    return _as_floats(flat).reshape(len(table), width)


def _as_floats(values: pa.Array) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _unequal(name: str) -> ArgumentError:
    return ArgumentError(f"The lists in column {name!r} of the tile table are not all of one length: make them so.")
