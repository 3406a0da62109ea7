"""The tile table: one row per training image, kept as Arrow columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from .._arguments import SHARE_TOLERANCE, local_only, path_of
from .._urls import place_name
from ..errors import ArgumentError
from ..storage.foreign_files import names_in
from .tile_columns import INTEGERS, integer_column, label_column, labels_of, slide_column, whole
from .tile_files import read_parquet_tiles, read_tile_file, stating_frame, write_tile_file

__all__ = ["TileTable", "require_table"]

_ROWS_AT_ONCE = 2**20


class TileTable:
    """Tiles of slides: where each lies and what it shows.

    The columns are views of the Arrow table wherever Arrow and NumPy store them alike, so that a table of any length
    can be used from its file (see `open`) without being read into memory.

    Parameters
    ----------
    table : pyarrow.Table
        Columns ``slide`` (path, string or dictionary of strings), ``level`` (0 is the finest), ``x``, ``y`` (upper left
        corner, in pixels of that level; `cellmix_dali.tables.to_level0` converts them), ``size`` (side in pixels of
        that level) and, optionally, ``label`` (class index, or a list of class shares). Other columns are kept as they
        are.
    check : bool, default True
        Whether to look for numbers that are too small in every row; give False only for rows that were checked
        before, where reading all of them costs too much.

    Raises
    ------
    ArgumentError
        If one of these columns is missing, of a wrong type, or holds nulls or negative numbers; if the table's metadata
        states other coordinates than these.

    Attributes
    ----------
    arrow : pyarrow.Table
        The table.
    slides : tuple of str
        Paths of the slides.
    slide : int32 array (n,)
        Index into `slides`.
    level, x, y, size : integer arrays (n,)
        The columns, read-only; x, y and size in pixels of each row's level.
    label : int32 array (n,), float32 array (n, classes), or None
        The labels.
    """

    def __init__(self, table: pa.Table, *, check: bool = True) -> None:
        missing = [name for name in ("slide", *INTEGERS) if name not in table.column_names]
        if missing:
            raise ArgumentError(
                f"The tile table has no column {missing[0]!r} (it has: {', '.join(table.column_names)}). "
                "Needed: slide, level, x, y, size; optional: label."
            )
        table, slide = slide_column(stating_frame(table))
        self.slides: tuple[str, ...] = names_in("slide", slide.dictionary)
        self.slide: NDArray[np.int32] = slide.indices.to_numpy().astype(np.int32, copy=False)
        values: dict[str, NDArray[np.int64]] = {}
        for name in INTEGERS:
            table, values[name] = integer_column(table, name, check)
        self.level, self.x, self.y, self.size = values.values()
        self.label: NDArray[np.int32] | NDArray[np.float32] | None = None
        if "label" in table.column_names:
            table, self.label = labels_of(table)
        self.arrow = table

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
        """Make a table from columns; a single value stands for all rows.

        Raises
        ------
        ArgumentError
            If columns differ in length, or hold numbers that are not whole.
        """
        xs = np.atleast_1d(np.asarray(x))
        rows = len(xs)
        if isinstance(slide, str | Path):
            names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([place_name(slide)]))
        elif len(slide) == rows:
            names = pa.array([place_name(path) for path in slide], pa.string()).dictionary_encode()
        else:
            raise ArgumentError(f"slide has {len(slide)} values, x has {rows}: give one for each tile, or one for all.")
        columns: dict[str, pa.Array] = {"slide": names}
        for (name, dtype), values in zip(INTEGERS.items(), (level, xs, y, size), strict=True):
            columns[name] = pa.array(whole(name, values, rows, dtype))
        if label is not None:
            columns["label"] = label_column(label, rows)
        return cls(pa.table(columns))

    @classmethod
    def open(cls, path: str | Path, *, columns: Iterable[str] | None = None) -> TileTable:
        """Open a tile table's file: Arrow (``.arrow``, ``.feather``, ``.ipc``) or Parquet (``.parquet``, ``.pq``).

        An Arrow file that `save` wrote is only mapped: 100 million rows open at once, and memory holds no more of it
        than the system's cache of the pages that were touched. Its rows were checked when it was written and are not
        read again for that. Another program's Arrow file is checked, which reads four columns once; where it has
        several record batches or is compressed, its columns are copied to memory, so open it and `save` it once.
        Parquet is compressed: it is read to memory and checked.

        Parameters
        ----------
        path : str or Path
            The file. An Arrow file must stay as it is while the table is in use.
        columns : iterable of str, optional
            Which of its columns to read, where it has them; by default all.

        Returns
        -------
        TileTable

        Raises
        ------
        ArgumentError
            If there is no such file, it is of another kind or broken, or it is not a tile table.
        """
        wanted = None if columns is None else frozenset(columns)
        table, checked = read_tile_file(path_of("A tile table", path), wanted)
        try:
            return cls(table, check=not checked)
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the table to a file, Arrow or Parquet by its suffix as for `open`.

        An Arrow file is uncompressed and holds one record batch, so that `open` need not read it. An existing file is
        replaced only when the new one is complete, and may be the one that this table was opened from.

        Parameters
        ----------
        path : str or Path
            The file to write.

        Raises
        ------
        ArgumentError
            If the suffix is not one of those.
        """
        write_tile_file(self.arrow, local_only("A tile table", path))

    @classmethod
    def from_parquet(cls, path: str | Path) -> TileTable:
        """Read a table from a Parquet file, whatever its suffix."""
        place = path_of("A tile table", path)
        table = read_parquet_tiles(place)
        try:
            return cls(table)
        except ArgumentError as error:
            raise ArgumentError(f"{place}: {error}") from error

    def to_parquet(self, path: str | Path) -> None:
        """Write the table to a Parquet file, whatever its suffix."""
        pq.write_table(self.arrow, local_only("A tile table", path))

    @classmethod
    def concat(cls, tables: Sequence[TileTable]) -> TileTable:
        """Join tables, in order; a column that only some have is empty in the others.

        Raises
        ------
        ArgumentError
            If there are no tables, some are labelled and some are not, or columns are of types that do not go together.
        """
        if not tables:
            raise ArgumentError("There are no tile tables to join: give at least one.")
        unlabelled = sum(table.label is None for table in tables)
        if 0 < unlabelled < len(tables):
            raise ArgumentError(
                f"{unlabelled} of {len(tables)} tile tables have no labels: label them first (with_labels), or none."
            )
        try:
            joined = pa.concat_tables([table.arrow for table in tables], promote_options="permissive")
        except pa.ArrowException as error:
            raise ArgumentError(f"The tile tables do not go together: {error}.") from error
        return cls(joined)

    def select(self, rows: ArrayLike) -> TileTable:
        """Return the rows of a boolean mask or of row numbers, in that order.

        `slides` keeps only those on which a chosen row lies, so that a part of a table needs no files but its own.

        Raises
        ------
        ArgumentError
            If the mask is of another length than the table, or a row number is not in it.
        """
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ArgumentError(
                    f"A mask of shape {chosen.shape} does not fit the {len(self)} rows of the tile table."
                )
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise ArgumentError(
                f"rows of shape {chosen.shape} and type {chosen.dtype}: give a mask or a list of row numbers."
            )
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise ArgumentError(f"Rows go from 0 to {len(self) - 1}, chosen were {chosen.min()} to {chosen.max()}.")
        taken = self.arrow.take(pa.array(chosen.astype(np.int64)))
        used, slide = np.unique(self.slide[chosen.astype(np.int64)], return_inverse=True)
        names = pa.array([self.slides[number] for number in used], pa.string())
        column = pa.DictionaryArray.from_arrays(pa.array(slide.astype(np.int32)), names)
        return TileTable(taken.set_column(taken.column_names.index("slide"), "slide", column))

    def with_labels(self, label: ArrayLike) -> TileTable:
        """Return the same tiles with other labels: class indices (n,) or class shares (n, classes).

        Raises
        ------
        ArgumentError
            If the number of labels is not that of the tiles, or class indices are not whole numbers.
        """
        column = label_column(label, len(self))
        table = self.arrow.drop_columns(["label"]) if "label" in self.arrow.column_names else self.arrow
        return TileTable(table.append_column("label", column), check=False)

    def check_labels(self, num_classes: int) -> None:
        """Raise `ArgumentError` if there are no labels, or one does not fit the number of classes.

        Class indices are from 0 to ``num_classes - 1``; class shares are at least 0 and add up to 1 within 0.001.
        """
        if self.label is None:
            raise ArgumentError("The tile table has no column 'label': training and evaluation need one.")
        if self.label.ndim == 2 and self.label.shape[1] != num_classes:
            raise ArgumentError(
                f"The tile table's labels are shares of {self.label.shape[1]} classes, num_classes={num_classes}."
            )
        for first in range(0, len(self), _ROWS_AT_ONCE):
            part = self.label[first : first + _ROWS_AT_ONCE]
            if part.ndim == 2:
                # Not-a-number is neither at least 0 nor near 1.
                fits = (part >= 0).all(axis=1) & (abs(part.sum(axis=1) - 1) <= SHARE_TOLERANCE)
            else:
                fits = (part >= 0) & (part < num_classes)
            if not fits.all():
                self._refuse_label(first + int(np.argmin(fits)), num_classes)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Upper left corners (n, 2), x and y in pixels of each row's level; see `cellmix_dali.tables.to_level0`."""
        return np.stack([self.x, self.y], axis=1).astype(np.int64, copy=False)

    def describe(self, row: int) -> str:
        """Describe the tile of a row for a person."""
        return (
            f"{self._slide_of(row)}, level {self.level[row]}, x {self.x[row]}, y {self.y[row]}, size {self.size[row]}"
        )

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __repr__(self) -> str:
        labels = "no labels" if self.label is None else "class shares" if self.label.ndim == 2 else "class indices"
        return f"<TileTable: {len(self)} tiles of {len(self.slides)} slides, {labels}>"

    def _slide_of(self, row: int) -> str:
        """The slide of a tile, for a person; a damaged table may not name one."""
        number = int(self.slide[row])
        return self.slides[number] if 0 <= number < len(self.slides) else f"slide number {number}, which has no name"

    def _refuse_label(self, row: int, num_classes: int) -> None:
        """Raise the error for the first label that does not fit."""
        assert self.label is not None
        if self.label.ndim == 2:
            raise ArgumentError(
                f"The class shares of tile {row} ({self.describe(row)}) are {self.label[row].tolist()}: they must be "
                "at least 0 and add up to 1."
            )
        wrong = np.count_nonzero((self.label < 0) | (self.label >= num_classes))
        raise ArgumentError(
            f"Label {int(self.label[row])} of tile {row} ({self.describe(row)}) is out of range: with "
            f"num_classes={num_classes} labels go from 0 to {num_classes - 1}. {wrong} tile(s) have such a label."
        )


def require_table(table: object) -> None:
    """Raise `ArgumentError` for anything but a tile table, such as the path of one."""
    if not isinstance(table, TileTable):
        raise ArgumentError(
            f"The tiles come as a {type(table).__name__}: give a TileTable. TileTable.open('tiles.parquet') reads one, "
            "open_tiles('folder') one of finished tiles."
        )
