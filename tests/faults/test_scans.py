"""Damage inside a JPEG's scan: found by following its codes, wherever OpenSlide finds any, and more."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from PIL import Image
from slide_files import Directory, write_tiff

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.shards import open_tiles
from cellmix_dali.slides._scan import ScanCheck
from cellmix_dali.slides.damage import BlockCheck
from cellmix_dali.tiling import TilingSettings, tile_slides

SIDE = 64


def photo(seed: int) -> np.ndarray[Any, Any]:
    """Something like tissue: smooth, with noise."""
    random = np.random.default_rng(seed)
    small = random.integers(90, 255, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(large + random.normal(0, 6, large.shape), 0, 255).astype(np.uint8)


def encoded(seed: int, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo(seed)).save(out, "jpeg", quality=85, **options)
    return out.getvalue()


def scan_of(stream: bytes) -> slice:
    """Where the scan of a stream lies, without the marker after it."""
    at = stream.index(b"\xff\xda")
    return slice(at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big"), len(stream) - 2)


def ends_early(stream: bytes, random: np.random.Generator) -> bytes:
    """The scan is cut off, and an end put there."""
    scan = scan_of(stream)
    cut = int(random.integers(scan.start + 1, scan.stop - 2))
    return stream[:cut].rstrip(b"\xff") + b"\xff\xd9"


def flipped(stream: bytes, random: np.random.Generator) -> bytes:
    """A bit of the scan is another one, and makes no marker."""
    scan = scan_of(stream)
    while True:
        broken = bytearray(stream)
        broken[int(random.integers(scan.start, scan.stop))] ^= 1 << int(random.integers(8))
        if BlockCheck(SIDE, SIDE).damage(bytes(broken)) is None:
            return bytes(broken)


OPTIONS: list[dict[str, Any]] = [
    {"subsampling": 0},
    {"subsampling": 1},
    {"subsampling": 2},
    {"optimize": True},
    {"restart_marker_blocks": 3},
    {"subsampling": 0, "keep_rgb": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_whole_scans_are_whole(options: dict[str, Any]) -> None:
    for seed in range(20):
        assert BlockCheck(SIDE, SIDE, scans=True).damage(encoded(seed, **options)) is None


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_scan_that_ends_early_is_found(options: dict[str, Any]) -> None:
    random, check = np.random.default_rng(0), BlockCheck(SIDE, SIDE, scans=True)
    for seed in range(40):
        damage = check.damage(ends_early(encoded(seed, **options), random))
        assert damage is not None
        assert "JPEG scan" in damage


def test_bits_too_many_and_codes_that_are_none() -> None:
    whole = encoded(1)
    scan = scan_of(whole)
    check, data = ScanCheck(whole), np.frombuffer(whole, np.uint8)[scan]
    assert check.is_whole(data)
    assert not check.is_whole(np.append(data, np.uint8(0)))
    assert not check.is_whole(data[:-1])
    assert not check.is_whole(data[:0])
    assert not check.is_whole(np.full(data.size, 0xFF, np.uint8))
    assert not check.is_whole(np.tile(np.array([0xFF, 0], np.uint8), data.size))  # sixteen ones are no code
    assert not ScanCheck(encoded(1, progressive=True)).is_whole(data)


@pytest.mark.parametrize("size", [(64, 64), (60, 50), (57, 9)])
def test_the_scan_of_one_component_has_a_code_per_block(size: tuple[int, int]) -> None:
    """Whatever its sampling says: it is not interleaved."""
    out = io.BytesIO()
    Image.fromarray(photo(1)).convert("L").crop((0, 0, *size)).save(out, "jpeg", quality=85)
    whole = out.getvalue()
    frame = whole.index(b"\xff\xc0")
    for sampling in (0x11, 0x22, 0x21):
        stream = bytearray(whole)
        stream[frame + 11] = sampling
        data = np.frombuffer(whole, np.uint8)[scan_of(whole)]
        check = ScanCheck(bytes(stream))
        assert check.is_whole(data)
        assert not check.is_whole(data[:-2])
        assert not check.is_whole(np.append(data, data))


def openslide_sees(slide: Path, row: int) -> bool:
    """Whether OpenSlide makes an error of a block; a handle that has failed is of no more use."""
    with openslide.OpenSlide(slide) as opened:
        try:
            opened.read_region((0, row * SIDE), 0, (SIDE, SIDE))
        except openslide.OpenSlideError:
            return True
    return False


def column(folder: Path, blocks: list[bytes]) -> Path:
    level = Directory(SIDE, SIDE * len(blocks), SIDE, list(blocks))
    return write_tiff(folder / "damaged.tiff", [level])


def test_nothing_that_openslide_finds_is_missed(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    whole = [encoded(seed) for seed in range(8)]
    early = [ends_early(encoded(seed), random) for seed in range(40)]
    bits = [flipped(encoded(seed), random) for seed in range(250)]
    slide = column(tmp_path, whole + early + bits)
    seen = np.array([openslide_sees(slide, row) for row in range(len(whole + early + bits))])
    with open_slide(slide) as opened:
        rows = np.arange(len(seen))
        found = opened.block_reader(0, scans=True).read(np.zeros_like(rows), rows)
        plain = opened.block_reader(0).read(np.zeros_like(rows), rows)
    ours = np.array([isinstance(block, SlideError) for block in found])
    assert not any(isinstance(block, SlideError) for block in plain)  # by the headers, none is seen
    assert not ours[: len(whole)].any()
    assert ours[len(whole) : len(whole) + len(early)].all()
    assert not (seen & ~ours).any()
    assert seen.sum() >= len(early)
    shares = ours[-len(bits) :].mean(), seen[-len(bits) :].mean()
    assert shares[0] > 5 * shares[1] > 0, shares


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """16 blocks, of which those at 3 and 9 end early."""
    random = np.random.default_rng(3)
    blocks = [encoded(seed) for seed in range(16)]
    for row in (3, 9):
        blocks[row] = ends_early(blocks[row], random)
    return column(tmp_path, blocks)


def table_of(slide: Path, stride: int | None = None) -> TileTable:
    with open_slide(slide) as opened:
        tiles = grid_tiles(opened, SIDE, stride=stride)
    return tiles.with_labels(np.arange(len(tiles)) % 2)


def test_loaders_replace_what_they_find(damaged: Path) -> None:
    options: dict[str, Any] = {"num_classes": 2, "batch_size": 4, "method": None}
    for verify, bad in (("headers", set()), ("scan", {3, 9})):
        with train_loader(table_of(damaged), verify=verify, **options) as loader:
            rows = [row for batch in loader for row in batch["tile"].tolist()]
            assert {fault.tile for fault in loader.faults} == bad
            assert not bad & set(rows)
            assert all("ends early" in fault.reason for fault in loader.faults)
    with (
        evaluate_loader(table_of(damaged), batch_size=4, verify="scan") as loader,
        pytest.raises(SlideError, match="ends early"),
    ):
        list(loader)


def test_windows_of_several_blocks(damaged: Path) -> None:
    table = table_of(damaged, stride=SIDE // 2)
    found = TileReader(table, verify="scan").read(np.arange(len(table)))
    bad = {row for row, tile in enumerate(found) if isinstance(tile, SlideError)}
    assert bad == {row for row in range(len(table)) if any(abs(int(table.y[row]) - SIDE * at) < SIDE for at in (3, 9))}


@pytest.mark.parametrize("settings", [{}, {"format": "png", "overlap": 8}], ids=str)
def test_the_tiling_job_leaves_them_out(damaged: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Copied or encoded: what is in a shard was whole."""
    result = tile_slides([damaged], tmp_path / "out", TilingSettings(tile_size=SIDE, tissue=0, **settings), workers=1)
    (slide,) = result.slides
    told = [json.loads(line) for line in (tmp_path / "out" / "bad_tiles.jsonl").read_text().splitlines()]
    assert all("ends early" in bad["reason"] for bad in told)
    assert slide.bad_tiles == (2 if "overlap" not in settings else 4)
    assert slide.tiles + slide.bad_tiles == (16 if "overlap" not in settings else 18)


