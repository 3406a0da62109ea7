"""The tiling job against what people write over OpenSlide and Pillow, and against plainly copying the file."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from material import Material
from measure import Contestant, alternate, rounds_of
from openslide import OpenSlide
from PIL import Image
from settings import THREADS

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.pipelines import decoded_tiles
from cellmix_dali.shards import Encoding
from cellmix_dali.synthetic import write_slide
from cellmix_dali.tiling import TilingSettings, find_slides, tile_slides
from cellmix_dali.tiling.parts import make_part
from cellmix_dali.tiling.plans import plan_slide
from cellmix_dali.tiling.records import inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groups import Report

__all__ = ["tiling"]

_QUALITY, _BLOCK = 80, 256
# Window and tile in pixels, tiles per pass; none of the grids is on the blocks, or windows are resized.
_GRIDS = ((512, 256, 384), (448, 224, 384), (224, 224, 1536))
_SIDES = (4096, 8192, 16384)  # of the slides over which memory is measured


def tiling(material: Material, rounds: int, report: Report) -> None:
    """Encoding tiles that are no blocks, copying those that are, and the memory of the whole job."""
    for slide, kind in ((material.tiff, "YCbCr 4:2:0 TIFF"), (material.svs, "RGB SVS")):
        for window, tile, tiles in _GRIDS:
            with open_slide(slide) as opened:
                table = grid_tiles(opened, window)
            table = table.select(range(min(tiles, len(table))))
            series = alternate([_ours(table, tile), _openslide(table, tile)], rounds)
            report.series[f"windows of {window} px to JPEG of {tile} px, one core, {kind}"] = series
            first = (slide, window) == (material.tiff, 512)
            key = "" if first else f"_{window}_{slide.suffix[1:]}"
            report.rounds[f"encode_over_openslide_pil{key}"] = rounds_of(series, _OURS, _THEIRS)
    with _copying(material.svs) as contestants:
        series = report.series["blocks of 256 px copied into shards, RGB SVS"] = alternate(contestants, rounds)
    report.rounds["copy_over_cp"] = rounds_of(series, _COPY, _CP)
    report.rounds["copy_over_cp_unsynced"] = rounds_of(series, _COPY, _CP_UNSYNCED)
    report.notes["copy_over_cp"] = "tissue detection apart; cp followed by fsync, as shards are synced"
    report.other["tiling job, peak memory, MiB"] = _peaks(material)


_OURS, _THEIRS = "decoded_tiles + Encoding", "OpenSlide + PIL"
_COPY, _CP, _CP_UNSYNCED = "blocks into shards", "cp + fsync", "cp"


def _ours(table: TileTable, tile: int) -> Contestant:
    """As the job encodes tiles."""
    encoding = Encoding("jpeg", _QUALITY)

    def run() -> int:
        count = 0
        for batch in decoded_tiles(table, tile_size=tile, tissue=False, num_threads=1):
            count += sum(len(encoding.encode(image)) > 0 for image in batch.images)
        return count

    return Contestant(_OURS, run)


def _openslide(table: TileTable, tile: int) -> Contestant:
    """Region by region, in the same order."""
    windows = list(zip(table.x.tolist(), table.y.tolist(), table.size.tolist(), strict=True))

    def run() -> int:
        with OpenSlide(table.slides[0]) as slide:
            for x, y, size in windows:
                image = slide.read_region((x, y), 0, (size, size)).convert("RGB")
                if size != tile:
                    image = image.resize((tile, tile), Image.Resampling.BILINEAR)
                image.save(io.BytesIO(), "JPEG", quality=_QUALITY)
        return len(windows)

    return Contestant(_THEIRS, run)


@contextmanager
def _copying(path: Path) -> Iterator[list[Contestant]]:
    """All tiles of a slide whose tiles are its blocks, on the disk that temporary files go to."""
    with TemporaryDirectory(prefix="cellmix-dali-bench-") as name:
        folder = Path(name)
        for part in ("shards", "parts", "plans", "overviews"):
            (folder / part).mkdir()
        with open_slide(path) as opened:
            share = -(-len(grid_tiles(opened, _BLOCK)) // THREADS)
        settings = TilingSettings(tile_size=_BLOCK, tissue=0.0, shard_size=share)
        (slide,) = find_slides(path, settings).slides
        plan = plan_slide(slide, settings, folder, inputs_of(slide))
        make = partial(make_part, slide, settings, folder, plan)

        def ours() -> int:
            # As the job does it: parts of a slide, one worker a core. The first pass, to warm up, starts them.
            parts = list(pool.map(make, range(plan.parts)))
            assert not any(part.encoded for part in parts)
            return sum(part.copied for part in parts)

        def plain(*, sync: bool) -> int:
            copy = folder / "copy"
            copy.unlink(missing_ok=True)
            subprocess.run(["cp", path, copy], check=True)
            if sync:
                number = os.open(copy, os.O_RDONLY)
                os.fsync(number)
                os.close(number)
            return plan.tiles

        with ProcessPoolExecutor(THREADS, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield [
                Contestant(_COPY, ours),
                Contestant(_CP, partial(plain, sync=True)),
                Contestant(_CP_UNSYNCED, partial(plain, sync=False)),
            ]


def _peaks(material: Material) -> dict[str, float]:
    """Peak memory of the whole job, a process for each slide and kind of work."""
    found = {}
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="cellmix-dali-bench-") as name:
        for side in (side for side in _SIDES if side <= material.side):
            path = Path(name, f"{side}.svs")  # with a pyramid, as slides have
            with open_slide(material.svs) as slide:
                write_slide(path, slide.read_region(0, 0, 0, side, side), levels=3)
            for what, mpp in (("copied", 0.5), ("512 to 256 px", 1.0)):
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    peak = pool.submit(_peak, str(path), str(Path(name, "out")), mpp).result()
                found[f"{what}, {side} px"] = round(peak, 1)
                rmtree(Path(name, "out"))
    return found


def _peak(slide: str, out: str, mpp: float) -> float:
    """MiB; in a process of its own."""
    result = tile_slides(slide, out, TilingSettings(tile_size=_BLOCK, mpp=mpp, tissue=0.0), workers=0)
    assert not result.failed
    assert result.tiles
    # Not getrusage, which counts what the parent had when it started this process, too.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
