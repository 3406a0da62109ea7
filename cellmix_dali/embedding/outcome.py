"""What an embedding job tells its caller: how far it is, and what has come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .records import SlideRecord

__all__ = ["EmbedResult", "EmbedState", "SlideOutcome"]


@dataclass(frozen=True, kw_only=True)
class SlideOutcome:
    """What became of one slide.

    Attributes
    ----------
    slide : str
        Its path.
    status : {"done", "failed", "not read"}
        "not read": for a reason of the moment; a job that resumes tries it again.
    reason : str
        Why it failed, or a note.
    record : SlideRecord or None
        What was written.
    kept : bool
        Whether an earlier run had done it.
    """

    slide: str
    status: Literal["done", "failed", "not read"]
    reason: str = ""
    record: SlideRecord | None = None
    kept: bool = False


@dataclass(frozen=True, kw_only=True)
class EmbedState:
    """How far a job is.

    Attributes
    ----------
    slides, slides_done, slides_planned : int
        All, those at their end, and those whose tiles are known.
    tiles, tiles_done : int
        Tiles of the slides whose tiles are known, and those that the model of this run has seen.
    slide : str
        The slide under way.
    slide_tiles, slide_tiles_done : int
        Its tiles.
    seconds, waited : float
        Since this run's model began, and those in which it waited for tiles.
    last : SlideOutcome or None
        The slide that has just come to an end, if one has.
    """

    slides: int
    slides_done: int
    slides_planned: int
    tiles: int
    tiles_done: int
    slide: str = ""
    slide_tiles: int = 0
    slide_tiles_done: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    last: SlideOutcome | None = None

    @property
    def tiles_per_second(self) -> float:
        """Of this run."""
        return self.tiles_done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate, where slides that were not looked at have as many tiles as the others; None at the start."""
        if not self.tiles_done or not self.slides_planned:
            return None
        return max(0.0, self.tiles * self.slides / self.slides_planned - self.tiles_done) / self.tiles_per_second

    @property
    def slide_seconds_left(self) -> float | None:
        """Of the slide under way; None at the start."""
        if not self.tiles_done:
            return None
        return max(0, self.slide_tiles - self.slide_tiles_done) / self.tiles_per_second


@dataclass(frozen=True)
class EmbedResult:
    """A finished job.

    Attributes
    ----------
    folder : Path
        Where the features are.
    report : Path
        The folder of the report.
    slides : tuple of SlideOutcome
        Of this part of the job, in the order that they were given.
    seconds, waited, computed : float
        Of this run: all, the model's waiting for tiles, and its work.
    tiles_now : int
        Tiles that the model has seen in this run.
    notes : tuple of str
        On the model: where its configuration is from, and what differs from it.
    """

    folder: Path
    report: Path
    slides: tuple[SlideOutcome, ...]
    seconds: float = 0.0
    waited: float = 0.0
    computed: float = 0.0
    tiles_now: int = 0
    notes: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        """Tiles with features."""
        return sum(slide.record.tiles for slide in self.slides if slide.record is not None)

    @property
    def bad_tiles(self) -> int:
        """Tiles that were left out."""
        return sum(len(slide.record.bad) for slide in self.slides if slide.record is not None)

    @property
    def failed(self) -> tuple[SlideOutcome, ...]:
        """Slides that failed, or were not read."""
        return tuple(slide for slide in self.slides if slide.status != "done")

    @property
    def busy(self) -> float | None:
        """Share of the time, from the first batch wanted to the last one done, in which the model worked."""
        whole = self.waited + self.computed
        return self.computed / whole if whole else None
