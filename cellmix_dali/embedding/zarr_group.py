"""A group of Zarr (format 2) in a ZIP file, ``ID.zarr.zip``: arrays ``features`` and ``coords``, TRIDENT's attributes.

After zarr-specs.readthedocs.io, "Zarr storage specification version 2", and zarr-python's `ZipStore`, which opens it:
entries are not compressed once more. Chunks hold whole tiles, so a bag can be read in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from .._plain import plain
from ..errors import ArgumentError, needing
from ._registered import FeatureFile, FeatureFormat, Features, register_feature_format

__all__ = ["Zarr"]

_ROWS = 1024  # of a chunk


@register_feature_format("zarr")
class Zarr(FeatureFormat):
    """One ZIP file."""

    places = ("{}.zarr.zip",)

    def check(self) -> None:
        """See `FeatureFormat.check`."""
        _zarr()

    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        """See `FeatureFormat.content`."""
        zarr, content = _zarr(), BytesIO()
        with TemporaryDirectory() as name:
            group = zarr.open_group(name, mode="w", zarr_format=2, attributes=plain(dict(of.attributes)))
            for key, values in (("features", of.features), ("coords", of.coords)):
                group.create_array(key, data=values, chunks=(min(_ROWS, max(1, len(values))), values.shape[1]))
            with ZipFile(content, "w") as archive:
                for path in sorted(Path(name).rglob("*")):
                    if path.is_file():  # entries have the date of `ZipInfo`: the same bytes at any time
                        archive.writestr(ZipInfo(path.relative_to(name).as_posix()), path.read_bytes())
        return (content.getvalue(),)

    def read(self, path: Path) -> Features:
        """See `FeatureFormat.read`."""
        with _opened(path) as group:
            if not {"features", "coords"} <= set(group):
                raise ArgumentError(f"{path} has no arrays 'features' and 'coords' (it has: {', '.join(group)}).")
            return np.asarray(group["features"]), np.asarray(group["coords"])

    def attributes(self, path: Path) -> dict[str, Any]:
        """See `FeatureFormat.attributes`."""
        with _opened(path) as group:
            return dict(group.attrs)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The group in a file, open in the block."""
    zarr = _zarr()
    with zarr.storage.ZipStore(path, mode="r") as store:
        yield zarr.open_group(store, mode="r")


def _zarr() -> Any:
    remedy = "Install it (pip install 'zarr>=3', on Python 3.11 or newer), or use another format."
    with needing("Files of Zarr need the package zarr", remedy):
        import zarr
    return zarr
