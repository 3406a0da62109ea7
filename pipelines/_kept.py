"""What reading a few tiles again and again would open and build anew: slides, decoders, pipelines that resize."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from cellmix_dali.slides import Slide, open_slide

from ._block_cache import DecodedBlocks

__all__ = ["Kept", "KeptSlide"]

_T = TypeVar("_T")

# Formats of OpenSlide's whose slides are one file each, so that a change of one shows in it.
_ONE_FILE = frozenset({"aperio", "generic-tiff", "leica", "philips", "ventana", "trestle", "sakura"})


class Kept(Generic[_T]):
    """Things that are used by one thread at a time, and kept for the next use: those used last, so many at most.

    A forked child begins with none: threads and pipelines do not go with it.

    Parameters
    ----------
    most : int
        How many are kept while none is in use.
    close : callable
        Lets go of one.
    """

    def __init__(self, most: int, close: Callable[[_T], None]) -> None:
        self._most, self._close = most, close
        self._of_parents: list[object] = []
        self._begin()
        os.register_at_fork(after_in_child=self._begin_in_child)

    def _begin(self) -> None:
        self._lock = Lock()
        self._idle: OrderedDict[Hashable, _T] = OrderedDict()

    def _begin_in_child(self) -> None:
        self._of_parents.append(self._idle)  # to end a pipeline that came through a fork kills the process
        self._begin()

    @contextmanager
    def use(self, key: Hashable, make: Callable[[], _T]) -> Iterator[_T]:
        """Take what is kept under a key, or make it; it is kept after the block unless that raised an error."""
        with self._lock:
            found = self._idle.pop(key, None)
        thing = make() if found is None else found
        try:
            yield thing
        except BaseException:
            self._close(thing)
            raise
        with self._lock:
            dropped = [each for each in (self._idle.pop(key, None),) if each is not None]
            self._idle[key] = thing
            while len(self._idle) > self._most:
                dropped.append(self._idle.popitem(last=False)[1])
        for each in dropped:
            self._close(each)

    def clear(self) -> None:
        """Let go of all that is not in use."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for each in idle.values():
            self._close(each)


class KeptSlide:
    """An open slide and the decoders of its levels, opened anew where its files have changed.

    Parameters
    ----------
    path : str or Path
        The slide.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._blocks: dict[tuple[int, int], DecodedBlocks] = {}
        self._open()

    def current(self) -> Slide:
        """Return the slide as its files are now."""
        if self._version is None or self._version != _version(self._slide):
            self.close()
            self._blocks.clear()
            self._open()
        return self._slide

    def blocks(self, level: int, num_threads: int) -> DecodedBlocks | None:
        """Return what decodes a level's blocks on the CPU; None where OpenSlide reads the level."""
        if level >= len(self._slide.levels) or self._slide.levels[level].block_width is None:
            return None
        key = level, num_threads
        if key not in self._blocks:
            self._blocks[key] = DecodedBlocks(self._slide, level, device="cpu", num_threads=num_threads, scans=False)
        return self._blocks[key]

    def rest(self) -> None:
        """Drop pixels, and let go of the file, which opens in no time; OpenSlide's handle stays open."""
        for blocks in self._blocks.values():
            blocks.forget()
        if self._slide.route == "direct":
            self._slide.close()

    def close(self) -> None:
        """Close the slide, and end the decoders' threads."""
        for blocks in self._blocks.values():
            blocks.close()
        self._slide.close()

    def _open(self) -> None:
        before = _state(self._path)
        self._slide = open_slide(self._path)
        same = before is not None and before == _state(self._path)
        self._version = _version(self._slide) if same else None


def _version(slide: Slide) -> Hashable | None:
    """What changes when a slide's files are changed or replaced; None where it is not known which they are."""
    if slide.route == "openslide" and slide.vendor not in _ONE_FILE:
        return None
    states = tuple(_state(path) for path in {slide.path: None, **dict.fromkeys(slide.files)})
    return None if None in states else states


def _state(path: Path) -> Hashable | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
