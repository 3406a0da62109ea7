"""The embedding job: slides in, files of features out, whatever happens in between."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..collection import CollectionIndex
from ..collection.index import index_place
from ..errors import CellMixDaliError, SlideError, kind_of
from ..jobs.attempt import is_of_the_moment
from ..jobs.job_shard import JobShard
from ..storage.aside import remove_parts, write_aside
from ..storage.patience import RETRY_SECONDS, Retry
from ..storage.results import results_in
from ..storage.sending import ResultFiles
from ..tables.indexed import index_slides
from ..tables.recipe import TileRecipe
from ..tables.tile_table import TileTable
from ..tiling.records import BadTile, file_stamps, inputs_of
from ..tiling.slides import JobSlide
from .asked import asked_for, check_scale, recipe_of, slides_of
from .features import Clock, FeaturesOfSlides, SlideFeatures
from .files import files_of, write_features
from .formats import FORMATS, FeatureFile, usable_format
from .maps import slide_picture
from .model import FeatureModel
from .outcome import EmbedResult, EmbedState, SlideOutcome
from .records import EmbedFolder, SlideRecord
from .report import write_reports
from .sources import About, Sources, find_sources
from .stream import SlideTiles

__all__ = ["embed_slides"]

_SETTINGS, _RECORDS = ("job*/embedding.json",), ("job*/journal.jsonl",)
_WRITING = 2  # slides whose files are being written meanwhile
_TELL = 0.2  # seconds between two words on how far the job is
_PICTURES = "pictures"


def embed_slides(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    model: FeatureModel,
    recipe: TileRecipe | None = None,
    *,
    file_format: str = "trident",
    coordinates: str | Path | None = None,
    resume: bool = False,
    mixed_resolutions: bool = False,
    index: str | Path | None = None,
    shard: JobShard | None = None,
    decoder: str = "cpu",
    num_threads: int | None = None,
    retry_seconds: float = RETRY_SECONDS,
    progress: Callable[[EmbedState], None] | None = None,
) -> EmbedResult:
    """Write the features of all tiles of slides; all but the first four are keyword arguments.

    Tissue is found ahead, tiles are decoded ahead, and batches go across slides, see `slide_features`. With a
    deterministic model, see `ModelSettings`, the files are the same, byte for byte, however often the job was
    interrupted.

    Parameters
    ----------
    sources : str, Path, or sequence of them
        Slides, folders, patterns, a list of slides, or a tile table, see `cellmix_dali.embedding.sources.find_sources`.
    out : str or Path
        Folder of the features, or its URL in a store; ``job`` in it keeps the job's records and reports.
    model : FeatureModel
        See `open_model`.
    recipe : TileRecipe, optional
        Which tiles. Where it asks for no resolution, the model's own counts, if it says one.
    file_format : str, default "trident"
        A name of `cellmix_dali.embedding.formats.FORMATS`: "trident", "clam", "parquet", "zarr".
    coordinates : str or Path, optional
        Folder of CLAM's or TRIDENT's coordinates, instead of a grid on tissue.
    resume : bool, default False
        Whether to go on with the job in `out`: slides that are done and whole are kept; those that failed, were not
        read, or have changed are done again.
    mixed_resolutions : bool, default False
        Whether tiles of different scale are meant where no resolution is asked for.
    index : str or Path, optional
        File of an index of the slides, see `cellmix_dali.collection`: they are opened by it, and tissue that it knows
        is not looked for. Unless this is a `shard`, it is made there first, or brought up to date.
    shard : JobShard, optional
        Do this part of the slides only, which are dealt by their tiles; by default all.
    decoder, num_threads
        See `slide_features`.
    retry_seconds : float, default 60
        How long a slide is tried again that cannot be opened for a reason of the moment.
    progress : callable, optional
        Called with an `EmbedState` a few times per second, and when a slide is done.

    Returns
    -------
    EmbedResult
        Slides that failed, or were not read, are in it; they end no job.

    Raises
    ------
    ArgumentError, SlideError
        If nothing is to be done, or `out` cannot be used.
    WriteError
        If results cannot be written, as on a full disk. The job can be resumed, as after any other end.
    """
    file_format = usable_format(file_format)
    large = tuple(place.format("*") for place in FORMATS[file_format].places)
    files = ResultFiles("embedding job", _SETTINGS, _RECORDS, large)
    Retry(seconds=retry_seconds)  # refuses what is no time
    recipe, notes = recipe_of(model, recipe or TileRecipe())
    found = find_sources(sources, recipe, coordinates)
    place = index_place(index)
    if place is not None:
        if shard is None:
            paths, mpps = [slide.path for slide in found.slides], [slide.mpp for slide in found.slides]
            known = index_slides(paths, mpps, found.recipe, place, retry_seconds=retry_seconds)
        else:
            known = CollectionIndex(place)
        found = replace(found, index=known)
    if found.kind == "slides" and recipe.of_any_scale and recipe.level is None and not mixed_resolutions:
        check_scale(found)
    model.width(recipe.tile_size)  # refuses what it does not take before there is a folder
    slides = slides_of(found, shard)
    part = "" if shard is None else shard.name
    name = f"job-{part}" if part else "job"
    asked = asked_for(found, model, recipe, file_format, shard)
    with results_in("The folder of an embedding job", out, files, resume=resume, part=part) as kept:
        folder = kept.folder
        with EmbedFolder(folder / name, asked, resume=resume) as records:
            job = _Job(folder, records, found, slides, model, file_format, retry_seconds, progress)
            job.check = kept.check
            for inner in (folder, *{path.parent for path in files_of(folder, file_format, "name")}):
                if shard is None and inner.is_dir():
                    remove_parts(inner)
            job.run(decoder=decoder, num_threads=num_threads)
            result = job.finish(notes, asked)
    return replace(result, folder=kept.place, report=kept.place / name)


class _Job:
    """What is to be done, and what has come of it."""

    def __init__(
        self,
        folder: Path,
        records: EmbedFolder,
        sources: Sources,
        slides: tuple[JobSlide, ...],
        model: FeatureModel,
        file_format: str,
        retry_seconds: float,
        progress: Callable[[EmbedState], None] | None,
    ) -> None:
        self.folder, self.records, self.sources, self.slides = folder, records, sources, slides
        self.model, self.file_format, self.progress = model, file_format, progress
        self.retry_seconds = retry_seconds
        self.check: Callable[[], None] = lambda: None  # raises where results cannot be kept
        self.outcomes: dict[int, SlideOutcome] = {}
        self.planned: dict[int, int] = {}
        self.ended_tiles = 0
        self.began = self.told = time.monotonic()
        self.clock = Clock(tick=self._tick)

    def run(self, *, decoder: str, num_threads: int | None) -> None:
        """Do all work."""
        todo = []
        for slide in self.slides:
            record = self.records.kept(slide)
            if record is None:
                todo.append(slide)
            else:
                self.outcomes[slide.number] = SlideOutcome(
                    slide=str(slide.path), status="done", reason=record.note, record=record, kept=True
                )
        if not todo:
            return
        self.began = time.monotonic()
        writing: deque[tuple[JobSlide, Future[SlideRecord]]] = deque()
        with (
            ThreadPoolExecutor(1, thread_name_prefix="cellmix-dali-features") as writer,
            closing(
                FeaturesOfSlides(
                    self._looked_at(todo),
                    self.model,
                    tile_size=self.sources.recipe.tile_size,
                    edge="pad" if self.sources.kind == "coordinates" else self.sources.recipe.edge,
                    decoder=decoder,
                    num_threads=num_threads,
                    clock=self.clock,
                )
            ) as slides,
        ):
            since = self.began
            for found in slides:
                about: About = found.tiles.about
                now = time.monotonic()
                seconds, since = now - since, now
                self.ended_tiles = self.clock.tiles
                if found.error is not None:
                    self._fail(about.slide, found.error)
                    continue
                if found.faults and not len(found.rows):
                    _, first = found.faults[0]
                    self._fail(about.slide, type(first)(f"None of its {len(found.faults)} tiles can be read: {first}"))
                    continue
                writing.append((about.slide, writer.submit(self._write, found, about, seconds)))
                while len(writing) > _WRITING or (writing and writing[0][1].done()):
                    self._note(*writing.popleft())
            while writing:
                self._note(*writing.popleft())

    def _looked_at(self, slides: Sequence[JobSlide]) -> Iterator[SlideTiles]:
        """Find the tiles of slides, ahead of the model: this runs in a thread."""
        for slide in slides:
            tiles = self.sources.look(slide, self.records.folder, self.retry_seconds)
            self.planned[slide.number] = 0 if tiles.table is None else len(tiles.table)
            yield tiles

    def _write(self, found: SlideFeatures, about: About, seconds: float) -> SlideRecord:
        """Write a slide's files."""
        slide, table = about.slide, found.tiles.table
        assert table is not None
        if inputs_of(slide) != about.inputs:
            raise SlideError(f"{slide.path} changed while it was read. Go on with --resume when it is complete.")
        overlap = self.sources.recipe.overlap if self.sources.kind == "slides" else 0
        attributes: dict[str, Any] = {
            "patch_size": self.sources.recipe.tile_size,
            "patch_size_level0": round(about.window * found.downsample),
            "level0_magnification": _magnification(about.mpp),
            "target_magnification": _magnification(about.tile_mpp),
            "overlap": overlap,
            "name": slide.name,
            "savetodir": ".",
            "level0_width": found.size[0],
            "level0_height": found.size[1],
        }
        paths = write_features(
            self.folder, self.file_format, FeatureFile(slide.name, found.features, found.coords, attributes)
        )
        picture = self.records.folder / _PICTURES / f"{slide.name}.jpg"
        picture.parent.mkdir(exist_ok=True)
        drawn = slide_picture(
            about.thumbnail,
            found.features,
            found.coords,
            side=attributes["patch_size_level0"],
            slide_size=found.size if all(found.size) else _extent(found.coords, about.window),
        )
        with write_aside(picture) as file:
            file.write(drawn)
        return SlideRecord(
            slide=str(slide.path),
            name=slide.name,
            picture=f"{_PICTURES}/{slide.name}.jpg",
            inputs=about.inputs,
            files=file_stamps(self.folder, paths),
            tiles=len(found.rows),
            width=found.features.shape[1],
            bad=tuple(_bad(table, row, why) for row, why in found.faults),
            mpp=about.tile_mpp,
            level=about.level,
            window=about.window,
            note=about.note,
            seconds=seconds,
        )

    def _note(self, slide: JobSlide, writing: Future[SlideRecord]) -> None:
        """A slide's files are there, or cannot be written, which ends the job."""
        try:
            record = writing.result()
        except SlideError as error:
            self._fail(slide, error)
            return
        self.records.add(record)
        self.check()
        self._end(slide, SlideOutcome(slide=str(slide.path), status="done", reason=record.note, record=record))

    def _fail(self, slide: JobSlide, error: Exception) -> None:
        """A slide cannot be done; files of an earlier run are not its features any more."""
        for path in files_of(self.folder, self.file_format, slide.name):
            path.unlink(missing_ok=True)
        known = isinstance(error, CellMixDaliError)
        reason = str(error) if known else f"{slide.path} cannot be read ({type(error).__name__}: {error})."
        status: Literal["not read", "failed"] = "not read" if is_of_the_moment(error) else "failed"
        self._end(slide, SlideOutcome(slide=str(slide.path), status=status, reason=reason))

    def _end(self, slide: JobSlide, outcome: SlideOutcome) -> None:
        self.outcomes[slide.number] = outcome
        self._tell(outcome)

    def _tick(self) -> None:
        """A batch is done."""
        if time.monotonic() - self.told > _TELL:
            self._tell()

    def _tell(self, last: SlideOutcome | None = None) -> None:
        if self.progress is None:
            return
        self.told = time.monotonic()
        under_way = [slide for slide in self.slides if slide.number not in self.outcomes]
        now = next((slide for slide in under_way if slide.number in self.planned), None)
        kept = sum(outcome.kept for outcome in self.outcomes.values())
        self.progress(
            EmbedState(
                slides=len(self.slides) - kept,
                slides_done=len(self.outcomes) - kept,
                slides_planned=len(self.planned),
                tiles=sum(list(self.planned.values())),
                tiles_done=self.clock.tiles,
                slide="" if now is None else str(now.path),
                slide_tiles=0 if now is None else self.planned[now.number],
                slide_tiles_done=self.clock.tiles - self.ended_tiles,
                seconds=self.told - self.began,
                waited=self.clock.waited,
                last=last,
            )
        )

    def finish(self, notes: tuple[str, ...], asked: dict[str, Any]) -> EmbedResult:
        """Write what is about all slides: bad tiles and the report."""
        outcomes = tuple(self.outcomes[slide.number] for slide in self.slides)
        result = EmbedResult(
            self.folder,
            self.records.folder,
            outcomes,
            seconds=time.monotonic() - self.began,
            waited=self.clock.waited,
            computed=self.clock.computed,
            tiles_now=self.clock.tiles,
            notes=notes,
        )
        write_reports(result, asked)
        return result


def _bad(table: TileTable, row: int, why: CellMixDaliError) -> BadTile:
    level, x, y, size = (int(column[row]) for column in (table.level, table.x, table.y, table.size))
    return BadTile(level, x, y, size, str(why), kind_of(why))


def _extent(coords: NDArray[np.int64], side: int) -> tuple[int, int]:
    """The part of a slide that tiles show."""
    width, height = (coords.max(axis=0) + side).tolist() if len(coords) else (1, 1)
    return width, height


def _magnification(mpp: float | None) -> int:
    """As TRIDENT rounds it: 40 for 0.25 microns per pixel; 0 where it is not known."""
    return 0 if mpp is None else max(1, round(10 / mpp))
