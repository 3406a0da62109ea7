"""Functions compiled by numba, kept on disk where a folder can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["compiled", "copy_bytes", "pointer"]


def compiled(*, nogil: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that raises nothing: a division by zero neither.

    Where no folder can hold the result, it is compiled once per process instead of once per machine.

    Parameters
    ----------
    nogil : bool, default True
        Whether it runs without the interpreter lock. What takes a few microseconds keeps it: threads that wait for the
        lock would take it meanwhile, and getting it back takes longer.
    **options
        See `numba.njit`.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        try:
            return njit(function, nogil=nogil, error_model="numpy", cache=True, **options)
        except RuntimeError:
            return njit(function, nogil=nogil, error_model="numpy", **options)

    return compile_it


@intrinsic
def pointer(context: Any, address: Any) -> Any:  # noqa: ARG001 (numba's way to write one)
    """Take an address (int64) for a pointer, which `numba.carray` makes an array."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@intrinsic
def copy_bytes(context: Any, target: Any, source: Any, length: Any) -> Any:  # noqa: ARG001 (numba's way to write one)
    """Copy so many bytes (int64) from one address (int64) to another by C's memcpy; the two do not overlap."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        to, of = (builder.inttoptr(address, cgutils.voidptr_t) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code