def test_shards(tmp_path: Path, rendered: list[Any]) -> None:
    """The hash finds every changed bit, the scan most, the headers none; all are refused where they make no sense."""
    tile_slides([rendered[0].path], tmp_path, TilingSettings(tile_size=256, tissue=0), workers=1)
    table = open_tiles(tmp_path).with_labels(np.arange(16) % 2)
    random = np.random.default_rng(5)
    path = Path(table.arrow["shard"][0].as_py())
    content = bytearray(path.read_bytes())
    for row in range(16):
        offset, size = (int(table.arrow[name][row].as_py()) for name in ("offset", "bytes"))
        stream = bytes(content[offset : offset + size])
        while True:
            at = int(random.integers(scan_of(stream).start, size - 2))
            broken = bytearray(stream)
            broken[at] ^= 1 << int(random.integers(8))
            if BlockCheck(256, 256).damage(bytes(broken)) is None:
                break
        content[offset : offset + size] = broken
    path.write_bytes(content)
    bad = {}
    for verify in ("headers", "scan", "hash"):
        options: dict[str, Any] = {"batch_size": 4, "verify": verify, "on_error": "replace"}
        reader = evaluate_loader(table, **options).source.reader
        found = reader.read(np.arange(16))
        bad[verify] = {row for row, tile in enumerate(found) if isinstance(tile, SlideError)}
        again = reader.read(np.arange(16))  # from the second time on, headers are known
        assert {row for row, tile in enumerate(again) if isinstance(tile, SlideError)} == bad[verify]
    assert not bad["headers"]
    assert bad["scan"]
    assert bad["hash"] == set(range(16))


@pytest.mark.parametrize("make", [partial(train_loader, method=None), evaluate_loader])
def test_what_is_refused(table: TileTable, make: Callable[..., Any]) -> None:
    loader = partial(make, table, num_classes=3, batch_size=4)
    with pytest.raises(ArgumentError, match="read from slides, which have none"):
        loader(verify="hash")
    with pytest.raises(ArgumentError, match="Did you mean 'hash'"):
        loader(verify="hashes")
