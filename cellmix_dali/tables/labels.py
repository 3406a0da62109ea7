"""Labels of single tiles from a CSV or Parquet file, joined to a tile table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .._arguments import path_of
from ..errors import ArgumentError, unknown_name
from ..storage.paths import home_expanded
from .columns import UserTable
from .tile_table import TileTable

__all__ = ["with_label_column"]

_KEYS = ("slide", "level", "x", "y")


def with_label_column(
    table: TileTable,
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    unmatched: Literal["raise", "drop"] = "raise",
) -> TileTable:
    """Label tiles by a file that holds the label of each.

    Parameters
    ----------
    table : TileTable
        The tiles; labels it has are replaced.
    path : str or Path
        CSV or Parquet with the columns ``slide`` (path, a relative one starting at the file's folder; or the bare file
        name, where only one slide of `table` has it), ``x``, ``y`` (upper left corner in pixels of the tile's level, as
        in `table`; `cellmix_dali.tables.from_level0` converts those of level 0), optionally ``level``, and ``label``: a
        class name, a class index or, in Parquet, a list of class shares. Without ``level``, tiles are told apart by
        slide, x and y. Rows for tiles that `table` does not have are ignored.
    classes : sequence of str, optional
        The classes in the order of their indices. By default the names in the file, sorted; if it holds whole numbers
        only, these are the indices.
    unmatched : {"raise", "drop"}, default "raise"
        What happens to tiles of `table` that the file does not name: refuse, or leave them out.

    Returns
    -------
    TileTable
        The tiles, in order, with labels.

    Raises
    ------
    ArgumentError
        If the file cannot be read, names a tile twice or none of the table's tiles, or, with ``unmatched="raise"``, not
        all of them; if a label cannot be used, or tiles cannot be told apart without a column ``level``.
    """
    if unmatched not in ("raise", "drop"):
        raise unknown_name("unmatched", unmatched, ("raise", "drop"))
    place = path_of("A file of labels", path).absolute()
    file = UserTable(place, ("slide", "x", "y", "label"), ("level",), integers=("x", "y", "level"))
    keys = [key for key in _KEYS if key == "slide" or key in file]
    ours = pa.table({"slide": table.slide} | {key: getattr(table, key).astype(np.int64) for key in keys[1:]})
    theirs = pa.table(
        {"slide": _slide_numbers(file, table)} | {key: file.table[key].cast(pa.int64()) for key in keys[1:]}
    )
    twice = _repeated(theirs.filter(pc.greater_equal(theirs["slide"], 0)), keys)
    if twice is not None:
        raise ArgumentError(f"{place} names a tile twice: {_describe(table, twice)}. Leave one of the rows.")
    twice = None if "level" in file else _repeated(ours, keys)
    if twice is not None:
        raise ArgumentError(
            f"{place} has no column 'level', and the tile table several tiles at {_describe(table, twice)}. "
            "Add the column."
        )
    row = _find(ours, theirs, keys)
    found = row >= 0
    if not found.all():
        first = int(np.argmin(found))
        if not found.any():
            raise ArgumentError(
                f"None of the {len(table)} tiles is named in {place}. The first one is {table.describe(first)}; x and "
                "y are counted in pixels of the tile's level (cellmix_dali.tables.from_level0 converts those of level "
                "0), and a relative path starts at the file's folder."
            )
        if unmatched == "raise":
            raise ArgumentError(
                f"{int((~found).sum())} of the {len(table)} tiles are not named in {place}; the first is row {first}: "
                f"{table.describe(first)}. Add them, or leave such tiles out by unmatched='drop'."
            )
    return table.select(found).with_labels(_labels(file, row[found], classes))


def _slide_numbers(file: UserTable, table: TileTable) -> NDArray[np.int32]:
    """For each row of the file, the number of its slide in the table; -1 for another slide."""
    by_path = {home_expanded(slide).resolve(): number for number, slide in enumerate(table.slides)}
    names = [Path(slide).name for slide in table.slides]
    by_name = {name: number for number, name in enumerate(names) if names.count(name) == 1}
    encoded = file.table["slide"].cast(pa.string()).dictionary_encode().combine_chunks()
    numbers = []
    for value in encoded.dictionary.to_pylist():
        if "\0" in value:
            raise ArgumentError(f"{file.path}: the slide {value!r} has a zero byte in its name. Correct it.")
        slide = home_expanded(value.strip())
        number = by_path.get((file.path.parent / slide).resolve())
        if number is None and slide.name == str(slide):
            number = by_name.get(slide.name)
        numbers.append(-1 if number is None else number)
    indices: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False)
    return np.array(numbers, np.int32)[indices]


def _repeated(rows: pa.Table, keys: list[str]) -> dict[str, int] | None:
    """The first tile that several rows name, or None."""
    counts = rows.group_by(keys).aggregate([([], "count_all")])
    several = counts.filter(pc.greater(counts["count_all"], 1)).select(keys).slice(0, 1).to_pylist()
    return several[0] if several else None


def _describe(table: TileTable, tile: dict[str, int]) -> str:
    """Describe the tile of a key for a person."""
    rest = ", ".join(f"{key} {value}" for key, value in tile.items() if key != "slide")
    return f"{table.slides[tile['slide']]}, {rest}"


def _find(ours: pa.Table, theirs: pa.Table, keys: list[str]) -> NDArray[np.int64]:
    """For each of our rows, their row of the same keys; -1 where there is none."""
    left = ours.append_column("_our", pa.array(np.arange(ours.num_rows)))
    right = theirs.append_column("_their", pa.array(np.arange(theirs.num_rows)))
    joined = left.join(right, keys, join_type="inner")
    row = np.full(ours.num_rows, -1, np.int64)
    row[joined["_our"].to_numpy()] = joined["_their"].to_numpy()
    return row


def _labels(
    file: UserTable, rows: NDArray[np.int64], classes: Sequence[str] | None
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Labels of rows of the file."""
    kind = file.table["label"].type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)):
        if pa.types.is_floating(kind):
            raise ArgumentError(f"Column 'label' of {file.path} holds {kind}: give class names or whole numbers.")
        indices, _ = file.class_indices("label", classes)
        return indices[rows]
    shares = file.table["label"].to_pylist()
    lengths = {len(share) for share in shares}
    if len(lengths) > 1 or (classes is not None and lengths != {len(classes)}):
        wanted = f", and there are {len(classes)} classes" if classes is not None else ""
        raise ArgumentError(f"The lists in column 'label' of {file.path} have {sorted(lengths)} shares{wanted}.")
    soft = np.array(shares, np.float32)
    wrong = np.flatnonzero(~((soft >= 0).all(1) & (np.abs(soft.sum(1) - 1) < 1e-3)))
    if wrong.size:
        file.fail(
            int(wrong[0]), f"the shares {shares[wrong[0]]} are not a label: give numbers, 0 or more, that add up to 1."
        )
    return soft[rows]
