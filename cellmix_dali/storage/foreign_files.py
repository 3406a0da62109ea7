"""Files that others have written: one place that turns whatever their readers raise into an error for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .._urls import url_of
from ..errors import ArgumentError, CellMixDaliError
from .moment import MOMENT, refusal
from .objects import here
from .paths import path_problem, shown

__all__ = ["map_arrow", "names_in", "read_json", "read_parquet", "reading"]

_LONGEST = 300  # characters of a reader's own words


@contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Read a file in the block; whatever its reader raises becomes one error of the family.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is, as a sentence begins with it: "The list of folds".
    remedy : str
        What to do, a sentence.

    Raises
    ------
    ArgumentError
        If the file is missing, no file, or not what it should be.
    NotReadError
        If it cannot be read for a reason of the moment.
    """
    problem = path_problem(path)
    if problem is not None:
        raise ArgumentError(f"{what} cannot be read: {problem}")
    try:
        with here(path, fresh=True):
            yield
    except CellMixDaliError:
        raise
    except FileNotFoundError as error:
        raise ArgumentError(f"{what} is not there: there is no file at {shown(path)}. Check the path.") from error
    except OSError as error:
        if error.errno in MOMENT:
            raise refusal(f"{what} {shown(path)} cannot be read", error, remedy) from error
        raise ArgumentError(f"{what} {shown(path)} cannot be read: {_words(error)}. {remedy}") from error
    except RecursionError as error:
        raise ArgumentError(f"{what} {shown(path)} cannot be read: it is nested too deep. {remedy}") from error
    except MemoryError as error:
        raise ArgumentError(f"{what} {shown(path)} cannot be read: it does not fit into memory. {remedy}") from error
    except Exception as error:  # readers raise nearly anything on a file that is broken
        raise ArgumentError(f"{what} {shown(path)} cannot be read: {_words(error)}. {remedy}") from error


def _words(error: Exception) -> str:
    """What a reader said, in one line of some length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def read_json(path: Path, what: str, remedy: str) -> Any:
    """Read a JSON file, see `reading`."""
    with reading(path, what, remedy):
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"it is not JSON ({error})") from error


def read_parquet(
    path: Path, what: str, remedy: str, *, most_rows: int | None = None, columns: Set[str] | None = None
) -> pa.Table:
    """Read a Parquet file, see `reading`, or those of some columns that it has.

    One of more rows than `most_rows` is refused: a few bytes can say any number.
    """
    with reading(path, what, remedy):
        with pq.ParquetFile(path, memory_map=True) as file:
            rows = file.metadata.num_rows
            if most_rows is not None and rows > most_rows:
                raise ValueError(f"it says that it has {rows} rows, and {most_rows} are the most")
            names = file.schema_arrow.names
            table = file.read(None if columns is None else [name for name in names if name in columns])
        table.validate(full=most_rows is not None)
        require_text(table)
        return table


def map_arrow(path: Path, what: str, remedy: str) -> pa.Table:
    """Map an Arrow file into memory, see `reading`; refuse one whose columns reach beyond its end.

    Reading such a column would end the process by a signal (SIGBUS).
    """
    with reading(path, what, remedy):
        # What stands for an object may be emptied while it is mapped, which would end the process, too.
        mapped = url_of(path) is None
        whole = pa.memory_map(str(path)).read_buffer() if mapped else pa.py_buffer(path.read_bytes())
        table = pa.ipc.open_file(pa.BufferReader(whole)).read_all()
        table.validate()
        require_text(table)
        begin, end = whole.address, whole.address + whole.size
        for column in table.columns:
            for chunk in column.chunks:
                for buffer in _buffers(chunk):
                    inside = begin <= buffer.address and buffer.address + buffer.size <= end
                    # What was compressed, or is empty, lies elsewhere, in memory of its own.
                    if not inside and begin <= buffer.address < end:
                        raise ValueError("its columns reach beyond its end: it was cut short")
        return table


def names_in(column: str, values: pa.Array) -> tuple[str, ...]:
    """Return the names of files in a column of a tile table.

    Raises
    ------
    ArgumentError
        If one is not text in UTF-8, or has a zero byte, as no file's name can.
    """
    try:
        names = tuple(values.to_pylist())
    except UnicodeDecodeError as error:
        raise ArgumentError(f"Column {column!r} of the tile table is not in UTF-8 ({error}). Make it again.") from error
    strange = [name for name in names if name is not None and "\0" in name]
    if strange:
        raise ArgumentError(f"Column {column!r} of the tile table names {strange[0]!r}, with a zero byte. Correct it.")
    return names


def require_text(table: pa.Table) -> None:
    """Refuse names of columns that are not text: reading them raises where nobody expects it."""
    strange = [name for name in table.column_names if "\0" in name]
    if strange:
        raise ValueError(f"the column {strange[0]!r} has a zero byte in its name")


def _buffers(array: pa.Array) -> Iterator[pa.Buffer]:
    """All buffers of an array, its dictionary's too."""
    yield from (buffer for buffer in array.buffers() if buffer is not None and buffer.size)
    if pa.types.is_dictionary(array.type):
        yield from _buffers(array.dictionary)
