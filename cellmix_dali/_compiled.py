"""Functions compiled by numba, kept on disk where a folder can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

from ._compiled_cache import KernelCache

__all__ = ["Callback", "compiled", "copy_bytes", "pointer"]


def compiled(*, nogil: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that raises nothing: a division by zero neither.

    The result is kept on disk, see `cellmix_dali._compiled_cache`. Where no folder can hold it, it is compiled once per
    process instead of once per machine.

    Parameters
    ----------
    nogil : bool, default True
        Whether it runs without the interpreter lock. What takes a few microseconds keeps it: threads that wait for the
        lock would take it meanwhile, and getting it back takes longer.
    **options
        See `numba.njit`.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        made = njit(function, nogil=nogil, error_model="numpy", **options)
        if isinstance(made, Dispatcher):  # numba may have been told to leave everything as it is
            made._cache = KernelCache(made.py_func, _in_words(made.targetoptions))  # type: ignore[attr-defined]
        return made

    return compile_it


class Callback:
    """A function that C calls, compiled when its address is asked for; nothing in it may raise.

    Parameters
    ----------
    function : callable
        What is compiled.
    signature : numba signature
        Of what C gives it.
    """

    def __init__(self, function: Callable[..., None], signature: Any) -> None:
        self.__wrapped__, self._signature = function, signature
        self._code: Any = None

    @property
    def address(self) -> int:
        """Where its code is in memory."""
        if self._code is None:
            code: Any = CFunc(self.__wrapped__, normalize_signature(self._signature), locals={}, options={})  # type: ignore[no-untyped-call]
            code._cache = KernelCache(code.__wrapped__, "callback")
            code.compile()
            self._code = code
        return int(self._code.address)


def _in_words(options: dict[str, Any]) -> str:
    """Options in an order that is always the same."""
    return repr(sorted((name, sorted(of) if isinstance(of, set) else of) for name, of in options.items()))


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
