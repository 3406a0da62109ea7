"""How tissue is found on a picture: one method a file, each a function of the picture, with its name in `METHODS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ...errors import ArgumentError, unknown_name
from .density import by_density
from .saturation import by_saturation

__all__ = ["DEFAULT_METHOD", "METHODS", "TissueMethod", "find_method"]

TissueMethod: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]

DEFAULT_METHOD = "density"
#: Every method by name: uint8 (height, width, 3) to bool (height, width), True on tissue.
METHODS: dict[str, TissueMethod] = {"density": by_density, "saturation": by_saturation}


def find_method(method: str | TissueMethod) -> TissueMethod:
    """Return a method by its name, or by ``module:function`` where it lies; a callable is one already.

    Raises
    ------
    ArgumentError
        If there is no such method, with the near miss, or it cannot be imported.
    """
    if not isinstance(method, str) and callable(method):
        return method
    if isinstance(method, str) and ":" in method:
        return _imported(method)
    if method not in METHODS:
        raise unknown_name("tissue method", str(method), METHODS)
    return METHODS[method]


def _imported(place: str) -> TissueMethod:
    """A user's own method, by the module that has it."""
    module, _, name = place.partition(":")
    try:
        found: TissueMethod = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ArgumentError(
            f"The tissue method {place!r} cannot be imported ({error}): give module:function, and see that "
            "Python finds the module (PYTHONPATH)."
        ) from error
    if not callable(found):
        raise ArgumentError(f"The tissue method {place!r} is not a function but a {type(found).__name__}.")
    return found
