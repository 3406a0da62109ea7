"""What it costs to verify tiles before they are decoded: beside reading and decoding, and alone."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import ours
from host import BATCH, read_times
from material import Material
from measure import Contestant, alternate, rounds_of
from settings import THREADS

from cellmix_dali import TileTable
from cellmix_dali.plugins import TileSource
from cellmix_dali.reading.slides import VERIFY
from cellmix_dali.shards import open_tiles
from cellmix_dali.tiling import TilingSettings, tile_slides

if TYPE_CHECKING:
    from groups import Report

__all__ = ["verifying"]

_TILES = 2048


def verifying(material: Material, rounds: int, report: Report) -> None:
    """Blocks of both slides, and tiles in shards."""
    kinds = {
        "YCbCr 4:2:0 TIFF": (material.blocks(material.tiff, _TILES), VERIFY[:2]),
        "RGB SVS": (material.blocks(material.svs, _TILES), VERIFY[:2]),
    }
    with TemporaryDirectory(prefix="cellmix-dali-bench-", dir=material.tiff.parent) as folder:
        kinds["shards of the TIFF"] = (_shards(material.tiff, Path(folder)), VERIFY)
        for kind, (table, ways) in kinds.items():
            contestants = [_read(table, verify) for verify in ways]
            series = report.series[f"verifying, {kind}"] = alternate(contestants, rounds)
            for verify in ways[1:]:
                report.rounds[f"{verify}_over_headers, {kind}"] = rounds_of(series, verify, "headers")
            report.other[f"reading alone, us per tile: {kind}"] = {
                verify: read_times(table, rounds, verify=verify) for verify in ways
            }


def _read(table: TileTable, verify: str) -> Contestant:
    """Read, verify and decode."""
    source = TileSource(table, batch_size=BATCH, num_workers=THREADS, verify=verify)
    return Contestant(verify, partial(ours.run_pass, ours.read_pipeline(source)), source.close)


def _shards(slide: Path, folder: Path) -> TileTable:
    """The slide's blocks, copied into shards."""
    assert multiprocessing.parent_process() is None
    tile_slides([slide], folder, TilingSettings(tile_size=256, tissue=0, level=0), workers=1)
    table = open_tiles(folder)
    return table.select(range(min(_TILES, len(table) // BATCH * BATCH)))
