"""Functions compiled by numba, kept on disk where a folder can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["compiled", "pointer"]


def compiled(*, nogil: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that raises nothing: a division by zero neither.

    Where no folder can hold the result, it is compiled once per process instead of once per machine.

    Parameters
    ----------
    nogil : bool, default True
        Whether it runs without the interpreter lock. What takes a few microseconds keeps it: threads that wait for the
        lock would take it meanwhile, and getting it back takes longer.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        try:
            return njit(function, nogil=nogil, error_model="numpy", cache=True)
        except RuntimeError:
            return njit(function, nogil=nogil, error_model="numpy")

    return compile_it


@intrinsic
def pointer(context: Any, address: Any) -> Any:  # noqa: ARG001 (numba's way to write one)
    """Take an address (int64) for a pointer, which `numba.carray` makes an array."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code
