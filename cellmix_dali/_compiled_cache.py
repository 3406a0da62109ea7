"""Compiled code kept on disk, for all processes of a machine: one compiles a function while the others wait for it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar
from uuid import uuid4

from numba.core import config
from numba.core.caching import _Cache as NumbaCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from ._compiled_key import code_digest
from ._user_cache import user_cache

__all__ = ["KernelCache", "cache_folders", "writable_folders"]

_PACKAGE = Path(__file__).resolve().parent
_PATIENCE = 120.0  # seconds for another process that compiles the same function; then it is compiled here, too
_PAUSE = 0.02
_DIGEST = hashlib.sha256().digest_size


def cache_folders() -> list[Path]:
    """Return the folders in which compiled code is looked for; the first that can be written to takes new code.

    That is the folder of the environment variable NUMBA_CACHE_DIR alone where that is set; else ``__pycache__`` of the
    installed package, then one for this installation in the user's cache folder (see `cellmix_dali._user_cache`).
    """
    given: str = config.CACHE_DIR  # type: ignore[attr-defined]
    if given:
        return [Path(given, "cellmix_dali")]
    own, user = _PACKAGE / "__pycache__" / "compiled", user_cache()
    place = hashlib.sha256(os.fsencode(_PACKAGE)).hexdigest()[:12]
    return [own] if user is None else [own, user / "compiled" / place]


class KernelCache(NumbaCache):
    """Keeps what numba makes of one function, in the place of numba's own cache.

    The name of a file says everything that its code depends on (`cellmix_dali._compiled_key.code_digest`, the types of
    the arguments, the kind of processor), so a file of that name is never out of date. A file that is cut short, or
    damaged, is compiled anew.

    Parameters
    ----------
    function : function
        What is compiled.
    options : str
        All with which it is compiled.
    """

    def __init__(self, function: FunctionType, options: str) -> None:
        self._function, self._options = function, options
        self._locks: dict[str, _Lock] = {}

    @property
    def cache_path(self) -> str:
        return str(cache_folders()[0])

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return compiled code that is kept, or None: then it is to be compiled here, while others wait."""
        target_context.refresh()
        name = self._name(sig, target_context.codegen())
        found = self._found(name, target_context)
        if found is None:
            lock = self._locks.setdefault(name, _Lock(name))
            lock.take(lambda: any((folder / name).exists() for folder in cache_folders()))
            found = self._found(name, target_context)
            if found is not None:
                lock.release()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, where a folder can be written to, and let the others go on."""
        name = self._name(sig, data.codegen)
        try:
            if not data.library.has_dynamic_globals:  # addresses of this process
                _keep(name, dumps(data._reduce()))  # type: ignore[no-untyped-call]
        finally:
            lock = self._locks.pop(name, None)
            if lock is not None:
                lock.release()

    def enable(self) -> None:
        """Do nothing: it is always in use."""

    def disable(self) -> None:
        """Do nothing: it is always in use."""

    def flush(self) -> None:
        """Do nothing: code that is out of date is never found."""

    def _name(self, sig: Any, codegen: Any) -> str:
        digest = hashlib.sha256(f"{code_digest(self._function)} {self._options}".encode()).hexdigest()
        key = repr((digest, str(sig), codegen.magic_tuple()))
        own = f"{self._function.__module__}.{self._function.__qualname__}".removeprefix("cellmix_dali.")
        return f"{own}-{digest[:12]}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.nbc"

    def _found(self, name: str, target_context: Any) -> Any:
        """Code that is kept, if it is whole."""
        for folder in cache_folders():
            with suppress(OSError):
                whole = (folder / name).read_bytes()
                if hashlib.sha256(whole[_DIGEST:]).digest() == whole[:_DIGEST]:
                    return CompileResult._rebuild(target_context, *pickle.loads(whole[_DIGEST:]))  # type: ignore[no-untyped-call]
        return None


def _keep(name: str, code: bytes) -> None:
    """Write code into the first folder that takes it, in the place of what the same function was before."""
    for folder in writable_folders():
        part = folder / f"{name}.{uuid4().hex[:12]}.part"
        try:
            part.write_bytes(hashlib.sha256(code).digest() + code)
            part.replace(folder / name)
        except OSError:  # a full disk, say
            with suppress(OSError):
                part.unlink()
            continue
        function, digest, _ = name.rsplit("-", 2)
        for other in folder.glob(f"{function}-*.nbc"):
            if other.name.rsplit("-", 2)[:2] != [function, digest]:
                with suppress(OSError):
                    other.unlink()
        return


def writable_folders() -> Iterator[Path]:
    """Yield the folders that can be written to, which are made if need be."""
    for folder in cache_folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                yield folder


class _Lock:
    # A byte of one file for each function: such a lock ends with its process, and a forked child does not have it.
    def __init__(self, name: str) -> None:
        self._byte = int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)
        self._file: _LockFile | None = None

    def take(self, is_there: Callable[[], bool]) -> None:
        """Wait until nobody else compiles the function, or it is there; where there are no locks, do not wait."""
        self._file = next(filter(None, map(_LockFile.of, writable_folders())), None)
        end = time.monotonic() + _PATIENCE
        while self._file is not None and not self._file.lock(self._byte) and time.monotonic() < end and not is_there():
            time.sleep(_PAUSE)

    def release(self) -> None:
        if self._file is not None:
            self._file.unlock(self._byte)
            self._file = None


class _LockFile:
    # Open while this process has locks in it: closing it ends them all.
    _open: ClassVar[dict[Path, _LockFile]] = {}

    def __init__(self, path: Path) -> None:
        self._path, self._users = path, 0
        self._number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @classmethod
    def of(cls, folder: Path) -> _LockFile | None:
        """The file of a folder, for one more user; None where there can be none."""
        path = folder / "lock"
        with suppress(OSError):
            file = cls._open[path] if path in cls._open else cls._open.setdefault(path, cls(path))
            file._users += 1
            return file
        return None

    def lock(self, byte: int) -> bool:
        """Lock a byte; False where another process has it."""
        try:
            fcntl.lockf(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
        return True

    def unlock(self, byte: int) -> None:
        """Let go of a byte; the last user closes the file."""
        with suppress(OSError):
            fcntl.lockf(self._number, fcntl.LOCK_UN, 1, byte)
        self._users -= 1
        if not self._users:
            del self._open[self._path]
            os.close(self._number)
