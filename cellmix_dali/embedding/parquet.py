"""A table: a row for each tile with ``x``, ``y`` and ``features``; TRIDENT's attributes are in the metadata."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ._registered import FeatureFile, FeatureFormat, Features, register_feature_format

__all__ = ["Parquet"]

_TOLD = "tiles"  # in the metadata


@register_feature_format("parquet")
class Parquet(FeatureFormat):
    """One Parquet file."""

    places = ("{}.parquet",)

    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        """See `FeatureFormat.content`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.from_numpy_dtype(of.features.dtype)
        numbers = pa.FixedSizeListArray.from_arrays(pa.array(of.features.reshape(-1), kind), of.features.shape[1])
        table = pa.table({"x": of.coords[:, 0], "y": of.coords[:, 1], "features": numbers})
        told = json.dumps(dict(of.attributes), sort_keys=True)
        file = BytesIO()
        pq.write_table(table.replace_schema_metadata({_TOLD: told}), file)
        return (file.getvalue(),)

    def read(self, path: Path) -> Features:
        """See `FeatureFormat.read`."""
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        if not {"x", "y", "features"} <= set(table.column_names):
            raise ArgumentError(f"{path} has no columns x, y and features: it is not a file of features.")
        column = table["features"].combine_chunks()
        features = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
        return features, np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)

    def attributes(self, path: Path) -> dict[str, Any]:
        """See `FeatureFormat.attributes`."""
        import pyarrow.parquet as pq

        told: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(_TOLD.encode(), b"{}"))
        return told
