"""A folder of results that is sent to a store as its files are finished, and made again from there on any machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from fnmatch import fnmatch
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread

from .._urls import cache_folder
from ..errors import ArgumentError, CellMixDaliError, NotReadError
from .aside import WriteError, remove_parts, write_aside
from .stores import StoredObject, all_below, fetch_file, put, remove

__all__ = ["ResultFiles", "Results", "SentResults", "WORK", "sending"]

#: Folder of the machine's copies, in that of the stores' copies.
WORK = "results"
_NOTE = "sent"  # .json, of a part of a job sent-PART.json
_PAUSE = 0.5  # seconds between two looks at what is finished, or twenty times what a look takes
_AGAIN = 30.0  # seconds after which a file is sent again that goes on growing: a journal
_AT_ONCE = 16  # files that are sent, or fetched
_WAITING = 8 << 30  # bytes that may wait to be sent: then the job waits


@dataclass(frozen=True)
class ResultFiles:
    """What a job's files are to one that goes on with it; patterns of names within its folder.

    Attributes
    ----------
    job : str
        What works in the folder, for messages: "tiling job".
    settings : tuple of str
        What it was asked for. A job in which one of them is missing has not begun.
    records : tuple of str
        What is done of it.
    large : tuple of str
        Not read again by the job: once sent, this machine keeps none of their bytes.
    left_out : tuple of str
        Not results.
    """

    job: str
    settings: tuple[str, ...]
    records: tuple[str, ...]
    large: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sent:
    """A file as it was sent, and the version that the store had then."""

    bytes: int
    modified: int
    version: str
    hollow: bool = False


class Results:
    """A folder of results.

    Attributes
    ----------
    folder : Path
        Where they are written.
    place : Path
        Where they are to be found: the same folder, or the path that stands for a URL.
    """

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder, self.place = folder, place

    @property
    def in_store(self) -> bool:
        """Whether they go to a store."""
        return self.folder != self.place

    def check(self) -> None:
        """Say whether all could be sent until now, and wait where too much is left.

        Raises
        ------
        WriteError
            If something cannot be sent.
        """


class SentResults(Results):
    """Sends what is finished in a folder, in a thread."""

    def __init__(self, url: str, place: Path, files: ResultFiles, part: str) -> None:
        below = Path(part or "whole", *url.replace("://", "/", 1).split("/"))
        super().__init__(cache_folder() / WORK / below, place)
        self.own = cache_folder() / _NOTE / below
        self._url, self._files = url, files
        self._note_name = f"{_NOTE}-{part}.json" if part else f"{_NOTE}.json"
        self._is_whole = not part
        self._sent: dict[str, _Sent] = {}
        self._last: dict[str, float] = {}
        self._error: CellMixDaliError | None = None
        self._waiting, self._noted = 0, 0.0
        self._end = Event()

    def check(self) -> None:
        """See `Results.check`."""
        while self._error is None and self._waiting > _WAITING:
            time.sleep(0.1)
        if self._error is not None:
            raise self._error

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Send in the background what is finished in the block; if an error ends it, another machine can go on."""
        thread = Thread(target=self._run, name="cellmix-dali-results", daemon=True)
        thread.start()
        whole = False
        try:
            yield
            whole = True
        finally:
            self._end.set()
            thread.join()
            if not whole and self._noted and self._error is None:  # one that has sent nothing says nothing, either
                with suppress(CellMixDaliError, OSError):  # what ended the block is what is told
                    # What is small goes, too: a large file that was sent counts where all of its part is there.
                    self._send_rest(large=False)
                    self._send_note()

    def _run(self) -> None:
        pause = _PAUSE
        while not self._end.wait(pause):
            began = time.monotonic()
            try:
                self._send(self._ready())
                if self._noted and time.monotonic() - self._noted > _AGAIN:
                    self._send_note()
            except (CellMixDaliError, OSError) as error:
                self._error = error if isinstance(error, CellMixDaliError) else _not_sent(self._url, error)
                return
            pause = max(_PAUSE, 20 * (time.monotonic() - began))

    def finish(self) -> None:
        """Send what is left, remove what is no longer there, and let go of the folder."""
        self.check()
        self._send_rest()
        with sending(self._url):
            gone = [name for name in self._sent if not (self.folder / name).exists()]
            remove([f"{self._url}/{name}" for name in gone])
            for name in gone:
                del self._sent[name]
        self._send_note()
        rmtree(self.folder, ignore_errors=True)
        rmtree(self.own, ignore_errors=True)

    def _send_rest(self, *, large: bool = True) -> None:
        """Send what is left, the records of the job last: what they name is there when they are."""
        rest = [of for of in self._ready(last=True) if not self._is_record(of[0])]
        self._send([of for of in rest if large or not self._is_large(of[0])])
        self._send_records()

    def _send_records(self) -> None:
        """Send the records of the job as they are now."""
        self._send([of for of in self._ready(last=True) if self._is_record(of[0])])

    def _is_record(self, name: str) -> bool:
        return any(fnmatch(name, each) for each in (*self._files.settings, *self._files.records))

    def _is_large(self, name: str) -> bool:
        return any(fnmatch(name, each) for each in self._files.large)

    def _ready(self, *, last: bool = False) -> list[tuple[str, int, int]]:
        """Finished files that are not in the store as they are: names, bytes, times."""
        found, now = [], time.monotonic()
        for folder, _, names in os.walk(self.folder):
            for file in names:
                path = Path(folder, file)
                name = path.relative_to(self.folder).as_posix()
                if file.endswith(".part") or any(fnmatch(name, each) for each in self._files.left_out):
                    continue
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                sent = self._sent.get(name)
                if sent is not None and (sent.bytes, sent.modified) == (state.st_size, state.st_mtime_ns):
                    continue
                if last or sent is None or now - self._last.get(name, 0.0) > _AGAIN:
                    found.append((name, state.st_size, state.st_mtime_ns))
        self._waiting = sum(size for _, size, _ in found)
        return found

    def _send(self, ready: list[tuple[str, int, int]]) -> None:
        """Send files, all at once; then large ones need no room here any more."""
        if not ready:
            return
        if not self._noted:
            self._send_note()  # says whose files these are, if the process is killed before all are sent
        sent: dict[str, _Sent] = {}

        def send(name: str) -> None:
            try:
                file = (self.folder / name).open("rb")
            except FileNotFoundError:  # removed by the job meanwhile
                return
            with file:
                state = os.fstat(file.fileno())
                version = put(f"{self._url}/{name}", file, state.st_size)
            sent[name] = _Sent(state.st_size, state.st_mtime_ns, version, self._is_large(name))
            self._waiting -= state.st_size

        with sending(self._url), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cellmix-dali-sending") as pool:
            for task in [pool.submit(send, name) for name, _, _ in sorted(ready)]:
                task.result()
        self._sent.update(sent)
        self._last.update(dict.fromkeys(sent, time.monotonic()))
        self._keep_note()  # before anything is a hole
        for name, of in sent.items():
            if of.hollow:
                _hollow(self.folder / name, of)

    def _said(self) -> bytes:
        return json.dumps({"files": {name: astuple(of) for name, of in sorted(self._sent.items())}}).encode()

    def _keep_note(self) -> None:
        with write_aside(self.own / self._note_name) as file:
            file.write(self._said())

    def _send_note(self) -> None:
        self._keep_note()
        with sending(self._url), (self.own / self._note_name).open("rb") as file:
            put(f"{self._url}/{self._note_name}", file, os.fstat(file.fileno()).st_size)
        self._noted = time.monotonic()

    def restore(self, *, resume: bool, whole: bool) -> None:
        """Make this machine's folder what is in the store, where that is not older."""
        there = {of.url.removeprefix(f"{self._url}/"): of for of in all_below(self._url)}
        own = _read_note(self.own / self._note_name)
        if own and not there and not resume:  # somebody has removed it all, to begin anew
            rmtree(self.folder, ignore_errors=True)
            own = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder, _, _ in list(os.walk(self.folder)):
            remove_parts(Path(folder))
        notes = sorted(name for name in there if fnmatch(name, f"{_NOTE}*.json"))
        theirs = self._known(there, notes)
        if not all(any(fnmatch(name, each) for name in {*theirs, *own}) for each in self._files.settings):
            theirs = {}  # killed before its settings were sent: it begins anew
        strange = sorted(set(there) - set(notes) - set(theirs) - set(own))
        if strange and not (notes or own):
            raise ArgumentError(
                f"{self._url} is not empty (it has {strange[0]}) and holds no {self._files.job}: name another place."
            )
        if strange and self._is_whole and not resume:
            raise ArgumentError(
                f"{self._url} has {strange[0]} of a {self._files.job} that was interrupted: go on with it by --resume, "
                "or remove what is there."
            )
        wanted = {}
        for name in {*theirs, *own}:
            path, mine, of = self.folder / name, own.get(name), theirs.get(name)
            if path.exists() and mine is not None and _is(there.get(name), mine):
                self._sent[name] = mine  # this machine's is the same, or newer
            elif of is not None and (resume or self._is_record(name)):
                wanted[name] = of
            elif mine is not None and mine.hollow:  # only a hole is left of it
                path.unlink(missing_ok=True)
        for name in filter(self._is_record, there.keys() - self._sent.keys() - wanted.keys()):
            self._sent[name] = _Sent(there[name].size, 0, there[name].version)  # to be replaced, or removed
        if whole:
            wanted |= {name: of for name, of in self._sent.items() if of.hollow}

        def bring(name: str, of: _Sent) -> None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            as_hole = self._is_large(name) and not whole
            if as_hole:
                path.touch()
            else:
                fetch_file(there[name], path)
            self._sent[name] = _Sent(of.bytes, of.modified, of.version, as_hole)
            _hollow(path, of) if as_hole else os.utime(path, ns=(of.modified, of.modified))

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cellmix-dali-fetching") as pool:
            for task in [pool.submit(bring, name, of) for name, of in wanted.items()]:
                task.result()
        self._keep_note()

    def _known(self, there: dict[str, StoredObject], notes: list[str]) -> dict[str, _Sent]:
        """What the notes in the store say of objects that are there, and records that were sent after the last note."""
        known: dict[str, _Sent] = {}
        for name in notes:
            path = self.own / f"theirs-{name}"
            fetch_file(there[name], path)
            known.update({each: of for each, of in _read_note(path).items() if _is(there.get(each), of)})
        for name in filter(self._is_record, there.keys() - known.keys()):
            if there[name].size > _size(self.folder / name):  # of another machine: records only grow
                known[name] = _Sent(there[name].size, time.time_ns(), there[name].version)
        return known


def _is(there: StoredObject | None, of: _Sent) -> bool:
    """Whether an object is the one that was sent."""
    return there is not None and (there.size, there.version) == (of.bytes, of.version)


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.stat().st_size if path.exists() else -1


def _read_note(path: Path) -> dict[str, _Sent]:
    """What was sent; a note that is not there, or damaged, says nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return {str(name): _Sent(*of) for name, of in json.loads(path.read_bytes())["files"].items()}
    return {}


def _hollow(path: Path, of: _Sent) -> None:
    """Make a file one hole of its size and time."""
    with suppress(FileNotFoundError):
        os.truncate(path, 0)
        os.truncate(path, of.bytes)
        os.utime(path, ns=(of.modified, of.modified))


@contextmanager
def sending(url: str) -> Iterator[None]:
    """Say of what a store refuses in the block that results are not sent, and what to do.

    Raises
    ------
    WriteError
        If the store refuses.
    """
    try:
        yield
    except NotReadError as error:
        raise _not_sent(url, error) from error


def _not_sent(url: str, error: Exception) -> WriteError:
    return WriteError(f"Results cannot be sent to {url}: {error} What was not sent is kept here: go on with --resume.")
