"""Making an index: slides in, one file out, whatever happens in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from .._arguments import number, path_of
from ..errors import NOT_READ, ArgumentError, NotReadError, SlideError
from ..jobs.deadline import forget_deadlines
from ..jobs.executor import carry_out, make_executor
from ..jobs.folder import JobFolder
from ..jobs.job_shard import JobShard
from ..jobs.journal import Journal, journal_lines
from ..slides import Slide
from ..slides.identity import unique_slides
from ..storage.aside import told
from ..storage.objects import asked_for
from ..storage.paths import home_expanded
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT, Retry
from ..storage.results import result_file
from .entry import Entry, Look, mask_key, packed_entry, read_entry
from .file import IndexFile, finish_index, hash_of
from .index import CollectionIndex
from .index_parts import finished_parts, forget_parts, part_place
from .settings import IndexSettings
from .states import changed_file, location_of
from .tasks import IndexedSlide, IndexTask, do_task, lost_task

__all__ = ["Progress", "make_index"]

_JOURNAL, _ENTRIES = "journal.jsonl", "entries"
_FEW = 16  # slides for which worker processes are not worth their start
#: Called with the slides that are done, all slides, and the last one.
Progress = Callable[[int, int, IndexedSlide], None]


def make_index(
    slides: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: IndexSettings | None = None,
    *,
    mpps: Sequence[float | None] | None = None,
    overwrite: bool = False,
    shard: JobShard | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_seconds: float = RETRY_SECONDS,
    slide_timeout: float | None = SLIDE_TIMEOUT,
    progress: Progress | None = None,
) -> CollectionIndex:
    """Look at every slide, once, and write what is known of it to one file.

    Where the file is there already it is brought up to date: slides that have not changed, and of which it has what is
    asked for, are not looked at again, and slides that are not among `slides` stay in it. While the job runs, what is
    done is kept in a folder beside the file, ``OUT.job``: however it ended, the next call goes on there. Finished, the
    file takes the place of the one before at once; who reads that one goes on with it.

    A script that calls this with worker processes needs the usual ``if __name__ == "__main__":``, as they import it.

    Parameters
    ----------
    slides : path-like, or sequence of path-like
        Slide files, all different.
    out : str or Path
        The file, or its URL in a store: it is written on this machine, and then sent.
    settings : IndexSettings, optional
        What is asked for beside where the blocks lie.
    mpps : sequence of (float or None), optional
        Microns per pixel of each slide's first level, whatever its file says.
    overwrite : bool, default False
        Whether to begin anew where there is such a file, or a job that did not end.
    shard : JobShard, optional
        Which part of the slides to look at, beside other processes with theirs, on hosts that share the file system or
        the store. It is kept in ``OUT.parts``; the whole, made without `shard` afterwards, takes over what is there.
    workers : int, optional
        Worker processes on this machine; by default one per core, but none for fewer than 16 slides. 0: none, this
        process does all.
    scheduler : str, optional
        Address of a Dask scheduler, instead of `workers`. Its workers must see the slides under the same paths.
    retry_seconds : float, default 60
        How long a look at a slide is tried again that fails for a reason of the moment.
    slide_timeout : float or None, default 3600
        Seconds that a look at a slide may take in a worker process. None: as long as it takes.
    progress : callable, optional
        Called with (slides done, slides, an `IndexedSlide`) after each; first, if need be, with those that were done
        before.

    Returns
    -------
    CollectionIndex
        Of a part, that of its slides. Slides that cannot be opened are in it, with the reason. Those that could not be
        read just now are not.

    Raises
    ------
    ArgumentError
        If there is nothing to do, a slide is named twice, or `out` cannot be used.
    WriteError
        If results cannot be written, as on a full disk.
    JobStoppedError
        If the worker processes cannot go on.
    """
    settings = settings or IndexSettings()
    Retry(seconds=retry_seconds)  # refuses what is no time
    if slide_timeout is not None:
        slide_timeout = number("slide_timeout", slide_timeout, low=0.0, above_low=True)
    paths = [
        home_expanded(path_of("A slide", each)).absolute()
        for each in ([slides] if isinstance(slides, str | Path) else slides)
    ]
    if not paths:
        raise ArgumentError("There is nothing to make an index of: name at least one slide.")
    if mpps is not None and len(mpps) != len(paths):
        raise ArgumentError(f"{len(paths)} slides and {len(mpps)} mpps: give one for each slide.")
    for repeated in unique_slides(paths)[1]:
        raise ArgumentError(f"{repeated} are one slide: leave one out.")
    asked = list(zip(paths, [None] * len(paths) if mpps is None else mpps, strict=True))
    whole = home_expanded(path_of("The index", out)).absolute()
    place = whole if shard is None else part_place(whole, shard)
    with result_file("The index", place) as path:
        if path.is_dir():
            raise ArgumentError(f"{path} is a folder: name a file for the index, such as collection.index.")
        parts = finished_parts(place) if shard is None else []
        earlier = [] if shard is None or overwrite else _there(whole)
        folder = path.with_name(f"{path.name}.job")
        with _IndexFolder(folder, path, [] if overwrite else parts, earlier, overwrite=overwrite) as kept:
            forget_deadlines(folder)
            tasks = [
                IndexTask(folder=folder, settings=settings, number=number, slide=each, mpp=mpp)
                for number, (each, mpp) in enumerate(asked if shard is None else shard.slides(asked))
            ]
            left = [task for task in tasks if not kept.has(task)]
            done = len(tasks) - len(left)
            if done and progress is not None:
                progress(done, len(tasks), IndexedSlide(paths[0]))
            in_vain = False
            if workers is None and scheduler is None and len(left) < _FEW:
                workers = 0
            with closing(make_executor(do_task, lost_task, workers, scheduler, preload=do_task.__module__)) as executor:
                timeout = slide_timeout if executor.in_processes else None
                waiting = iter(left)

                def next_task() -> IndexTask | None:
                    task, seconds = next(waiting, None), 0.0 if in_vain else retry_seconds
                    return None if task is None else replace(task, retry_seconds=seconds, timeout=timeout)

                for task, result in carry_out(executor, next_task):
                    in_vain = result.kind == NOT_READ
                    kept.add(task, result)
                    done += 1
                    if progress is not None:
                        progress(done, len(tasks), result)
            if left or parts or not path.exists():
                kept.finish(settings)
        shutil.rmtree(folder, ignore_errors=True)
    forget_parts(place, parts)
    return CollectionIndex(place)


class _IndexFolder(JobFolder):
    """The folder of a job under way: entries one after the other, and a journal of where each lies.

    What `parts` have goes into the new index, as what the one before it has; `others` only save looks at slides.
    """

    job, name, format = "index", "job.json", 1
    says: ClassVar[Mapping[str, type]] = {}

    def __init__(
        self, folder: Path, out: Path, parts: Sequence[Path], others: Sequence[IndexFile], *, overwrite: bool
    ) -> None:
        self._out, self._overwrite = out, overwrite
        self._places: dict[int, tuple[int, int]] = {}
        self._before = [IndexFile(part) for part in parts]
        self._others = others
        super().__init__(folder)

    def close(self) -> None:
        """Let go of the folder."""
        if self._journal is not None:
            self._file.close()
        super().close()

    def begin(self) -> None:
        """Find what is there, or begin anew."""
        entries, journal = self.folder / _ENTRIES, self.folder / _JOURNAL
        if self._overwrite:
            entries.unlink(missing_ok=True)
            journal.unlink(missing_ok=True)
        elif self._out.exists():
            self._before.append(IndexFile(self._out))
        with told(entries):
            self._file = entries.open("a+b")
            size = entries.stat().st_size
            for line in journal_lines(journal):
                if line["offset"] + line["length"] <= size:
                    self._places[line["name"]] = line["offset"], line["length"]
            # What was written and not noted is cut off; what was lost of it, too.
            self._file.truncate(max((sum(place) for place in self._places.values()), default=0))
        self._journal = Journal(journal)

    def has(self, task: IndexTask) -> bool:
        """Whether a slide is done, and has not changed since."""
        done = self._done(task)
        return any(_serves(entry, task) for entry in (*([] if done is None else [done]), *self._earlier(task)))

    def add(self, task: IndexTask, result: IndexedSlide) -> None:
        """Keep a slide that is done; masks of an earlier index are kept beside the new one, if it is the same."""
        content = result.entry
        if not content:
            return
        for before in self._earlier(task):
            content = _with_masks_of(before, content)
        self._append(hash_of(location_of(task.slide)), content)

    def finish(self, settings: IndexSettings) -> None:
        """Take over what parts and the index before have beside, and put the new one in its place."""
        for before in self._before:
            for entry in before.entries():
                name = hash_of(entry.said["location"])
                content = before.content(entry.said["location"])
                if name not in self._places and content is not None:
                    self._append(name, content.tobytes(), note=False)
        with told(self._out):
            finish_index(self._file, self._places, settings.to_json())
            self._file.flush()
            os.fsync(self._file.fileno())
            (self.folder / _ENTRIES).replace(self._out)

    def _append(self, name: int, content: bytes, *, note: bool = True) -> None:
        assert self._journal is not None
        with told(self._out):
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(content)
            self._file.flush()
        self._places[name] = offset, len(content)
        if note:
            self._journal.add({"name": name, "offset": offset, "length": len(content)})

    def _done(self, task: IndexTask) -> Entry | None:
        """What this job has of a slide, if it is whole: bytes may be lost that were noted, where a machine stopped."""
        place = self._places.get(hash_of(location_of(task.slide)))
        if place is None:
            return None
        self._file.seek(place[0])
        try:
            entry = read_entry(np.frombuffer(self._file.read(place[1]), np.uint8))
        except ValueError:
            entry = None
        if entry is None or not entry.check():
            del self._places[hash_of(location_of(task.slide))]
            return None
        return entry

    def _earlier(self, task: IndexTask) -> list[Entry]:
        found = (file.entry(location_of(task.slide)) for file in (*self._before, *self._others))
        return [entry for entry in found if entry is not None]


def _there(place: Path) -> list[IndexFile]:
    """The index at a place, if there is one."""
    return [IndexFile(place)] if asked_for(place).is_file() else []


def _serves(entry: Entry, task: IndexTask) -> bool:
    """Whether an entry has what is asked for, and its slide has not changed."""
    if not (task.asked in entry.said["asked"] or _has(entry, task)):
        return False
    try:
        return changed_file(entry.said["states"], closely=False) is None
    except NotReadError:  # nothing says that it has
        return True
    except SlideError:
        return False


def _has(entry: Entry, task: IndexTask) -> bool:
    """Whether an entry that was made for other tiles has what is asked for all the same."""
    found, settings = entry.found(), task.settings
    if found is None:
        return entry.said["fault"] is not None  # it cannot be opened, whatever is asked
    if settings.thumbnail and entry.said["thumbnail"] is None:
        return False
    if not settings.tissue:
        return True
    try:
        size = settings.picture_size(Slide(found.path, found), task.mpp)
    except (ArgumentError, SlideError):  # it has no such tiles, which a look at it says
        return False
    return mask_key(settings.tissue_method, size) in entry.said["masks"]


def _with_masks_of(before: Entry, content: bytes) -> bytes:
    """A new entry with the masks that an earlier one has beside, if both are of the same files."""
    new = read_entry(np.frombuffer(content, np.uint8))
    if before.said["states"] != new.said["states"]:
        return content
    own = len(new.said["arrays"]) - len(new.said["masks"]) - (new.said["thumbnail"] is not None)
    said = {name: new.said[name] for name in new.said if name not in ("masks", "thumbnail", "arrays", "sum")}
    said["asked"] = [*new.said["asked"], *(of for of in before.said["asked"] if of not in new.said["asked"])]
    look = Look({**before.masks(), **new.masks()}, new.thumbnail())
    return packed_entry(said, [new.array(number) for number in range(own)], look)
