"""How the features of a slide lie in files: formats registered by their names.

The libraries that formats need are imported when one is written or read.
"""

from __future__ import annotations

from ._registered import FORMATS, FeatureFile, FeatureFormat, register_feature_format
from .hdf5 import Clam, Trident
from .parquet import Parquet
from .zarr_group import Zarr

__all__ = [
    "FORMATS",
    "Clam",
    "FeatureFile",
    "FeatureFormat",
    "Parquet",
    "Trident",
    "Zarr",
    "register_feature_format",
    "usable_format",
]


def usable_format(name: str) -> str:
    """Return a format's registered name, refusing what cannot be written here.

    Raises
    ------
    ArgumentError
        If there is no such format, with the near miss.
    MissingDependencyError
        If it needs a package that is not installed.
    """
    found = FORMATS.canonical(name)
    FORMATS[found]().check()
    return found
