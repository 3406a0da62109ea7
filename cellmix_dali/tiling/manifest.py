"""The manifest of a tiling job: what it was asked for, and what is done, so that it can go on after any end.

``manifest.json`` says what the job was asked for, and ``slides.jsonl`` of which slides, a line for each. While it runs,
each finished piece of work adds a line to ``journal.jsonl``. At the end the journal's content goes into
``slides.jsonl``, in the order of the slides, and the journal is removed. All are written such that a crash leaves the
old state or the new one; a line that a crash cut short is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any, ClassVar

from .._urls import place_name
from ..errors import ArgumentError, NotReadError, some_of
from ..jobs.asked import differences, fingerprint
from ..jobs.folder import JobFolder
from ..jobs.job_shard import JOURNALS, JobShard, shard_journals
from ..jobs.journal import Journal, journal_line, journal_lines
from ..storage.aside import write_aside
from ..tables.split_columns import SPLIT_COLUMNS
from .records import PartRecord, PlanRecord, inputs_of
from .settings import Json, TilingSettings
from .slides import Collection

__all__ = ["JOURNAL", "MANIFEST", "SLIDES", "Done", "Manifest"]

MANIFEST = "manifest.json"
SLIDES = "slides.jsonl"
JOURNAL = "journal.jsonl"
_KINDS: dict[str, type[PlanRecord | PartRecord]] = {"plan": PlanRecord, "part": PartRecord}
_SHOWN = 5  # differences of slide lists that a message names


@dataclass
class Done:
    """What is done: the record of each slide that was looked at, and of each part, by slide and part."""

    plans: dict[int, PlanRecord] = field(default_factory=dict)
    parts: dict[int, dict[int, PartRecord]] = field(default_factory=dict)

    def add(self, record: PlanRecord | PartRecord) -> None:
        """Take a record; a new plan of a slide makes its parts' records void unless it is the same plan."""
        if isinstance(record, PartRecord):
            self.parts.setdefault(record.slide, {})[record.part] = record
            return
        if self.plans.get(record.slide) != record:
            self.forget_parts(record.slide)
        self.plans[record.slide] = record

    def forget_parts(self, slide: int) -> None:
        """Drop the records of a slide's parts."""
        self.parts.pop(slide, None)

    def part(self, slide: int, part: int) -> PartRecord | None:
        """Return the record of a slide's part; None where it is not done."""
        return self.parts.get(slide, {}).get(part)

    def parts_of(self, slide: int) -> list[PartRecord]:
        """Records of a slide's parts, in order."""
        return [record for _, record in sorted(self.parts.get(slide, {}).items())]


