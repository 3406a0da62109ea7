"""Objects of the stores that obstore has no scheme for, by fsspec: hf://, sftp://, hdfs://, webdav:// and others.

fsspec's own settings hold: its files of configuration, and the environment variables of each package. An object's
version is what the store says of it; it is looked at when the object is opened, not with each range.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..errors import MissingDependencyError, NotReadError
from .patience import Retry

__all__ = ["listed", "look", "read_range"]

_T = TypeVar("_T")
# What stores say of a version, the best first.
_VERSIONS = ("ETag", "etag", "blob_id", "checksum", "mtime", "last_modified", "LastModified", "modified", "created")


def look(url: str, seconds: float) -> tuple[int, str]:
    """Ask for an object's bytes and version; tried again for so many seconds.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    NotReadError
        If it cannot be asked for just now, or not by this login.
    MissingDependencyError
        If the package is missing that fsspec needs for the scheme.
    """
    found = _tried(url, lambda store, path: store.info(path), seconds)
    if found["type"] != "file":
        raise FileNotFoundError(errno.ENOENT, f"there is no such object: {url}")
    return _described(found)


def read_range(url: str, start: int, end: int, seconds: float) -> bytes:
    """Read the bytes from `start` to before `end` of an object; raises as `look` does."""
    return bytes(_tried(url, lambda store, path: store.cat_file(path, start=start, end=end), seconds))


def listed(url: str, seconds: float) -> Iterator[tuple[str, int, str]]:
    """Yield URL, bytes and version of the objects directly in a folder; raises as `look` does."""
    for found in _tried(url, lambda store, path: store.ls(path, detail=True), seconds):
        if found["type"] == "file":
            yield f"{url.rstrip('/')}/{found['name'].rstrip('/').rpartition('/')[2]}", *_described(found)


def _described(found: dict[str, Any]) -> tuple[int, str]:
    size = int(found["size"])
    return size, next((str(found[name]) for name in _VERSIONS if found.get(name) is not None), f"{size} bytes")


def _tried(url: str, ask: Callable[[Any, str], _T], seconds: float) -> _T:
    """Ask a store, and again after growing pauses as long as nothing but the moment is wrong."""
    from fsspec.core import url_to_fs

    pauses = Retry(seconds=seconds).pauses()
    while True:
        try:
            store, path = url_to_fs(url)
            store.invalidate_cache()
            return ask(store, path)
        except ImportError as error:
            raise MissingDependencyError(f"{url} is read by fsspec, which needs another package: {error}") from error
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, f"there is no such object: {url}") from None
        except PermissionError:
            raise NotReadError(
                f"{url} was not read: the store does not take this login, or there is none. fsspec's documentation "
                f"says which settings {url.partition('://')[0]}:// takes."
            ) from None  # its own words may hold what is secret
        except Exception as error:  # of any library
            why = type(error).__name__
        pause = next(pauses, None)
        if pause is None:
            raise NotReadError(
                f"{url} was not read: {why}. It was tried again for as long as CELLMIX_DALI_STORE_SECONDS says. "
                "Nothing says that the file is damaged. Check the connection to the store."
            )
        time.sleep(pause)
