"""What a tiling job did: `report.json` for programs, `report.html` for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..storage.aside import write_aside
from .report_page import write_report_pages

__all__ = ["JobReport", "SlideResult", "Timing", "write_report"]

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, kw_only=True)
class SlideResult:
    """What became of one slide.

    Attributes
    ----------
    slide : str
        The slide's path, as the tile table has it.
    status : {"done", "failed", "not read"}
        A slide without a tile is done, too. "not read": for a reason of the moment, such as a right or a timeout;
        nothing says that it is damaged, and the job tries it again when it resumes.
    reason : str
        Why it failed, or was not read: the error's message. May say something of a slide that is done, such as that it
        has no tissue.
    tiles : int
        Tiles in the shards (with coordinates alone: in the table).
    bad_tiles : int
        Tiles left out since they could not be read.
    unread_tiles : int
        Those of them that could not be read for a reason of the moment: the job tries them again when it resumes.
    bad_tile_reasons : tuple of str
        What was wrong with them, where; a few are enough.
    tiles_copied, tiles_encoded : int
        Tiles whose bytes are those of the slide file, and tiles encoded anew.
    bytes : int
        Bytes of the tiles in the shards.
    mpp : float, optional
        Microns per pixel of the finished tiles.
    level : int, optional
        The level that was read.
    window : int, optional
        Side of a tile's window in pixels of that level.
    tile_size : int, optional
        Side of a finished tile in pixels.
    route : {"direct", "openslide"}, optional
        How the slide was read.
    shards : tuple of str
        Names of its shards.
    overview : str, optional
        Path of its overview picture, relative to the report's folder, with slashes.
    tissue_mm2 : float, optional
        Area of tissue, where the slide's mpp is known.
    seconds : float
        Time it took. It is kept apart from the other figures in report.json.
    """

    slide: str
    status: Literal["done", "failed", "not read"]
    reason: str = ""
    tiles: int = 0
    bad_tiles: int = 0
    unread_tiles: int = 0
    bad_tile_reasons: tuple[str, ...] = ()
    tiles_copied: int = 0
    tiles_encoded: int = 0
    bytes: int = 0
    mpp: float | None = None
    level: int | None = None
    window: int | None = None
    tile_size: int | None = None
    route: Literal["direct", "openslide"] | None = None
    shards: tuple[str, ...] = ()
    overview: str | None = None
    tissue_mm2: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What differs from run to run: written under the key ``timing`` of report.json and nowhere else.

    Attributes
    ----------
    started : str
        When the job began, ISO 8601.
    seconds : float
        How long this run took.
    workers : int
        How many worked.
    resumed_slides : int
        How many slides an earlier run had done: their time is not in `seconds`.
    tiles : int, optional
        How many tiles this run made; by default all there are.
    """

    started: str
    seconds: float
    workers: int = 1
    resumed_slides: int = 0
    tiles: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """A finished job. The totals are worked out from the slides.

    Attributes
    ----------
    settings : mapping
        What was asked for, as JSON values; shown in this order.
    slides : sequence of SlideResult
        In the order that they were given.
    timing : Timing
        What differs from run to run.
    versions : mapping of str to str
        Names and versions of the software.
    """

    settings: Mapping[str, Json]
    slides: Sequence[SlideResult]
    timing: Timing
    versions: Mapping[str, str] = field(default_factory=dict)

    def totals(self) -> dict[str, Any]:
        """Add the slides up.

        Returns
        -------
        dict of str to numbers
            ``slides``, ``done``, ``failed``, ``not_read``, ``without_tiles`` (done, but nothing to show for it),
            ``with_bad_tiles``; ``tiles``, ``bad_tiles``, ``unread_tiles``, ``tiles_copied``, ``tiles_encoded``,
            ``bytes``, ``shards``; ``tissue_mm2``, of the slides where it is known, None where it is for none.
        """
        done = [slide for slide in self.slides if slide.status == "done"]
        areas = [slide.tissue_mm2 for slide in done if slide.tissue_mm2 is not None]
        sums = {
            name: sum(getattr(slide, name) for slide in done)
            for name in ("tiles", "bad_tiles", "unread_tiles", "tiles_copied", "tiles_encoded", "bytes")
        }
        return {
            "slides": len(self.slides),
            "done": len(done),
            "failed": sum(slide.status == "failed" for slide in self.slides),
            "not_read": sum(slide.status == "not read" for slide in self.slides),
            "without_tiles": sum(slide.tiles == 0 for slide in done),
            "with_bad_tiles": sum(slide.bad_tiles > 0 for slide in done),
            **sums,
            "shards": len({shard for slide in done for shard in slide.shards}),
            "tissue_mm2": round(sum(areas), 6) if areas else None,
        }

    def tiles_per_second(self) -> float | None:
        """Return the tiles that this run made in a second; None where it took no time."""
        tiles = self.totals()["tiles"] if self.timing.tiles is None else self.timing.tiles
        return tiles / self.timing.seconds if self.timing.seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values.

        Returns
        -------
        dict
            ``totals``, ``settings``, ``slides`` (the fields of `SlideResult` but its seconds) and ``versions`` are the
            same for every run with the same slides and settings. What differs from run to run is in ``timing``: the
            fields of `Timing`, ``tiles_per_second``, and ``slides``, a mapping of a slide's path to its seconds.
        """
        slides = []
        for slide in self.slides:
            values = dataclasses.asdict(slide)
            del values["seconds"]
            slides.append(values)
        rate = self.tiles_per_second()
        timing = {
            **dataclasses.asdict(self.timing),
            "seconds": round(self.timing.seconds, 3),
            "tiles_per_second": None if rate is None else round(rate, 1),
            "slides": {slide.slide: round(slide.seconds, 3) for slide in self.slides},
        }
        return {
            "totals": self.totals(),
            "settings": dict(self.settings),
            "slides": slides,
            "versions": dict(self.versions),
            "timing": timing,
        }


def write_report(folder: Path, report: JobReport) -> None:
    """Write `report.json`, and `report.html` with its further pages; each file is there in full or not at all.

    Parameters
    ----------
    folder : Path
        The job's folder; overview pictures are found from here.
    report : JobReport
        What the job did.

    Raises
    ------
    WriteError
        If they cannot be written.
    """
    content = report.to_json()
    with write_aside(folder / "report.json") as file:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        file.write(text.encode(errors="backslashreplace"))  # a file's name need not be text
    write_report_pages(folder, content)
