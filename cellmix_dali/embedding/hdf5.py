"""TRIDENT's and CLAM's files, both of HDF5.

TRIDENT (github.com/mahmoodlab/TRIDENT, ``trident/IO.py``, ``trident/wsi_objects/WSI.py``): ``ID.h5`` with ``features``
(n, numbers) and ``coords`` (n, 2), whose attributes say what the tiles are. CLAM (github.com/mahmoodlab/CLAM,
``extract_features_fp.py``): ``h5_files/ID.h5`` with both and no attributes, and ``pt_files/ID.pt``, the bare tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ._registered import FeatureFile, FeatureFormat, Features, register_feature_format

__all__ = ["Clam", "Trident"]

_ROWS = 64  # of a chunk


@register_feature_format("trident")
class Trident(FeatureFormat):
    """One HDF5 file."""

    places: ClassVar[tuple[str, ...]] = ("{}.h5",)

    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        """See `FeatureFormat.content`."""
        return (_h5(of.features, of.coords, of.attributes, {"name": of.name, "savetodir": "."}),)

    def read(self, path: Path) -> Features:
        """See `FeatureFormat.read`; some write features of (1, n, numbers)."""
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path, "r") as file:
            if not {"features", "coords"} <= set(file):
                raise ArgumentError(f"{path} has no datasets 'features' and 'coords' (it has: {', '.join(file)}).")
            return np.asarray(file["features"][()]), np.asarray(file["coords"][()])

    def attributes(self, path: Path) -> dict[str, Any]:
        """See `FeatureFormat.attributes`."""
        import h5py

        with h5py.File(path, "r") as file:
            return dict(file["coords"].attrs) if "coords" in file else {}


@register_feature_format("clam")
class Clam(Trident):
    """An HDF5 file, which is read, and a tensor; features are float32."""

    places = ("h5_files/{}.h5", "pt_files/{}.pt")

    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        """See `FeatureFormat.content`."""
        import torch

        features, tensor = of.features.astype(np.float32), BytesIO()
        torch.save(torch.from_numpy(features), tensor)
        return _h5(features, of.coords.astype(np.int32), {}, {}), tensor.getvalue()


def _h5(
    features: NDArray[Any], coords: NDArray[Any], of_coords: Mapping[str, Any], of_features: Mapping[str, Any]
) -> bytes:
    """An HDF5 file of features (n, numbers) and coordinates (n, 2), with the attributes of each."""
    import h5py

    content = BytesIO()
    with h5py.File(content, "w") as file:
        for name, values, attributes in (("features", features, of_features), ("coords", coords, of_coords)):
            chunks = (_ROWS, values.shape[1])
            made = file.create_dataset(name, data=values, chunks=chunks, maxshape=(None, values.shape[1]))
            for key, value in attributes.items():
                made.attrs[key] = value
    return content.getvalue()
