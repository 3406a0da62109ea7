"""Whole objects and folders of objects, for all that reads files from their first byte to their last."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .._urls import cache_folder, is_url, path_of_url, url_of
from ..errors import NotReadError, SlideError
from .mirror import Mirror, attach, enter, fetch
from .stores import listed

__all__ = ["attach_all", "here", "here_folder", "local", "present"]


def local(place: str | os.PathLike[str]) -> Path:
    """Return the path of a place, which may be a URL; nothing is asked for."""
    return path_of_url(place) if is_url(place) else Path(place)


def here(path: Path) -> Path:
    """See to it that a file can be read: the object that a path stands for, if it does, is fetched whole.

    Returns
    -------
    Path
        The path itself.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    NotReadError
        If it cannot be read just now.
    """
    mirror = attach(path, fresh=True)
    if mirror is not None:
        with fetch([mirror.everything()]):
            pass
    return path


def present(path: Path) -> bool:
    """Whether there is an object, or a folder of objects, at the place of a path; its local file has its size then.

    Raises
    ------
    NotReadError
        If the store cannot be asked.
    """
    try:
        attach(path, fresh=True)
    except FileNotFoundError:
        return bool(here_folder(path))
    return True


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
            attach(path)
        except (SlideError, FileNotFoundError) as error:
            return error
        return None

    asked = [path for path in dict.fromkeys(paths) if url_of(path) is not None]
    if not asked:
        return {}
    with ThreadPoolExecutor(min(64, len(asked)), thread_name_prefix="cellmix-dali-look") as pool:
        said = zip(asked, pool.map(ask, asked), strict=True)
        return {path: error for path, error in said if error is not None}
