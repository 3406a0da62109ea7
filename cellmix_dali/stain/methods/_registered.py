"""Stain methods by name: a registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ..._plain import plain
from ..._registry import Registry
from ..fits import StainFit

__all__ = ["METHODS", "StainMethod", "register_stain_method"]


@dataclass(frozen=True, kw_only=True)
class StainMethod(ABC):
    """A way to fit a stain to pixels: a frozen dataclass whose fields are the method's parameters."""

    #: By which ``--method`` takes it; the decorator says it.
    name: ClassVar[str] = ""

    @abstractmethod
    def fit(self, pixels: npt.NDArray[np.uint8]) -> StainFit:
        """Fit a stain.

        Parameters
        ----------
        pixels : uint8 array (..., 3)
            RGB, of tissue.

        Returns
        -------
        StainFit

        Raises
        ------
        ArgumentError
            If it cannot be fitted, in words.
        """

    def parameters(self) -> dict[str, Any]:
        """Return the method's parameters as JSON values, by name."""
        found: dict[str, Any] = plain(asdict(self))
        return found


_Class = TypeVar("_Class", bound="type[StainMethod]")

#: Every method by name: a class of `StainMethod`. Packages add theirs by entry points of the group
#: ``cellmix_dali.stain_methods``, each naming such a class.
METHODS: Registry[type[StainMethod]] = Registry(
    "stain method", "cellmix_dali.stain_methods", lambda name, method: register_stain_method(name)(method)
)


def register_stain_method(name: str) -> Callable[[_Class], _Class]:
    """Register a class as a stain method; a decorator.

    Parameters
    ----------
    name : str
        By which ``method=`` and ``--method`` take it.

    Returns
    -------
    callable
        The decorator, which returns the class itself.

    Raises
    ------
    ArgumentError
        If the name is taken, or what is decorated is not a class of `StainMethod` that has `fit`.
    """
    return METHODS.of_classes(name, StainMethod, "a class of StainMethod that has fit")
