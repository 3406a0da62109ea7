"""Scanners' formats that are read directly, against plain OpenSlide in as many threads: processor time a tile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import ours
import peers
from material import Material
from measure import Contestant, alternate, quotients
from openslide import OpenSlide
from pixels import largest_difference
from settings import BATCH, BLOCK, THREADS

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.synthetic import render_tissue

# The tests' writers of scanners' layouts, which OpenSlide takes for those of the vendor.
_WRITERS = Path(__file__).parents[1] / "tests" / "slides"
sys.path += [str(_WRITERS), str(_WRITERS / "formats")]

from dicom_files import JPEG2000, JPEG2000_LOSSLESS, image, jpeg2000, write_dicom  # noqa: E402
from slide_files import Directory, Pixels, directory, jpeg, write_tiff  # noqa: E402
from vendor_files import NdpiLevel, Region, halved, ndpi_level, philips_xml, write_leica, write_ndpi  # noqa: E402

if TYPE_CHECKING:
    from groups import Report

__all__ = ["formats"]

_RENDERED, _TIMES = 2048, 3  # side of the picture in pixels, and how often it is repeated: more than OpenSlide keeps
_SIDE, _TILES = _RENDERED * _TIMES, 512
_SLOW_TILES = 64  # of JPEG 2000, of which a tile takes some 30 times as long
_NDPI_WIDTH = 640  # of restart intervals
_OPENSLIDE = "OpenSlide, threads"


def formats(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001 (they are of other layouts)
    """Tiles of 256 px that are a block each, and tiles anywhere, both in random order."""
    with _slides() as slides:
        for name, (path, tiles) in slides.items():
            for where, table in (("on", _on_the_grid(path, tiles)), ("off", _anywhere(path, tiles))):
                contestants = [_openslide(table), ours.read(table)]
                for peer, make in (("cucim", peers.cucim), ("fastslide", peers.fastslide)):
                    reason = peers.missing(peer)
                    try:
                        if reason is None:
                            contestants.append(_tried(make(table)))
                    except Exception as error:
                        reason = f"does not read it: {error}"[:200]
                    if reason is not None:
                        report.notes[f"{peer}, {name}"] = reason
                series = alternate(contestants, rounds)
                report.series[f"{name}, tiles of 256 px {where} the grid"] = series
                theirs = series[_OPENSLIDE].cpu_us_per_tile
                for who in ("read", "cuCIM", "fastslide"):
                    if who in series:
                        key = f"{'' if who == 'read' else who + '_'}cpu_over_openslide_{name}_{where}"
                        report.rounds[key] = quotients(theirs, series[who].cpu_us_per_tile)
                report.other.setdefault("largest difference to OpenSlide, formats", {})[f"{name}, {where} the grid"] = (
                    largest_difference(table)
                )


def _on_the_grid(path: Path, tiles: int) -> TileTable:
    with open_slide(path) as slide:
        table = grid_tiles(slide, BLOCK)
    assert slide.route == "direct"
    rows = np.random.default_rng(0).permutation(len(table))
    return table.select(np.resize(rows, tiles // BATCH * BATCH))


def _anywhere(path: Path, tiles: int) -> TileTable:
    with open_slide(path) as slide:
        part = slide.levels[0].shown
    place = np.random.default_rng(1)
    x = place.integers(part.x, part.x + part.width - BLOCK, tiles // BATCH * BATCH)
    y = place.integers(part.y, part.y + part.height - BLOCK, len(x))
    return TileTable.from_columns(path, x=x, y=y, size=BLOCK)


def _openslide(table: TileTable) -> Contestant:
    """`read_region` and RGB as people write it; handles, which keep tiles, of each thread and each pass."""
    pool = ThreadPoolExecutor(THREADS)
    corners, size = list(zip(table.x.tolist(), table.y.tolist(), strict=True)), int(table.size[0])

    def read(corner: tuple[int, int], own: threading.local) -> int:
        if not hasattr(own, "slide"):
            own.slide = OpenSlide(table.slides[0])
        return len(np.asarray(own.slide.read_region(corner, 0, (size, size)).convert("RGB")))

    def run() -> int:
        return len(list(pool.map(read, corners, repeat(threading.local()))))

    return Contestant(_OPENSLIDE, run, pool.shutdown)


def _tried(contestant: Contestant) -> Contestant:
    """One that reads the slide; an error where it does not."""
    contestant.run()
    return contestant


@contextmanager
def _slides() -> Iterator[dict[str, tuple[Path, int]]]:
    """A slide of each layout with the same picture, and how many tiles of it a pass takes."""
    pixels, _ = render_tissue(_RENDERED, _RENDERED, seed=4)
    pixels = np.tile(pixels, (_TIMES, _TIMES, 1))
    with TemporaryDirectory(prefix="cellmix-dali-bench-") as name:
        folder = Path(name)

        def dicom(what: str, encode: Callable[[Pixels], bytes], **how: str) -> Path:
            (folder / what).mkdir()
            return write_dicom(folder / what / "0.dcm", image(pixels, BLOCK, BLOCK, _once(encode), **how))

        yield {
            "dicom_jpeg": (dicom("jpeg", jpeg), _TILES),
            "dicom_jpeg2000_lossless": (
                dicom("lossless", jpeg2000, syntax=JPEG2000_LOSSLESS, photometric="YBR_RCT"),
                _SLOW_TILES,
            ),
            "dicom_jpeg2000_lossy": (
                dicom("lossy", _lossy, syntax=JPEG2000, photometric="YBR_ICT"),
                _SLOW_TILES,
            ),
            "ndpi": (write_ndpi(folder / "a.ndpi", _ndpi(pixels)), _TILES),
            "philips": (_philips(folder / "philips.tiff", pixels), _TILES),
            "leica": (
                write_leica(
                    folder / "a.scn",
                    [Region(256, 256, pixels)],
                    canvas=(_SIDE + 512, _SIDE + 512),
                    block=(BLOCK, BLOCK),
                ),
                _TILES,
            ),
        }


def _once(encode: Callable[[Pixels], bytes]) -> Callable[[Pixels], bytes]:
    """Encode equal blocks once: the picture is repeated."""
    known: dict[bytes, bytes] = {}

    def cached(block: Pixels) -> bytes:
        key = block.tobytes()
        if key not in known:
            known[key] = encode(block)
        return known[key]

    return cached


def _lossy(block: Pixels) -> bytes:
    return jpeg2000(block, lossless=False)


def _ndpi(pixels: Pixels) -> list[NdpiLevel]:
    """Intervals of 640 px, one row of units high; the width is made a multiple of that."""
    pixels = pixels[:, : pixels.shape[1] // _NDPI_WIDTH * _NDPI_WIDTH]
    return [ndpi_level(pixels, _NDPI_WIDTH // 16), ndpi_level(halved(halved(pixels)), _NDPI_WIDTH // 4 // 16 * 3)]


def _philips(path: Path, pixels: Pixels) -> Path:
    def level(of: Pixels, **tags: object) -> Directory:
        made = directory(of, BLOCK, encode=_once(jpeg), **tags)
        made.more[305] = (2, b"Philips DP v1.0\0")
        return made

    levels = [level(pixels, description=philips_xml(2)), level(halved(pixels), subfiletype=1)]
    return write_tiff(path, levels, big=True)
