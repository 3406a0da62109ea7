"""Functions compiled by numba, kept on disk where a folder can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled() -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that runs without the interpreter lock and raises nothing: a division by zero neither.

    Where no folder can hold the result, it is compiled once a process instead of once a machine.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        try:
            return njit(function, nogil=True, error_model="numpy", cache=True)
        except RuntimeError:
            return njit(function, nogil=True, error_model="numpy")

    return compile_it
