"""The front of a room: names that are imported when they are asked for, so that options are checked in no time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["front"]


def front(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__``.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    names : mapping of str to str
        For each of its modules, the names that it shows of it, separated by blanks. Type checkers read the imports
        beside it, ``import name as name``.
    """
    module_of = {name: module for module, several in names.items() for name in several.split()}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f".{module_of[name]}", package), name)

    return get, lambda: sorted({*vars(sys.modules[package]), *module_of}), sorted(module_of)
