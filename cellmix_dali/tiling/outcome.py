"""What a tiling job tells its caller: how far it is, and what has come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..slides.identity import Repeats
from .report import SlideResult

__all__ = ["JobState", "TilingResult"]


@dataclass(frozen=True, kw_only=True)
class JobState:
    """How far a job is.

    Attributes
    ----------
    slides, slides_done : int
        All, and those that are done, failed, or were not read.
    slides_planned : int
        Those whose number of tiles is known, or that failed.
    tiles, tiles_done : int
        Of the slides that were looked at: tiles to make, and tiles made, bad ones among them.
    tiles_now : int
        Tiles that this run has made; the rest of `tiles_done` was there.
    seconds : float
        Since this run began.
    last : SlideResult or None
        The slide that has just come to an end, if one has.
    """

    slides: int
    slides_done: int
    slides_planned: int
    tiles: int
    tiles_done: int
    tiles_now: int
    seconds: float
    last: SlideResult | None = None

    @property
    def tiles_per_second(self) -> float:
        """Of this run."""
        return self.tiles_now / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate, where slides that were not looked at have as many tiles as the others; None at the start."""
        if not self.tiles_now or not self.slides_planned:
            return None
        left = self.tiles * self.slides / self.slides_planned - self.tiles_done
        return max(0.0, left / self.tiles_per_second)


@dataclass(frozen=True)
class TilingResult:
    """A finished job.

    Attributes
    ----------
    folder : Path
        Where everything is.
    slides : tuple of SlideResult
        In the order that they were given.
    changed : tuple of Path
        Slides that were done again since their files had changed after an earlier run.
    empty_classes : tuple of str
        Classes of which there is no tile: perhaps their names are spelt otherwise in the annotations.
    repeats : tuple of Repeats
        Slides that were reached by several files, such as the instances of a DICOM series; each was tiled once.
    folders : tuple of Path
        Folders within the named ones, which were not looked into.
    """

    folder: Path
    slides: tuple[SlideResult, ...]
    changed: tuple[Path, ...] = ()
    empty_classes: tuple[str, ...] = ()
    repeats: tuple[Repeats, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def tiles(self) -> int:
        """Tiles of all slides."""
        return sum(slide.tiles for slide in self.slides)

    @property
    def bad_tiles(self) -> int:
        """Tiles that were left out since they cannot be read."""
        return sum(slide.bad_tiles for slide in self.slides)

    @property
    def unread_tiles(self) -> int:
        """Those of them that could not be read for a reason of the moment; the job tries them again when it resumes."""
        return sum(slide.unread_tiles for slide in self.slides)

    @property
    def not_read(self) -> tuple[SlideResult, ...]:
        """Slides that could not be read for a reason of the moment; the job tries them again when it resumes."""
        return tuple(slide for slide in self.slides if slide.status == "not read")

    @property
    def failed(self) -> tuple[SlideResult, ...]:
        """Slides that failed."""
        return tuple(slide for slide in self.slides if slide.status == "failed")
