"""What an embedding job was asked for, and what is done of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..errors import NOT_READ, ArgumentError, NotReadError
from ..jobs.asked import differences
from ..jobs.folder import JobFolder
from ..jobs.journal import Journal, journal_lines
from ..tiling.records import BadTile, FileStamp, Input, inputs_of, intact
from ..tiling.slides import JobSlide

__all__ = ["EmbedFolder", "SlideRecord"]

_JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class SlideRecord:
    """A slide whose features were written.

    Attributes
    ----------
    slide : str
        Its path.
    name : str
        Of its files.
    inputs : tuple of Input
        What it was made from.
    files : tuple of FileStamp
        Its files, in the job's folder.
    tiles : int
        With features.
    width : int
        Numbers of a feature.
    bad : tuple of BadTile
        Tiles that were left out.
    mpp : float or None
        Microns per pixel of the tiles.
    level, window : int
        Level that was read, and side of a tile's window in its pixels.
    note : str
        For a person, such as that there is no tissue.
    picture : str or None
        Its map, within the folder of the report.
    seconds : float
        Time it took.
    """

    slide: str
    name: str
    inputs: tuple[Input, ...]
    files: tuple[FileStamp, ...]
    tiles: int
    width: int
    bad: tuple[BadTile, ...] = ()
    mpp: float | None = None
    level: int = 0
    window: int = 0
    note: str = ""
    picture: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def unread(self) -> int:
        """Tiles that were left out for a reason of the moment."""
        return sum(tile.kind == NOT_READ for tile in self.bad)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SlideRecord:
        """Read what `to_json` gave."""
        lists = {"inputs": Input, "files": FileStamp, "bad": BadTile}
        return cls(**{**values, **{name: tuple(of(**each) for each in values[name]) for name, of in lists.items()}})


class EmbedFolder(JobFolder):
    """The folder of an embedding job's records, and what is done of it.

    Parameters
    ----------
    folder : Path
        Made if need be; features lie in the folder above.
    asked : mapping
        What is asked for, as JSON values.
    resume : bool
        Whether to go on with what is there.

    Raises
    ------
    ArgumentError
        If there is a job and `resume` is False, or it was begun with other settings.
    """

    job, name, format = "embedding job", "embedding.json", 1
    says: ClassVar = {"asked": dict}

    def __init__(self, folder: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
        self.done: dict[str, SlideRecord] = {}
        self._asked, self._resume = dict(asked), resume
        super().__init__(folder)

    def begin(self) -> None:
        """Find what is there, or begin anew."""
        before, lines = self.read(), list(journal_lines(self.folder / _JOURNAL))
        if before is not None and self._resume:
            differ = differences(before["asked"], self._asked)
            if differ:
                raise ArgumentError(
                    f"The job in {self.folder} was begun with other settings: {'; '.join(differ)}. Go on with the same "
                    "ones, or begin anew in another folder."
                )
        elif lines:
            raise ArgumentError(
                f"{self.folder.parent} holds an embedding job already: go on with it by --resume (resume=True), or "
                "give another folder."
            )
        for values in lines:
            record = SlideRecord.from_json(values)
            self.done[record.slide] = record
        self.write({"asked": self._asked})
        self._journal = Journal(self.folder / _JOURNAL)

    def kept(self, slide: JobSlide) -> SlideRecord | None:
        """Return the record of a slide that need not be done again: all was read, nothing has changed since."""
        record = self.done.get(str(slide.path))
        if record is None or record.unread or record.name != slide.name:
            return None
        try:
            same = record.inputs == inputs_of(slide)
        except NotReadError:  # nothing says that it has changed
            same = True
        return record if same and intact(self.folder.parent, record.files) else None

    def add(self, record: SlideRecord) -> None:
        """Note a slide, safely on the disk.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        assert self._journal is not None
        self._journal.add(record.to_json())
        self.done[record.slide] = record
