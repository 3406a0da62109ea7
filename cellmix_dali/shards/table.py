"""The table of a collection's finished tiles, ``tiles.parquet``: its columns, and opening it; see `writing`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .._arguments import path_of
from ..errors import ArgumentError
from ..storage.foreign_files import names_in
from ..storage.moment import is_folder, may_be_file
from ..tables.tile_table import TileTable
from .mapping import mapped_table

__all__ = [
    "TILES_FILE",
    "image_sizes",
    "is_sharded",
    "open_tiles",
    "tile_augmentation",
    "tile_classes",
    "tile_edge",
    "tile_schema",
    "tile_stains",
    "tiles_file",
]

TILES_FILE = "tiles.parquet"

NAMES = pa.dictionary(pa.int32(), pa.string())
TILE_FIELDS = [
    pa.field("slide", NAMES, nullable=False),
    pa.field("level", pa.int32(), nullable=False),
    pa.field("x", pa.int64(), nullable=False),
    pa.field("y", pa.int64(), nullable=False),
    pa.field("size", pa.int32(), nullable=False),
    pa.field("tile_size", pa.int32(), nullable=False),
    pa.field("mpp", pa.float64()),
    pa.field("tissue", pa.float32()),
]
LABEL_FIELD = [pa.field("label", pa.int32(), nullable=False)]
WRITTEN_FIELDS = [
    pa.field("shard", NAMES, nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("bytes", pa.int64(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
]
# What the file's metadata say.
CLASSES, EDGE = b"cellmix_dali.classes", b"cellmix_dali.edge"
STAINS = b"cellmix_dali.normalised"
AUGMENTED = b"cellmix_dali.augmented"
# What reading needs.
_NEEDED = {"slide", "level", "x", "y", "size", "tile_size", "label", "shard", "offset", "bytes"}


def tile_schema(*, labelled: bool, sharded: bool, said: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of ``tiles.parquet``.

    ``slide`` (path), ``level``, ``x``, ``y``, ``size`` (the window, in pixels of the level, as in every
    `cellmix_dali.tables.TileTable`), ``tile_size`` (side of the finished image in pixels), ``mpp`` (microns per pixel
    of the finished image; may be empty), ``tissue`` (share of the window that is tissue, 0 to 1; may be empty).

    Parameters
    ----------
    labelled : bool
        With ``label`` (class index).
    sharded : bool
        With ``shard`` (the shard's path from the table's folder on), ``offset`` (of the image's first byte in the
        shard), ``bytes`` (of the image), ``sha256`` (of the image, hexadecimal).
    said : sequence of str
        Of the columns ``patient``, ``split`` and ``fold`` (text, what a list says of the slide), those that are there.
    """
    of_list = [pa.field(name, NAMES, nullable=False) for name in said]
    return pa.schema([*TILE_FIELDS, *(LABEL_FIELD if labelled else []), *of_list, *(WRITTEN_FIELDS if sharded else [])])


def tiles_file(path: str | Path) -> Path:
    """Return the file of a collection's table; raise `ArgumentError` if there is none."""
    path = path_of("A folder of tiles", path)
    file = path / TILES_FILE if is_folder(path) else path
    if not may_be_file(file):
        raise ArgumentError(
            f"There is no tile table at {file}: give the folder that `cellmix-dali tile --out` wrote. If tiling was "
            "interrupted, finish it with --resume."
        )
    return file


def open_tiles(path: str | Path, *, columns: Iterable[str] | None = None, mapped: bool = False) -> TileTable:
    """Open a collection of finished tiles, to train on it: ``train_loader(open_tiles(folder), ...)``.

    Parameters
    ----------
    path : str or Path
        The collection's folder, or its ``tiles.parquet``. The folder may have been moved, and the slides may be gone.
    columns : iterable of str, optional
        Which columns to read besides those that say where tiles lie, and ``label``; by default all. A row takes 60
        bytes of memory without, and 130 to 220 with all: ``sha256`` alone takes 72.
    mapped : bool, default False
        Whether to map an Arrow file that lies beside ``tiles.parquet``, ``tiles.arrow``, where all processes of a
        machine share the memory: all columns but ``sha256``. If it is not there, or is of another ``tiles.parquet``, it
        is made first, by one process while others wait.

    Returns
    -------
    TileTable
        With the columns of `tile_schema` that were asked for, ``shard`` as absolute paths, and others that there are.
        Of a table of coordinates alone (``--coords-only``), the tiles are read from the slides.

    Raises
    ------
    ArgumentError
        If there is no such table, or it is not of this kind; if `mapped` and the Arrow file cannot be made.
    """
    file = tiles_file(path)
    wanted = None if columns is None else {*_NEEDED, *columns}
    table = mapped_table(file, wanted) if mapped else TileTable.open(file, columns=wanted)
    needed = [field.name for field in (*TILE_FIELDS, *(WRITTEN_FIELDS if is_sharded(table) else []))]
    left_out = set() if wanted is None else set(needed) - wanted
    left_out |= {"sha256"} if mapped else set()
    missing = [name for name in needed if name not in table.arrow.column_names and name not in left_out]
    if missing:
        raise ArgumentError(
            f"{file} is not a table of finished tiles: it has no column {missing[0]!r} (it has: "
            f"{', '.join(table.arrow.column_names)}). For a table of windows use TileTable.open."
        )
    if not is_sharded(table):
        return table
    shard = table.arrow["shard"].cast(NAMES).combine_chunks()
    names = names_in("shard", shard.dictionary)
    wrong = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if wrong:
        raise ArgumentError(f"{file} names a shard outside its folder: {wrong[0]!r}. It was not written by tiling.")
    folder = file.absolute().parent
    paths = pa.array([str(folder / name) for name in names], pa.string())
    arrow = table.arrow.set_column(
        table.arrow.column_names.index("shard"), "shard", pa.DictionaryArray.from_arrays(shard.indices, paths)
    )
    return TileTable(arrow, check=False)


def is_sharded(table: TileTable) -> bool:
    """Whether a table's tiles are in shards, and not read from the slides."""
    return "shard" in table.arrow.column_names


def image_sizes(table: TileTable) -> NDArray[np.int64]:
    """Return the side of each tile's image as it is read, in pixels: of the finished image, or of the window."""
    if not is_sharded(table):
        return table.size
    sizes: NDArray[np.int64] = table.arrow["tile_size"].to_numpy()
    return sizes


def tile_classes(table: TileTable) -> tuple[str, ...] | None:
    """Return the names of the labels that the table's file states."""
    stated = (table.arrow.schema.metadata or {}).get(CLASSES)
    if stated is None:
        return None
    try:
        names = json.loads(stated)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArgumentError("The tile table states names of classes that cannot be read: make or copy it again.")
    return tuple(names)


def tile_edge(table: TileTable) -> str:
    """Return what was done at the slides' edges, as the table's file states it: "skip" or "pad"."""
    stated: bytes = (table.arrow.schema.metadata or {}).get(EDGE, b"skip")
    return stated.decode()


def tile_stains(table: TileTable) -> str | None:
    """Return how the tiles' stains were normalised, as the table's file states it; None where they are as scanned."""
    stated: bytes | None = (table.arrow.schema.metadata or {}).get(STAINS)
    return None if stated is None else stated.decode()


def tile_augmentation(table: TileTable) -> str | None:
    """Return how the tiles were augmented, as the table's file states it; None where they were not."""
    stated: bytes | None = (table.arrow.schema.metadata or {}).get(AUGMENTED)
    return None if stated is None else stated.decode()
