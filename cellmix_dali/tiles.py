"""The tile table: one row a training image, kept as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError

__all__ = ["TileTable"]

_INTEGERS = {"level": np.int32, "x": np.int64, "y": np.int64, "size": np.int32}


class TileTable:
    """Tiles of slides: where each lies and what it shows.

    Parameters
    ----------
    table : pyarrow.Table
        Columns ``slide`` (path, string or dictionary of strings), ``level`` (0 is the finest), ``x``, ``y`` (upper left
        corner, in pixels of that level), ``size`` (side in pixels of that level) and, optionally, ``label`` (class
        index, or a list of class shares).

    Raises
    ------
    ArgumentError
        If a column is missing, of a wrong type, or holds nulls or negative numbers.

    Attributes
    ----------
    arrow : pyarrow.Table
        The table.
    slides : tuple of str
        Paths of the slides.
    slide : int32 array (n,)
        Index into `slides`.
    level, x, y, size : integer arrays (n,)
        The columns.
    label : int32 array (n,), float32 array (n, classes), or None
        The labels.
    """

    def __init__(self, table: pa.Table) -> None:
        missing = [name for name in ("slide", *_INTEGERS) if name not in table.column_names]
        if missing:
            raise ArgumentError(
                f"The tile table has no column {missing[0]!r} (it has: {', '.join(table.column_names)}). "
                "Needed: slide, level, x, y, size; optional: label."
            )
        empty = [name for name in table.column_names if table[name].null_count]
        if empty:
            raise ArgumentError(
                f"Column {empty[0]!r} of the tile table has {table[empty[0]].null_count} empty cells: fill them, "
                "or leave those rows out."
            )
        names = table["slide"]
        if not pa.types.is_dictionary(names.type):
            names = names.cast(pa.string()).dictionary_encode()
        slide = names.unify_dictionaries().combine_chunks()
        self.arrow = table.set_column(table.column_names.index("slide"), "slide", slide)
        self.slides: tuple[str, ...] = tuple(slide.dictionary.to_pylist())
        self.slide: NDArray[np.int32] = slide.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        self.level = self._integers("level")
        self.x = self._integers("x")
        self.y = self._integers("y")
        self.size = self._integers("size")
        self.label = self._labels()

    @classmethod
    def from_columns(
        cls,
        slide: str | Path | Sequence[str | Path],
        *,
        x: ArrayLike,
        y: ArrayLike,
        size: ArrayLike,
        level: ArrayLike = 0,
        label: ArrayLike | None = None,
    ) -> TileTable:
        """Make a table from columns; a single value stands for all rows."""
        xs = np.atleast_1d(np.asarray(x))
        rows = len(xs)
        if isinstance(slide, str | Path):
            names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([str(slide)]))
        else:
            names = pa.array([str(path) for path in slide]).dictionary_encode()
        columns: dict[str, pa.Array] = {"slide": names}
        for (name, dtype), values in zip(_INTEGERS.items(), (level, xs, y, size), strict=True):
            columns[name] = pa.array(np.broadcast_to(np.asarray(values), (rows,)).astype(dtype))
        if label is not None:
            given = np.asarray(label)
            if given.ndim == 2:
                flat = pa.array(given.astype(np.float32).ravel())
                columns["label"] = pa.FixedSizeListArray.from_arrays(flat, given.shape[1])
            else:
                columns["label"] = pa.array(np.broadcast_to(given, (rows,)).astype(np.int32))
        return cls(pa.table(columns))

    @classmethod
    def from_parquet(cls, path: str | Path) -> TileTable:
        """Read a table from a Parquet file."""
        if not Path(path).is_file():
            raise ArgumentError(f"There is no tile table at {path}.")
        return cls(pq.read_table(path, memory_map=True))

    def to_parquet(self, path: str | Path) -> None:
        """Write the table to a Parquet file."""
        pq.write_table(self.arrow, path)

    @classmethod
    def concat(cls, tables: Sequence[TileTable]) -> TileTable:
        """Join tables, in order."""
        return cls(
            pa.concat_tables([table.arrow for table in tables], promote_options="permissive").unify_dictionaries()
        )

    def select(self, rows: ArrayLike) -> TileTable:
        """Give the rows of a boolean mask or of row numbers, in that order."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return TileTable(self.arrow.take(pa.array(chosen)))

    def with_labels(self, label: ArrayLike) -> TileTable:
        """Give the same tiles with other labels: class indices (n,) or class shares (n, classes)."""
        other = TileTable.from_columns("", x=self.x, y=self.y, size=self.size, label=label)
        table = self.arrow.drop_columns(["label"]) if "label" in self.arrow.column_names else self.arrow
        return TileTable(table.append_column("label", other.arrow["label"]))

    def check_labels(self, num_classes: int) -> None:
        """Raise `ArgumentError` if there are no labels, or one does not fit the number of classes."""
        if self.label is None:
            raise ArgumentError("The tile table has no column 'label': training and evaluation need one.")
        if self.label.ndim == 2:
            if self.label.shape[1] != num_classes:
                raise ArgumentError(
                    f"The tile table's labels are shares of {self.label.shape[1]} classes, num_classes={num_classes}."
                )
            return
        wrong = np.flatnonzero((self.label < 0) | (self.label >= num_classes))
        if wrong.size:
            row = int(wrong[0])
            raise ArgumentError(
                f"Label {int(self.label[row])} of tile {row} ({self.describe(row)}) is out of range: with "
                f"num_classes={num_classes} labels go from 0 to {num_classes - 1}. {wrong.size} tile(s) have such a label."
            )

    def describe(self, row: int) -> str:
        """Say for a person which tile a row is."""
        return (
            f"{self.slides[self.slide[row]]}, level {self.level[row]}, x {self.x[row]}, y {self.y[row]}, "
            f"size {self.size[row]}"
        )

    def __len__(self) -> int:
        return self.arrow.num_rows

    def _integers(self, name: str) -> NDArray[np.int64]:
        """A column as a numpy view, checked."""
        column = self.arrow[name]
        if not pa.types.is_integer(column.type):
            raise ArgumentError(f"Column {name!r} of the tile table must hold integers, it holds {column.type}.")
        values: NDArray[np.int64] = column.to_numpy()
        lowest = 1 if name == "size" else 0
        if len(values) and values.min() < lowest:
            row = int(values.argmin())
            raise ArgumentError(f"Column {name!r} of the tile table holds {values[row]} in row {row}: too small.")
        return values

    def _labels(self) -> NDArray[np.int32] | NDArray[np.float32] | None:
        """The labels as an array, if there are any."""
        if "label" not in self.arrow.column_names:
            return None
        column = self.arrow["label"]
        if pa.types.is_integer(column.type):
            return np.asarray(column.to_numpy()).astype(np.int32, copy=False)
        if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
            rows = column.to_pylist() if pa.types.is_list(column.type) else None
            if rows is not None:
                return np.array(rows, np.float32)
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return flat.astype(np.float32).reshape(-1, column.type.list_size)
        raise ArgumentError(
            f"Column 'label' of the tile table holds {column.type}: it must hold class indices (integers) or lists of "
            "class shares."
        )
