"""Files of features, as TRIDENT and CLAM have them, and as a table.

TRIDENT: ``ID.h5`` with ``features`` (n, numbers) and ``coords`` (n, 2), upper left corners in pixels of level 0, and
attributes that say the tiles' size and magnification. CLAM: ``h5_files/ID.h5`` with ``features`` and ``coords``
without attributes, and ``pt_files/ID.pt``, the bare tensor. Parquet: a row for each tile with ``x``, ``y`` and
``features``, and TRIDENT's attributes in the metadata. The same features make the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._arguments import path_of
from ..errors import ArgumentError
from ..storage.aside import write_aside
from ..storage.foreign_files import reading

__all__ = ["FORMATS", "FeatureFile", "files_of", "read_attributes", "read_features", "write_features"]

_ROWS = 64  # of a chunk


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """The features of a slide, as they are written.

    Attributes
    ----------
    name : str
        Of the slide, which the file has.
    features : float32 or float16 array (n, numbers)
    coords : int64 array (n, 2)
        Upper left corners, x and y in pixels of level 0.
    attributes : mapping
        What TRIDENT says of the tiles.
    """

    name: str
    features: NDArray[Any]
    coords: NDArray[np.int64]
    attributes: Mapping[str, Any]


def _trident(of: FeatureFile) -> dict[str, bytes]:
    """One file."""
    return {f"{of.name}.h5": _h5(of.features, of.coords, of.attributes, {"name": of.name, "savetodir": "."})}


def _clam(of: FeatureFile) -> dict[str, bytes]:
    """Two files."""
    import torch

    features, tensor = of.features.astype(np.float32), BytesIO()
    torch.save(torch.from_numpy(features), tensor)
    return {
        f"h5_files/{of.name}.h5": _h5(features, of.coords.astype(np.int32), {}, {}),
        f"pt_files/{of.name}.pt": tensor.getvalue(),
    }


def _parquet(of: FeatureFile) -> dict[str, bytes]:
    """A table."""
    kind = pa.from_numpy_dtype(of.features.dtype)
    numbers = pa.FixedSizeListArray.from_arrays(pa.array(of.features.reshape(-1), kind), of.features.shape[1])
    table = pa.table({"x": of.coords[:, 0], "y": of.coords[:, 1], "features": numbers})
    told = json.dumps(dict(of.attributes), sort_keys=True)
    file = BytesIO()
    pq.write_table(table.replace_schema_metadata({"tiles": told}), file)
    return {f"{of.name}.parquet": file.getvalue()}


def _h5(
    features: NDArray[Any], coords: NDArray[Any], of_coords: Mapping[str, Any], of_features: Mapping[str, Any]
) -> bytes:
    content = BytesIO()
    with h5py.File(content, "w") as file:
        for name, values, attributes in (("features", features, of_features), ("coords", coords, of_coords)):
            chunks = (_ROWS, values.shape[1])
            made = file.create_dataset(name, data=values, chunks=chunks, maxshape=(None, values.shape[1]))
            for key, value in attributes.items():
                made.attrs[key] = value
    return content.getvalue()


#: What makes the bytes of a slide's files, by the format's name.
FORMATS: dict[str, Callable[[FeatureFile], dict[str, bytes]]] = {
    "trident": _trident,
    "clam": _clam,
    "parquet": _parquet,
}
_PLACES = {"trident": ("{}.h5",), "clam": ("h5_files/{}.h5", "pt_files/{}.pt"), "parquet": ("{}.parquet",)}


def files_of(folder: Path, kind: str, name: str) -> list[Path]:
    """Return the paths of a slide's files."""
    return [folder / place.format(name) for place in _PLACES[kind]]


def write_features(folder: Path, kind: str, of: FeatureFile) -> list[Path]:
    """Write a slide's files; each is there in full or not at all.

    Raises
    ------
    WriteError
        If one cannot be written.
    """
    paths = []
    for place, content in FORMATS[kind](of).items():
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        with write_aside(path) as file:
            file.write(content)
        paths.append(path)
    return paths


def read_features(path: str | Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read a slide's features and the tiles' places: a file of this job, of TRIDENT or of CLAM.

    Parameters
    ----------
    path : str or Path
        ``.h5`` or ``.parquet``.

    Returns
    -------
    features : float array (n, numbers)
    coords : int64 array (n, 2)
        Upper left corners, x and y in pixels of level 0.

    Raises
    ------
    ArgumentError
        If it is not such a file.
    """
    place = path_of("A file of features", path)
    with reading(place, "The file of features", "Make it again with `cellmix-dali embed`."):
        if place.suffix == ".parquet":
            table = pq.read_table(place)
            if not {"x", "y", "features"} <= set(table.column_names):
                raise ArgumentError(f"{place} has no columns x, y and features: it is not a file of features.")
            column = table["features"].combine_chunks()
            width = column.type.list_size
            features = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            coords = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
        else:
            with h5py.File(place, "r") as file:
                if not {"features", "coords"} <= set(file):
                    raise ArgumentError(f"{place} has no datasets 'features' and 'coords' (it has: {', '.join(file)}).")
                features, coords = np.asarray(file["features"][()]), np.asarray(file["coords"][()])
    features = features.reshape(-1, features.shape[-1])  # some write (1, n, numbers)
    if coords.shape != (len(features), 2):
        raise ArgumentError(f"{place} has {len(features)} features and coordinates of the shape {coords.shape}.")
    return features, coords.astype(np.int64)


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Read what a file of features says of its tiles: TRIDENT's attributes.

    Parameters
    ----------
    path : str or Path
        ``.h5`` or ``.parquet``.

    Raises
    ------
    ArgumentError
        If it does not say the tiles' side and the slide's size, as CLAM's files do not.
    """
    place = path_of("A file of features", path)
    with reading(place, "The file of features", "Make it again with `cellmix-dali embed`."):
        if place.suffix == ".parquet":
            told: dict[str, Any] = json.loads((pq.read_schema(place).metadata or {}).get(b"tiles", b"{}"))
        else:
            with h5py.File(place, "r") as file:
                told = dict(file["coords"].attrs) if "coords" in file else {}
    needed = ("patch_size_level0", "level0_width", "level0_height")
    missing = [name for name in needed if not told.get(name)]
    if missing:
        raise ArgumentError(
            f"{place} does not say {', '.join(missing)} of its tiles, as TRIDENT's files do and CLAM's do not: use "
            "`cellmix-dali embed --format trident`."
        )
    return told
