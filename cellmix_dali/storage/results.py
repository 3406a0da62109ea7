"""Results that go to a folder of this machine, or to one in a store.

A file is in the store in full or not at all, as an object is. Beside the results lies a note of what was sent, by which
a job goes on from any machine: small files are fetched, and large ones stand in its folder as holes of their size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._arguments import path_of, writable_place
from .._urls import cache_folder, url_of
from .folder_lock import FolderLock
from .paths import home_expanded
from .sending import WORK, ResultFiles, Results, SentResults, sending
from .stores import fetch_file, look, put

__all__ = ["result_file", "results_in"]


@contextmanager
def results_in(
    what: str, out: object, files: ResultFiles, *, resume: bool = False, part: str = "", whole: bool = False
) -> Iterator[Results]:
    """Have a folder for results, which may be named by a URL.

    Parameters
    ----------
    what : str
        What is written, as a sentence begins with it: "The folder of a tiling job".
    out : path-like
        The folder, or its URL.
    files : ResultFiles
        The job's files.
    resume : bool, default False
        Whether to go on with what is there. Otherwise only what says that there is a job is fetched.
    part : str, default ""
        Of a job of several parts that run at the same time: which one, as a part of files' names.
    whole : bool, default False
        Whether large files are fetched, too, to be compared.

    Yields
    ------
    Results
        At the end of the block all is in the store, and nothing is left on this machine. If the block is left by an
        error, what was not sent stays here for a job that goes on.

    Raises
    ------
    ArgumentError
        If results cannot be written there.
    WriteError
        If they cannot be sent.
    """
    place = writable_place(what, out)
    url = url_of(place)
    if url is None:
        folder = home_expanded(path_of(what, out)).absolute()
        yield Results(folder, folder)
        return
    sent = SentResults(url, place, files, part)
    lock = FolderLock(sent.own, f"{files.job} that writes there from this machine")
    try:
        sent.restore(resume=resume, whole=whole)
        with sent.under_way():
            yield sent
        sent.finish()
    finally:
        lock.close()


@contextmanager
def result_file(what: str, out: object) -> Iterator[Path]:
    """Have a file for a result that may be named by a URL; what is there is there before, and is replaced at the end.

    Parameters
    ----------
    what : str
        What is written, as a sentence begins with it: "The index".
    out : path-like
        The file, or its URL.

    Yields
    ------
    Path
        Of this machine.

    Raises
    ------
    ArgumentError
        If it cannot be written there.
    NotReadError
        If the store cannot be asked.
    WriteError
        If the file cannot be sent.
    """
    place = writable_place(what, out)
    url = url_of(place)
    if url is None:
        yield home_expanded(place).absolute()
        return
    path = cache_folder().joinpath(WORK, "file", *url.replace("://", "/", 1).split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    fetched = path.with_name(f"{path.name}.fetched")
    try:
        fetch_file(look(url, head=False)[0], fetched)
        fetched.replace(path)
    except FileNotFoundError:
        path.unlink(missing_ok=True)
    yield path
    with sending(url), path.open("rb") as file:
        put(url, file, os.fstat(file.fileno()).st_size)
    path.unlink()
