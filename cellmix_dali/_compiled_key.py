"""What a compiled function depends on, as a digest: its own code and all that it calls, as they are in memory.

A file's date, or its text, would not do: a kernel has the code of functions in other files built in, and the numbers
that they name; and files may be replaced while a process runs that has read the former ones.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.dispatcher import Dispatcher
from numba.core.types import Type

__all__ = ["code_digest"]

_BY_VERSION = ("builtins", "llvmlite", "math", "numba", "numpy", "types", "typing")  # their versions say what they do
_OPTIONS = ("BOUNDSCHECK", "DEBUG_ARRAY_OPT", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE")


@functools.cache
def code_digest(function: FunctionType) -> str:
    """Return 64 hexadecimal digits that change with anything that decides over a function's machine code.

    That is the byte code, constants, defaults, closures and globals of the function and of all functions that it
    calls, compiled or run by numba while it compiles; the versions of Python, numba, LLVM and NumPy; and numba's
    options. The kind of processor is not in it.

    Raises
    ------
    TypeError
        If a global that it uses is of a kind whose value cannot be told.
    """
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    options = tuple(str(getattr(config, name, None)) for name in _OPTIONS)
    return hashlib.sha256(repr((versions, options, _Told().of(function))).encode()).hexdigest()


class _Told:
    # Puts values in words; what was met before is named by its number, so that circles end.
    def __init__(self) -> None:
        self._met: dict[int, int] = {}

    def of(self, value: Any) -> Any:
        """A value as nested tuples of plain ones."""
        if value is None or value is Ellipsis or isinstance(value, bool | int | float | complex | str | bytes):
            return type(value).__name__, repr(value)
        if isinstance(value, enum.Enum):
            return type(value).__qualname__, value.name
        if isinstance(value, np.ndarray | np.generic):
            return value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, tuple | list):
            return type(value).__name__, *map(self.of, value)
        if isinstance(value, set | frozenset):
            return "set", *sorted(repr(self.of(each)) for each in value)
        if isinstance(value, dict):
            return "dict", *sorted(repr((self.of(key), self.of(of))) for key, of in value.items())
        if isinstance(value, CodeType):
            return self._of_code(value)
        return self._of_callable(value)

    def _of_code(self, code: CodeType) -> Any:
        names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return code.co_code, names, code.co_argcount, *map(self.of, code.co_consts)

    def _of_callable(self, value: Any) -> Any:
        """What is called, or names something that is."""
        if isinstance(value, ModuleType):
            if value.__name__.startswith("cellmix_dali"):
                raise TypeError(f"Compiled code names the module {value.__name__}: import what it needs by name.")
            return "module", value.__name__
        if isinstance(value, Type):  # numba's own
            return "type", str(value)
        if self._by_version(value):
            return getattr(value, "__module__", None), getattr(value, "__qualname__", None) or repr(value)
        if id(value) in self._met:
            return "met", self._met[id(value)]
        self._met[id(value)] = len(self._met)
        if isinstance(value, Dispatcher):
            return "compiled", self.of(value.targetoptions), self.of(value.py_func)
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return "method", self.of(value.__func__)
        defined = getattr(value, "_defn", None)  # of numba's intrinsics
        if isinstance(defined, FunctionType):
            return "intrinsic", self.of(defined)
        raise TypeError(f"Compiled code names {value!r}, of which it cannot be told whether it has changed.")

    def _of_function(self, function: FunctionType) -> Any:
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        known = {name: function.__globals__[name] for name in names}
        return (
            self.of(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            self.of(cells),
            tuple((name, self.of(value)) for name, value in known.items()),
        )

    @staticmethod
    def _by_version(value: Any) -> bool:
        """Whether the version of its package says what it is; types and what C defines, wherever they are."""
        if isinstance(value, BuiltinFunctionType | type | np.ufunc):
            return True
        module = getattr(value, "__module__", None) or ""
        return not isinstance(value, Dispatcher) and not hasattr(value, "_defn") and module.split(".")[0] in _BY_VERSION


def _names(code: CodeType) -> set[str]:
    """All names that a function's code uses, that of functions within it too."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
