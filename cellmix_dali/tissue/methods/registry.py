"""Tissue methods by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ..._registry import Registry
from ...errors import ArgumentError, unknown_name

__all__ = ["DEFAULT_METHOD", "METHODS", "TissueMethod", "find_method", "register_tissue_method"]

TissueMethod: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]
_Function = TypeVar("_Function", bound=TissueMethod)

DEFAULT_METHOD = "density"
#: Every method by name, those of entry points of the group ``cellmix_dali.tissue_methods`` among them: uint8 (height,
#: width, 3) to bool (height, width), True on tissue.
METHODS: Registry[TissueMethod] = Registry("tissue method", "cellmix_dali.tissue_methods")


def register_tissue_method(name: str) -> Callable[[_Function], _Function]:
    """Enter a function among the tissue methods; a decorator.

    Parameters
    ----------
    name : str
        The name by which tables, jobs and the command line take it.

    Returns
    -------
    callable
        The decorator, which returns the function itself: from uint8 (height, width, 3) to bool (height, width).

    Raises
    ------
    ArgumentError
        If the name is taken or has a colon, or what is decorated cannot be called.
    """

    def enter(function: _Function) -> _Function:
        if not callable(function):
            raise ArgumentError(f"{function!r} cannot be a tissue method: give a function from a picture to a mask.")
        METHODS.enter(name, function)
        return function

    if isinstance(name, str) and ":" not in name:
        return enter
    raise ArgumentError(f'@register_tissue_method needs a name without a colon, such as "dark", not {name!r}.')


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
