"""Formats of features by name: a registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._registry import Registry

__all__ = ["FORMATS", "FeatureFile", "FeatureFormat", "Features", "register_feature_format"]

#: Features (n, numbers), and the tiles' upper left corners (n, 2), x and y in pixels of level 0.
Features: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


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


class FeatureFormat(ABC):
    """How the features of a slide lie in files. The same features make the same bytes.

    Attributes
    ----------
    name : str
        By which ``--format`` takes it; the decorator says it.
    places : tuple of str
        A slide's files within the folder, with "{}" for its name; the first is the one that is read.
    """

    name: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]]

    @classmethod
    def suffix(cls) -> str:
        """Return how the name of the file ends that is read."""
        return cls.places[0].rpartition("{}")[2]

    def check(self) -> None:  # noqa: B027 (most need nothing)
        """Refuse to begin where a package is missing.

        Raises
        ------
        MissingDependencyError
            Saying which.
        """

    @abstractmethod
    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        """Return the bytes of each of the `places`."""

    @abstractmethod
    def read(self, path: Path) -> Features:
        """Read what `content` has made; what a library raises on another file becomes an error of the family.

        Raises
        ------
        ArgumentError
            If it has no features, in words.
        """

    @abstractmethod
    def attributes(self, path: Path) -> dict[str, Any]:
        """Return what the file says of the tiles: TRIDENT's attributes, or some of them."""


_Class = TypeVar("_Class", bound="type[FeatureFormat]")

#: Every format by name: a class of `FeatureFormat`. Packages add theirs by entry points of the group
#: ``cellmix_dali.feature_formats``, each naming such a class.
FORMATS: Registry[type[FeatureFormat]] = Registry(
    "format of features", "cellmix_dali.feature_formats", lambda name, of: register_feature_format(name)(of)
)


def register_feature_format(name: str) -> Callable[[_Class], _Class]:
    """Register a class as a format of features; a decorator.

    Parameters
    ----------
    name : str
        By which ``file_format=`` and ``--format`` take it.

    Returns
    -------
    callable
        The decorator, which returns the class itself.

    Raises
    ------
    ArgumentError
        If the name is taken, or what is decorated is not a class of `FeatureFormat` with all that it asks for.
    """
    needs = "a class of FeatureFormat that has places, content, read and attributes"
    return FORMATS.of_classes(name, FeatureFormat, needs, has=("places",))
