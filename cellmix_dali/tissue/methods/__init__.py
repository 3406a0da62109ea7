"""How tissue is found on a picture: one method per file, each a function of the picture, registered by its name."""

from __future__ import annotations

import importlib

from ...errors import ArgumentError
from . import density, saturation  # noqa: F401  each registers its method
from ._registered import METHODS, TissueMethod, register_tissue_method

__all__ = ["DEFAULT_METHOD", "METHODS", "TissueMethod", "find_method", "register_tissue_method"]

DEFAULT_METHOD = "density"


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
    return METHODS[METHODS.canonical(method)]


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