class Manifest(JobFolder):
    """The folder of a tiling job, and what is done of it.

    Parameters
    ----------
    folder : Path
        The job's folder; made if need be.
    settings : TilingSettings
        What is asked for now.
    collection : Collection
        The slides.
    versions : mapping of str to str
        Software whose version decides over the bytes.
    resume : bool
        Whether to go on with what is there. If nothing is there, a new job begins either way.
    shard : JobShard, optional
        Which part of the job this is. It goes on with what is there, and has a journal of its own; the whole job, when
        it goes on, takes what stands in the journals of all parts.

    Raises
    ------
    ArgumentError
        If the folder cannot be used: it has files of something else, of a job with other settings, slides or versions
        (said which), another job runs in it, or there is a job and `resume` is False.

    Attributes
    ----------
    done : Done
        What an earlier run has finished, as far as the slides have not changed since.
    changed : tuple of int
        Slides whose files have changed since.
    written : int or None
        When the manifest that an earlier run has finished was written, nanoseconds since 1970: its files are older.
    """

    job, name, format = "tiling job", MANIFEST, 4
    # 3 has its slides in the manifest itself; 2 has no times of files in its journal, either: they are read then.
    also_read: ClassVar = (2, 3)
    says: ClassVar = {"settings": dict, "versions": dict, "slides": (int, list), "hash": str}

    def __init__(
        self,
        folder: Path,
        settings: TilingSettings,
        collection: Collection,
        versions: Mapping[str, str],
        *,
        resume: bool,
        shard: JobShard | None = None,
    ) -> None:
        self.done, self._shard = Done(), shard
        self.changed: tuple[int, ...] = ()
        self.written: int | None = None
        self._asked = _asked(settings, collection, versions)
        self._collection, self._resume = collection, resume or shard is not None
        super().__init__(folder, None if shard is None else shard.folder(folder))

    def add(self, record: PlanRecord | PartRecord) -> None:
        """Note a finished piece of work, see `cellmix_dali.jobs.journal`.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        assert self._journal is not None
        kind = next(name for name, of in _KINDS.items() if isinstance(record, of))
        self._journal.add({"kind": kind, **record.to_json()})
        self.done.add(record)

    def finish(self, failed: Mapping[int, str]) -> None:
        """Write the whole manifest, and remove the journal.

        Parameters
        ----------
        failed : mapping of int to str
            Slides that failed, and why. Nothing of them counts as done.
        """

        def entries() -> Iterator[dict[str, Any]]:
            for number, slide in enumerate(self._asked["slides"]):
                plan = self.done.plans.get(number)
                if number in failed or plan is None:
                    yield slide | {"status": "failed", "reason": failed.get(number, "")}
                else:
                    parts = [_without_times(part.to_json()) for part in self.done.parts_of(number)]
                    yield slide | {"status": "done", "plan": _without_times(plan.to_json()), "parts": parts}

        self._write(entries(), finished=True)
        assert self._journal is not None
        self._journal.close()
        self._journal.path.unlink()
        rmtree(self.folder / JOURNALS, ignore_errors=True)

    def begin(self) -> None:
        """Find what is there, or begin anew."""
        own = self.folder if self._shard is None else self._shard.folder(self.folder)
        # In this order: another part of the job may begin just now, and writes the manifest before anything else.
        there = sorted(each.name for each in self.folder.iterdir() if each.name != JOURNALS)
        before = self.read()
        if before is None and [name for name in there if not name.startswith((f"{MANIFEST}.", SLIDES))]:
            raise ArgumentError(
                f"{self.folder} is not empty (it has {', '.join(there[:3])}{', ...' if len(there) > 3 else ''}) and "
                "holds no tiling job: give a new folder."
            )
        journals = [self.folder / JOURNAL, *shard_journals(self.folder, JOURNAL)]
        if before is not None and self._resume:
            before["slides"] = self._entries(before["slides"])
            self._compare(before)
            self._restore(before, journals if self._shard is None else [own / JOURNAL])
        # A job of which nothing was done, since it could not start its workers, is as good as none.
        elif before is not None and (
            before.get("finished") or any(next(journal_lines(each), None) is not None for each in journals)
        ):
            raise ArgumentError(
                f"{self.folder} holds a tiling job already: go on with it by --resume (resume=True), or give "
                "another folder."
            )
        else:
            self._write(self._asked["slides"], finished=False)
        self._journal = Journal(own / JOURNAL)

    def _write(self, entries: Iterable[dict[str, Any]], *, finished: bool) -> None:
        """Write the slides, and then the manifest that counts them."""
        with write_aside(self.folder / SLIDES) as file:
            file.writelines(map(journal_line, entries))
        self.write({**self._asked, "finished": finished, "slides": len(self._asked["slides"])})

    def _entries(self, slides: int | list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is written of the slides."""
        if isinstance(slides, list):  # of a former version
            return slides
        found = list(journal_lines(self.folder / SLIDES))
        if len(found) != slides:
            raise ArgumentError(
                f"{self.folder / SLIDES} holds {len(found):,} of {slides:,} slides; others are missing, or their "
                "checksum is another one: the file was changed, or the disk has damaged it. Begin anew, in another "
                "folder."
            )
        return found

    def _compare(self, before: dict[str, Any]) -> None:
        """Refuse to go on with a job that was asked for something else."""
        now = self._asked
        differ = differences(before["settings"], now["settings"])
        differ += [f"version of {each}" for each in differences(before["versions"], now["versions"])]
        differ += _slide_differences(before, now)
        if differ or before["hash"] != now["hash"]:
            raise ArgumentError(
                f"The job in {self.folder} was begun with other settings: {'; '.join(differ) or 'its hash differs'}. "
                "Go on with the same ones, or begin anew in another folder."
            )

    def _restore(self, before: dict[str, Any], journals: Iterable[Path]) -> None:
        """Take over what is done of slides that have not changed."""
        if before.get("finished"):
            self.written = self.path.stat().st_mtime_ns
        for entry in before["slides"]:
            if entry.get("status") == "done":
                self.done.add(PlanRecord.from_json(entry["plan"]))
                for part in entry["parts"]:
                    self.done.add(PartRecord.from_json(part))
        for values in chain.from_iterable(map(journal_lines, journals)):
            if (kind := values.pop("kind", None)) in _KINDS:
                self.done.add(_KINDS[kind].from_json(values))
        changed = []
        for number, plan in list(self.done.plans.items()):
            try:
                same = plan.inputs == inputs_of(self._collection.slides[number])
            except NotReadError:  # nothing says that it has changed
                same = True
            if not same:
                changed.append(number)
                del self.done.plans[number]
                self.done.forget_parts(number)
        self.changed = tuple(changed)
        for slide, parts in self.done.parts.items():
            of = self.done.plans.get(slide)
            for number, part in list(parts.items()):
                if of is None or number >= of.parts or part.unread:
                    del parts[number]


def _asked(settings: TilingSettings, collection: Collection, versions: Mapping[str, str]) -> dict[str, Any]:
    """What a job is asked for, as JSON values, and its hash."""
    slides: list[Json] = [
        {"slide": place_name(slide.path), "name": slide.name, "label": slide.label, "mpp": slide.mpp, **slide.columns}
        for slide in collection.slides
    ]
    asked: dict[str, Json] = {
        "settings": settings.to_json(),
        "versions": dict(versions),
        "classes": None if collection.classes is None else list(collection.classes),
        "slides": slides,
    }
    return {"hash": fingerprint(asked), **asked}


def _slide_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say how two lists of slides differ."""
    found = differences({"classes": before["classes"]}, {"classes": now["classes"]})
    old = {entry["slide"]: entry for entry in before["slides"]}
    new = {entry["slide"]: entry for entry in now["slides"]}
    for what, some in (("new", [s for s in new if s not in old]), ("missing", [s for s in old if s not in new])):
        if some:
            found.append(f"{what} in the list of slides: {some_of(some, shown=_SHOWN)}")
    if not found and list(old) != list(new):
        found.append("the slides come in another order")
    for slide in (slide for slide in new if slide in old):
        names = "label", "mpp", "name", *SPLIT_COLUMNS
        was, is_now = ({name: of[slide].get(name) for name in names} for of in (old, new))
        if differ := differences(was, is_now):
            found.append(f"{slide}: {', '.join(differ)}")
            if len(found) > _SHOWN:
                break
    return found


def _without_times(values: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs from run to run."""
    files = [{name: value for name, value in file.items() if name != "modified"} for file in values["files"]]
    return {name: value for name, value in values.items() if name != "seconds"} | {"files": files}
