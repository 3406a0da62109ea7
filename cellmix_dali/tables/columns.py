"""Columns of the tables that users write: CSV or Parquet, with the line that an error is on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from ..errors import ArgumentError, unknown_name
from ..storage.foreign_files import read_parquet, reading, require_text
from ..storage.moment import is_folder

_MOST_ROWS = 1 << 26  # of a table that a person hands over; a few bytes of Parquet can say any number
_MAX_CLASSES = 65536  # an index above is a number of another kind, such as a patient's


class UserTable:
    """A CSV or Parquet file whose columns are taken by name.

    Parameters
    ----------
    path : Path
        The file; Parquet if its suffix says so, else CSV.
    needed, optional : sequence of str
        Columns that must and that may be there; others are not read.
    integers : sequence of str
        Those that hold whole numbers; in a CSV, all others are read as text.

    Raises
    ------
    ArgumentError
        If the file cannot be read, or a column is missing or misspelt.
    """

    def __init__(
        self, path: Path, needed: Sequence[str], optional: Sequence[str], integers: Sequence[str] = ()
    ) -> None:
        self.path = path
        if is_folder(path):
            raise ArgumentError(
                f"{path} is a folder, not a table: name a CSV or Parquet file with the columns {', '.join(needed)}."
            )
        self.is_csv = path.suffix.lower() not in (".parquet", ".pq")
        remedy = (
            f"Expected {'a CSV in UTF-8' if self.is_csv else 'a Parquet file'} with the columns {', '.join(needed)} "
            f"and, optionally, {', '.join(optional)}."
        )
        with reading(path, "The table", remedy):
            if self.is_csv:
                types = {n: pa.int64() if n in integers else pa.string() for n in (*needed, *optional)}
                # Empty cells of text stay empty text; those of numbers become null and are found below.
                convert = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
                # Only without threads do its errors say the row.
                serial = pa.csv.ReadOptions(use_threads=False)
                table = pa.csv.read_csv(path, read_options=serial, convert_options=convert)
                require_text(table)
            else:
                table = read_parquet(path, "The table", remedy, most_rows=_MOST_ROWS)
        self._check_names(list(table.column_names), needed, optional)
        self.table = table.select([name for name in (*needed, *optional) if name in table.column_names])
        for name in self.table.column_names:
            column = self.table[name]
            if name in integers and not pa.types.is_integer(column.type):
                raise ArgumentError(f"Column {name!r} of {path} must hold whole numbers, it holds {column.type}.")
            if column.null_count:
                self.fail(int(pc.index(pc.is_null(column), True).as_py()), f"column {name!r} is empty. Fill it in.")
        if not len(self):
            raise ArgumentError(f"{path} has no rows under its header.")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.table.column_names

    def text(self, name: str) -> list[str]:
        """Return a column as text, without blanks around it."""
        return [str(value).strip() for value in self.table[name].to_pylist()]

    def where(self, row: int) -> str:
        """Say for a person where a row stands."""
        if not self.is_csv:
            return f"{self.path}, row {row}"
        lines = self.path.read_bytes().splitlines()
        # Empty lines are not rows; the first that is not empty is the header.
        number = [number for number, line in enumerate(lines, 1) if line][row + 1]
        return f"{self.path}, line {number}"

    def fail(self, row: int, problem: str) -> NoReturn:
        """Raise `ArgumentError` for a row."""
        raise ArgumentError(f"{self.where(row)}: {problem}")

    def class_indices(self, name: str, classes: Sequence[str] | None) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Turn a column of class names or indices into indices.

        Parameters
        ----------
        name : str
            The column.
        classes : sequence of str or None
            The classes in the order of their indices. None: the names in the column, sorted; where it holds whole
            numbers only, these are the indices, and name the classes.

        Returns
        -------
        indices : int32 array (rows,)
        classes : tuple of str
        """
        if classes is not None and (isinstance(classes, str) or not classes or len(set(classes)) < len(classes)):
            raise ArgumentError(f"classes={classes!r}: give a list of one or more different class names.")
        column = self.table[name]
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        encoded = column.combine_chunks()
        values = [str(value).strip() for value in encoded.dictionary.to_pylist()]
        codes = encoded.indices.to_numpy(zero_copy_only=False)

        def first(value: str) -> int:
            return int(np.argmax(np.isin(codes, [i for i, other in enumerate(values) if other == value])))

        if "" in values:
            self.fail(first(""), f"column {name!r} is empty. Give every row a class, or leave the row out.")
        are_indices = all(value.isascii() and value.isdigit() for value in values)
        if classes is None:
            if are_indices:
                most = max(values, key=int)
                if int(most) >= _MAX_CLASSES:
                    self.fail(first(most), f"{most} in column {name!r} is not a class index (0 to {_MAX_CLASSES - 1}).")
                classes = [str(index) for index in range(int(most) + 1)]
            else:
                classes = sorted(set(values))
        known = {of: index for index, of in enumerate(classes)}
        if are_indices and not set(values) <= set(known):
            known = {value: int(value) for value in values if int(value) < len(classes)}
        for value in values:
            if value not in known:
                self.fail(first(value), f"{unknown_name('class', value, classes)} Correct the column {name!r}.")
        indices = np.array([known[value] for value in values], np.int32)[codes]
        return indices, tuple(classes)

    def _check_names(self, found: list[str], needed: Sequence[str], optional: Sequence[str]) -> None:
        """Refuse a column that is missing, there twice, or nearly named as an optional one, which would be left."""
        if self.is_csv and len(found) == 1 and ";" in found[0]:
            raise ArgumentError(
                f"{self.path} has one column, {found[0]!r}. Columns are separated by commas, these by semicolons: save "
                "the table as CSV with commas."
            )
        twice = [name for name in (*needed, *optional) if found.count(name) > 1]
        if twice:
            raise ArgumentError(f"{self.path} has {found.count(twice[0])} columns {twice[0]!r}. Leave one of them.")
        for name in (*needed, *optional):
            if name in found:
                continue
            others = {of.strip().lower(): of for of in found if of not in (*needed, *optional)}
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.6 if name in needed else 0.8)
            hint = f" Rename its column {others[near[0]]!r} to {name!r}." if near else ""
            if name in needed:
                separator = " Columns are separated by commas." if len(found) == 1 else ""
                raise ArgumentError(
                    f"{self.path} has no column {name!r} (it has: {', '.join(map(repr, found))}).{hint}{separator}"
                )
            if near:
                raise ArgumentError(f"{self.path} has no column {name!r}, but one nearly of that name.{hint}")
