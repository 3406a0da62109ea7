"""Tiles as the samples of a training: of slides and of shards alike, as their table says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ..augment import Augmentation, Compose
from ..collection import CollectionIndex
from ..errors import SlideError
from ..pipelines import Loader, evaluate_loader, train_loader
from ..plugins import Augment, PlanSource, TileSource
from ..reading.faults import place_of
from ..reading.slides import SLIDE_CACHE, TileReader
from ..slides.stream_kinds import KINDS, PIXELS, stream_kind
from ..tables.tile_table import TileTable
from .data import Making
from .settings import TrainingSettings

__all__ = ["TileSamples"]


@dataclass(frozen=True)
class TileSamples:
    """Tiles of slides or of shards.

    Attributes
    ----------
    size : int
        Side of the images in pixels; windows of another size are resized to it.
    edge : str
        "skip" or "pad", as the grid was made.
    slides : mapping of str to str
        Each slide's path and how it is read.
    verify : str
        What is verified of a tile, see `cellmix_dali.pipelines.train_loader`.
    slide_cache : int or str
        Bytes that the block tables of slides may take, of each loader.
    index : CollectionIndex or None
        What is known of the slides.
    """

    unit: ClassVar[str] = "tiles"

    size: int
    edge: str = "skip"
    slides: Mapping[str, str] = field(default_factory=dict)
    verify: str = "headers"
    slide_cache: int | str = SLIDE_CACHE
    index: CollectionIndex | None = None

    def labels(self, samples: TileTable) -> NDArray[Any]:
        """Return the class index of each tile."""
        assert samples.label is not None
        return samples.label

    def train_loader(self, samples: TileTable, making: Making) -> Loader[TileSource]:
        """Make the loader of the training; bad tiles are replaced by others of their class."""
        settings = making.settings
        return train_loader(
            samples,
            curriculum=making.curriculum,
            method=settings.method,
            p=settings.p,
            seed=settings.seed,
            augment=settings.augmentations()[0],
            **self._given(making),
        )

    def evaluate_loader(self, samples: TileTable, making: Making, change: Augment | None = None) -> Loader[TileSource]:
        """Make a loader that gives every tile once, changed where asked for; bad ones are replaced."""
        normalisation = making.settings.augmentations()[1]
        if normalisation is not None and change is not None:
            normalisation = Compose(cast("list[Augmentation]", [normalisation, change]))  # see `check_settings`
        augment = change if normalisation is None else normalisation
        return evaluate_loader(samples, on_error="replace", augment=augment, **self._given(making))

    def batch_source(self, samples: TileTable, rows: NDArray[Any], plans: PlanSource, classes: int) -> TileSource:
        """Make a source of some tiles; bad ones are replaced."""
        return TileSource(
            samples.select(rows),
            batch_size=len(rows),
            tile_size=self.size,
            edge=self.edge,
            plans=plans,
            num_classes=classes,
            shuffle=False,
            on_error="replace",
            slide_cache=self.slide_cache,
            index=self.index,
        )

    def shared(self, settings: TrainingSettings) -> TileSamples:  # noqa: ARG002
        """Return the same: every run opens its slides."""
        return self

    def told(self, loaders: Sequence[Loader[TileSource]], earlier: Mapping[str, Any]) -> dict[str, Any]:
        """Return how many tiles were read which way, and the bad ones."""
        read, bad = Counter[str](earlier.get("read", {})), list(earlier.get("bad", ()))
        for loader in loaders:
            read += loader.source.read
            known = {place_of(fault) for fault in bad}
            bad += [found for fault in loader.faults if place_of(found := asdict(fault)) not in known]
        return {"read": {"direct": 0, "openslide": 0, **read}, "bad": bad}

    def report(self, loaders: Sequence[Loader[TileSource]], told: Mapping[str, Any]) -> dict[str, Any]:
        """Return the slides and how they were read, the ways that tiles were read and decoded, and the bad tiles."""
        kinds = set().union(*(_kinds_read(loader.source, told["read"]) for loader in loaders))
        routes = {kind: route._asdict() for kind, route in loaders[0].routes.items() if kind in kinds}
        return {**self.about(), "slides": dict(self.slides), **told, "decoder_routes": routes}

    def about(self) -> dict[str, Any]:
        """Return how windows become images."""
        return {"edge": self.edge, "verify": self.verify}

    def _given(self, making: Making) -> dict[str, Any]:
        """What both kinds of loaders are given."""
        settings = making.settings
        return {
            "num_classes": making.classes,
            "batch_size": making.batch_size,
            "device": settings.device,
            "engine": settings.engine,
            "mean": making.normalisation.mean,
            "std": making.normalisation.std,
            "num_threads": settings.threads,
            "tile_size": self.size,
            "edge": self.edge,
            "fault_file": making.fault_file,
            "verify": self.verify,
            "slide_cache": self.slide_cache,
            "index": self.index,
        }


def _kinds_read(source: TileSource, read: Mapping[str, int]) -> set[str]:
    """Kinds of streams among a source's tiles, by the ways they were read; of shards, all that there may be."""
    kinds = {PIXELS} if read["openslide"] else set()
    if read.get("shard"):
        return kinds | set(KINDS)
    reader, table = source.reader, source.table
    if read["direct"] and isinstance(reader, TileReader):
        for level in np.flatnonzero(np.bincount(table.level)).tolist():
            for number in np.flatnonzero(np.bincount(table.slide[table.level == level])).tolist():
                try:
                    of = reader.slide(number).levels[level]
                except (SlideError, IndexError):  # its tiles were replaced
                    continue
                if of.compression is not None:
                    kinds.add(stream_kind(of.compression, of.colour))
    return kinds
