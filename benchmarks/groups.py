"""What is measured against what; one function a group, each run alternately."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ours
import peers
from augmenting import augmenting
from drop_in import drop_in
from formats import formats
from gil import gil
from host import host_times, plan_times
from job import job
from kernel import kernel
from material import Material
from measure import Contestant, Series, alternate, rounds_of
from memory import memory_over_epochs
from methods import methods
from pixels import largest_difference, largest_difference_of_cucim
from tiling import tiling
from verifying import verifying

from cellmix_dali import TileTable

__all__ = ["GROUPS", "Report"]

# Tiles per pass: about a second or two for each on two cores.
_BLOCKS, _SVS_BLOCKS, _WINDOWS, _SLOW = 4096, 2048, 1024, 1280
_MEMORY_TILES, _EPOCHS = 256, 50
_SLIDES = 200  # nearly every tile of a batch is then of another one
_NATIVE, _NUMBA = (f"read + CellMix ({engine}) + normalise -> torch" for engine in ("native", "numba"))
_NORMALISED, _NORMALISED_DALI = (f"read + normalise ({engine}) -> torch" for engine in ("numba", "native"))


@dataclass
class Report:
    """All figures.

    Attributes
    ----------
    series : dict
        Group to contestant to `Series`.
    other : dict
        Figures that are no tiles per second.
    rounds : dict
        Name of a ratio to each round's figure; empty where it could not be measured.
    notes : dict
        Name of a ratio, or of a peer, to the reason.
    """

    series: dict[str, dict[str, Series]] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float | None]:
        """Medians of the rounds; None where there are none."""
        return {key: round(statistics.median(each), 4) if each else None for key, each in self.rounds.items()}


def blocks(material: Material, rounds: int, report: Report) -> None:
    """Tiles that are a block each, YCbCr 4:2:0: reading, normalising and mixing, beside others."""
    table = material.blocks(material.tiff, _BLOCKS)
    contestants, absent = _peers(table)
    contestants += [
        ours.bare_dali(table),
        ours.read(table),
        ours.normalised(table, "native"),
        ours.normalised(table, "numba"),
        ours.mixed(table, "native"),
        ours.mixed(table, "numba"),
    ]
    series = report.series["blocks of 256 px, YCbCr 4:2:0 TIFF"] = alternate(contestants, rounds)
    _pixels(table, "blocks_tiff", report)
    _add(report, "read_over_cucim", series, "read", "cuCIM", absent.get("cucim"))
    _add(report, "read_over_fastslide", series, "read", "fastslide", absent.get("fastslide"))
    _add(report, "read_over_bare_dali", series, "read", "bare DALI decoder")
    _add(report, "pipeline_over_decode", series, _NUMBA, "bare DALI decoder")
    _add(report, "mix_over_normalise", series, _NUMBA, _NORMALISED)
    _add(report, "mix_over_dali_normalise", series, _NUMBA, _NORMALISED_DALI)
    _add(report, "mix_native_over_dali_normalise", series, _NATIVE, _NORMALISED_DALI)


def svs(material: Material, rounds: int, report: Report) -> None:
    """The same reading of an Aperio file, RGB 4:4:4."""
    table = material.blocks(material.svs, _SVS_BLOCKS)
    contestants, absent = _peers(table)
    contestants += [ours.bare_dali(table), ours.read(table), ours.mixed(table, "numba")]
    series = report.series["blocks of 256 px, RGB SVS"] = alternate(contestants, rounds)
    _pixels(table, "blocks_svs", report)
    _add(report, "read_over_cucim_svs", series, "read", "cuCIM", absent.get("cucim"))
    _add(report, "read_over_bare_dali_svs", series, "read", "bare DALI decoder")


def windows(material: Material, rounds: int, report: Report) -> None:
    """Windows of 224 px anywhere, most of them over two or four blocks, as uint8 tensors."""
    table = material.windows(material.tiff, _WINDOWS)
    contestants, absent = _peers(table)
    contestants += [peers.openslide_read(table), ours.read_to_torch(table)]
    series = report.series["random windows of 224 px, YCbCr 4:2:0 TIFF"] = alternate(contestants, rounds)
    _pixels(table, "windows_tiff", report)
    _add(report, "windows_over_openslide", series, "read -> torch", "OpenSlide + DataLoader")
    _add(report, "windows_over_cucim", series, "read -> torch", "cuCIM", absent.get("cucim"))
    _add(report, "windows_over_fastslide", series, "read -> torch", "fastslide", absent.get("fastslide"))


def whole(material: Material, rounds: int, report: Report) -> None:
    """The whole way to mixed, normalised float tensors."""
    theirs = peers.openslide_whole(material.blocks(material.tiff, _SLOW))
    contestants = [theirs, ours.mixed(material.blocks(material.tiff, _BLOCKS), "numba")]
    series = report.series["the whole way, blocks of 256 px, YCbCr 4:2:0 TIFF"] = alternate(contestants, rounds)
    _add(report, "whole_over_openslide", series, _NUMBA, theirs.name)


def host(material: Material, rounds: int, report: Report) -> None:
    """The Python side of a batch, of one slide and of a collection."""
    blocks, windows = material.blocks(material.tiff, _SVS_BLOCKS), material.windows(material.tiff, _WINDOWS)
    for name, table in (
        ("blocks", blocks),
        (f"blocks of {_SLIDES} slides", material.of_many(blocks, _SLIDES)),
        ("windows", windows),
        (f"windows of {_SLIDES} slides", material.of_many(windows, _SLIDES)),
    ):
        report.other[f"host, us per tile: {name}"] = host_times(table, rounds)
    two = report.other["host, us per tile: blocks"]["TileSource.__call__, 2 reading threads"]
    report.rounds["host_us_per_tile"] = two["us"]
    report.other["plan of 64 tiles of 256 px, us per batch"] = plan_times(rounds)


def memory(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001
    """Resident memory over many epochs."""
    found = memory_over_epochs(material.blocks(material.tiff, _MEMORY_TILES), _EPOCHS)
    report.other["resident memory after epoch, MiB"] = found


GROUPS: dict[str, Callable[[Material, int, Report], None]] = {
    "blocks": blocks,
    "svs": svs,
    "windows": windows,
    "formats": formats,
    "whole": whole,
    "methods": methods,
    "augmenting": augmenting,
    "kernel": kernel,
    "tiling": tiling,
    "job": job,
    "verifying": verifying,
    "drop_in": drop_in,
    "gil": gil,
    "host": host,
    "memory": memory,
}


def _peers(table: TileTable) -> tuple[list[Contestant], dict[str, str]]:
    """Readers that are installed and read this slide, and why the others do not take part."""
    here, absent = [], {}
    for name, make in (("cucim", peers.cucim), ("fastslide", peers.fastslide)):
        reason = peers.missing(name)
        if reason is None:
            try:
                here.append(make(table))
                continue
            except (RuntimeError, ValueError, OSError) as error:
                reason = f"{name} is not measured: it does not read this slide ({error})"
        absent[name] = reason
    return here, absent


def _add(report: Report, key: str, series: dict[str, Series], over: str, under: str, reason: str | None = None) -> None:
    report.rounds[key] = rounds_of(series, over, under)
    if not report.rounds[key]:
        report.notes[key] = reason or f"{over!r} and {under!r} did not both run"


def _pixels(table: TileTable, name: str, report: Report) -> None:
    """Note the largest difference to OpenSlide's pixels, of ours and of cuCIM's."""
    report.other[f"largest difference to OpenSlide, {name}"] = {
        "ours": largest_difference(table),
        "cuCIM": None if peers.missing("cucim") else largest_difference_of_cucim(table),
    }
