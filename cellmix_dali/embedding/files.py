"""Files of features: written by a format's name, read by how their name ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arguments import path_of
from ..errors import ArgumentError
from ..storage.aside import write_aside
from ..storage.foreign_files import reading
from .formats import FORMATS, FeatureFile, FeatureFormat

__all__ = ["files_of", "name_of", "read_attributes", "read_features", "suffixes", "write_features"]

_AGAIN = "Make it again with `cellmix-dali embed`."


def files_of(folder: Path, kind: str, name: str) -> list[Path]:
    """Return the paths of a slide's files."""
    return [folder / place.format(name) for place in FORMATS[kind].places]


def suffixes() -> tuple[str, ...]:
    """Return how the names of files end that can be read."""
    return tuple(dict.fromkeys(each.suffix() for each in FORMATS.values()))


def name_of(path: Path) -> str:
    """Return the name of a slide that a file of features has."""
    return path.name.removesuffix(_format_of(path).suffix())


def write_features(folder: Path, kind: str, of: FeatureFile) -> list[Path]:
    """Write a slide's files; each is there in full or not at all.

    Raises
    ------
    WriteError
        If one cannot be written.
    MissingDependencyError
        If the format needs a package that is not installed.
    """
    paths = files_of(folder, kind, of.name)
    for path, content in zip(paths, FORMATS[kind]().content(of), strict=True):
        path.parent.mkdir(exist_ok=True)
        with write_aside(path) as file:
            file.write(content)
    return paths


def read_features(path: str | Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read a slide's features and the tiles' places: a file of `cellmix-dali embed`, of TRIDENT or of CLAM.

    Parameters
    ----------
    path : str or Path
        The file; the end of its name says what it is: see `cellmix_dali.embedding.formats.FORMATS`.

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
    kind = _format_of(place)
    with reading(place, "The file of features", _AGAIN):
        features, coords = kind.read(place)
    features = features.reshape(-1, features.shape[-1])  # some write (1, n, numbers)
    if coords.shape != (len(features), 2):
        raise ArgumentError(f"{place} has {len(features)} features and coordinates of the shape {coords.shape}.")
    return features, coords.astype(np.int64)


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Read what a file of features says of its tiles: TRIDENT's attributes.

    Parameters
    ----------
    path : str or Path
        The file, see `read_features`.

    Raises
    ------
    ArgumentError
        If it does not say the tiles' side and the slide's size, as CLAM's files do not.
    """
    place = path_of("A file of features", path)
    kind = _format_of(place)
    with reading(place, "The file of features", _AGAIN):
        told = kind.attributes(place)
    needed = ("patch_size_level0", "level0_width", "level0_height")
    missing = [name for name in needed if not told.get(name)]
    if missing:
        raise ArgumentError(
            f"{place} does not say {', '.join(missing)} of its tiles, as TRIDENT's files do and CLAM's do not: use "
            "`cellmix-dali embed --format trident`."
        )
    return told


def _format_of(path: Path) -> FeatureFormat:
    """The format of a file, by the end of its name; what ends otherwise is taken for HDF5, as others name it."""
    found = [each for each in FORMATS.values() if path.name.endswith(each.suffix())]
    return (found[0] if found else FORMATS["trident"])()
