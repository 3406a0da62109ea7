"""Tissue methods by name: a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ..._registry import Registry
from ...errors import ArgumentError

__all__ = ["METHODS", "TissueMethod", "register_tissue_method"]

TissueMethod: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]
_Method = TypeVar("_Method", bound=TissueMethod)

#: Every method by name: uint8 (height, width, 3) to bool (height, width), True on tissue. Packages add theirs by entry
#: points of the group ``cellmix_dali.tissue_methods``, each naming a function.
METHODS: Registry[TissueMethod] = Registry(
    "tissue method", "cellmix_dali.tissue_methods", lambda name, method: register_tissue_method(name)(method)
)


def register_tissue_method(name: str) -> Callable[[_Method], _Method]:
    """Register a function as a tissue method; a decorator.

    Parameters
    ----------
    name : str
        By which ``tissue_method=`` and ``--tissue-method`` take it.

    Returns
    -------
    callable
        The decorator, which returns the function itself.

    Raises
    ------
    ArgumentError
        If the name is taken or has a colon, or what is decorated cannot be called.
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise ArgumentError(f"A tissue method cannot be named {name!r}: give a name without a colon.")

    def register(method: _Method) -> _Method:
        if not callable(method):
            raise ArgumentError(f"{method!r} cannot be a tissue method: give a function from a picture to a mask.")
        METHODS.add(name, method)
        return method

    return register
