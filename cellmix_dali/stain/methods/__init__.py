"""How a stain is fitted to pixels: one method per file, registered by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ...errors import ArgumentError, unknown_name
from ._registered import METHODS, StainMethod, register_stain_method
from .macenko import Macenko
from .reinhard import Reinhard
from .vahadane import Vahadane

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Macenko",
    "Reinhard",
    "StainMethod",
    "Vahadane",
    "find_method",
    "register_stain_method",
]

DEFAULT_METHOD = "macenko"


def find_method(method: str | StainMethod, parameters: Mapping[str, Any] | None = None) -> StainMethod:
    """Return a method by its name, with parameters; one that is made already is returned as it is.

    Parameters
    ----------
    method : str or StainMethod
        A name of `METHODS` (case, "-" and "_" make no difference), or a method.
    parameters : mapping, optional
        The method's parameters by name, for a method that is named; others are as by default.

    Raises
    ------
    ArgumentError
        If there is no such method or parameter, with the near miss, or a value is out of range.
    """
    if isinstance(method, StainMethod):
        if parameters:
            raise ArgumentError(f"The method {method!r} has its parameters: name it to give {dict(parameters)}.")
        return method
    found = METHODS[METHODS.canonical(method)]
    known = tuple(inspect.signature(found).parameters)
    for name in parameters or ():
        if name not in known:
            raise unknown_name(f"parameter of {found.name}", name, known)
    return found(**(parameters or {}))
