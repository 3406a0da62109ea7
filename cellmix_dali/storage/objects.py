"""Whole objects and folders of objects, for all that reads files from their first byte to their last."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from .._arguments import path_of_url
from .._urls import cache_folder, is_url, url_of
from ..errors import NotReadError, SlideError
from .aside import write_aside
from .mirror import Mirror, attach, enter, fetch
from .stores import listed

__all__ = ["asked_for", "attach_all", "here", "here_folder", "own_copy"]


_FOLDERS: set[Path] = set()  # that were listed by this process


@contextmanager
def here(path: Path, *, fresh: bool = False) -> Iterator[None]:
    """Have a file there in the block: the object that a path stands for, if it does, is fetched whole.

    Parameters
    ----------
    path : Path
        Any path.
    fresh : bool, default False
        Whether to ask the store again whether it is the same version as before.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    NotReadError
        If it cannot be read just now.
    """
    mirror = attach(path, fresh=fresh)
    with nullcontext() if mirror is None else fetch([mirror.everything()]):
        yield


def asked_for(path: str | os.PathLike[str]) -> Path:
    """Return the path of a place, which may be a URL; an object then has a local file of its size, a folder a folder.

    Where there is neither, nothing is at the path, and a path of its own is left as it is: whoever opens it says so.

    Raises
    ------
    NotReadError
        If the store cannot be asked just now.
    """
    place = path_of_url(path) if is_url(path) else Path(path)
    url = url_of(place)
    if url is not None and place not in _FOLDERS:
        try:
            attach(place)
        except FileNotFoundError:
            if not url.startswith("http") and here_folder(place):
                _FOLDERS.add(place)
    return place


def own_copy(path: Path) -> Path:
    """Return a file that may stay mapped into memory: of an object a copy that nobody lets go of, made once.

    It counts beside what is kept of objects; another version of the object takes its place.

    Raises
    ------
    FileNotFoundError, NotReadError
        See `here`.
    """
    mirror = attach(path, fresh=True)
    if mirror is None:
        return path
    names = [hashlib.sha256(text.encode()).hexdigest()[:20] for text in (mirror.of.url, mirror.of.version)]
    copy = cache_folder().joinpath("copies", *names)
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with here(path), path.open("rb") as file, write_aside(copy) as own:
            shutil.copyfileobj(file, own)
        for other in copy.parent.iterdir():
            if other != copy and not other.name.endswith(".part"):
                other.unlink(missing_ok=True)
    return copy


def here_folder(path: Path) -> list[Mirror]:
    """List a folder of objects, so that its local folder has files of these names and sizes, and no others.

    Raises
    ------
    NotReadError
        If the store cannot be asked, or does not list.
    """
    url = url_of(path)
    if url is None:
        return []
    if url.startswith("http"):
        raise NotReadError(
            f"{url} was not read: web servers do not list folders. Name each file, in a list of slides for example."
        )
    found = [enter(path / each.url.rpartition("/")[2], each) for each in listed(url) if not each.url.endswith("/")]
    names = {each.path.name for each in found}
    if path.is_dir():
        for file in path.iterdir():
            if file.is_file() and file.name not in names:
                for gone in (file, cache_folder() / "pages" / file.relative_to(cache_folder())):
                    with suppress(OSError):
                        gone.unlink()
    return found


def attach_all(paths: Iterable[Path]) -> dict[Path, OSError]:
    """Ask for many objects at once; returns those of them that are not there or cannot be asked for, and why."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(path: Path) -> OSError | None:
        try:
            attach(path, with_beginning=False)
        except (SlideError, FileNotFoundError) as error:
            return error
        return None

    asked = [path for path in dict.fromkeys(paths) if url_of(path) is not None]
    if not asked:
        return {}
    with ThreadPoolExecutor(min(64, len(asked)), thread_name_prefix="cellmix-dali-look") as pool:
        said = zip(asked, pool.map(ask, asked), strict=True)
        return {path: error for path, error in said if error is not None}
