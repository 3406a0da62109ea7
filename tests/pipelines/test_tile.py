"""The tiling pipeline: OpenSlide's pixels and those that training sees, each block decoded once, bad tiles told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, MissingDependencyError, SlideError
from cellmix_dali.pipelines import (
    DecodedTiles,
    _block_cache as _decoded_blocks,
    _halving,
    _tissue,
    decoded_tiles,
    read_table,
    tile_pipeline,
)
from cellmix_dali.pipelines._cutting import WindowCutter
from cellmix_dali.plugins import TileSource
from cellmix_dali.slides._scan import ScanCheck
from cellmix_dali.synthetic import RenderedSlide

Pixels = NDArray[np.uint8]


def grid(path: Path, size: int, **arguments: Any) -> TileTable:
    with open_slide(path) as slide:
        return grid_tiles(slide, size, **arguments)


def together(batches: Sequence[DecodedTiles]) -> tuple[NDArray[np.int64], Pixels, NDArray[np.float32], dict[int, str]]:
    """Rows, images, tissue and faults of all batches."""
    rows, images, tissue, faults = zip(*batches, strict=True)
    return (
        np.concatenate(rows),
        np.concatenate(images),
        np.concatenate(tissue),
        {r: str(why) for f in faults for r, why in f},
    )


def images_of(table: TileTable, **arguments: Any) -> Pixels:
    """All tiles of a table without faults."""
    rows, images, _, faults = together(list(decoded_tiles(table, **arguments)))
    assert not faults
    np.testing.assert_array_equal(rows, np.arange(len(table)))
    return images


def region(path: Path, x: int, y: int, size: int) -> Pixels:
    """OpenSlide's pixels over white."""
    with openslide.OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((x, y), 0, (size, size)))
    return np.where(rgba[..., 3:] == 255, rgba[..., :3], 255).astype(np.uint8)


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff", "gcp-camelyon-multiframe-jpeg.dcm"]
)
def test_openslides_pixels_on_real_slides(real: Callable[[str], Path], name: str) -> None:
    path = real(name)
    table = grid(path, 224, edge="pad")
    images = images_of(table, edge="pad", batch_size=17)
    np.testing.assert_array_equal(images, read_table(table, edge="pad"))
    for row in range(0, len(table), 7):
        np.testing.assert_array_equal(images[row], region(path, int(table.x[row]), int(table.y[row]), 224))
    corner = images[-1]  # over both edges
    assert (corner[-1, -1] == 255).all()
    assert corner[0, 0].min() < 255


def test_pixels_as_training_sees_them(real: Callable[[str], Path], rendered: list[RenderedSlide]) -> None:
    svs, lossy = rendered[0].path, real("CMU-1-Small-Region.jp2.tiff")
    for path, size, tile_size, arguments in (
        (svs, 448, 224, {}),
        (svs, 300, 100, {"overlap": 50}),
        (rendered[1].path, 96, 128, {"level": 1}),
        (svs, 256, 256, {}),  # blocks
        (lossy, 900, 450, {}),  # of more blocks than a tile of the training has: OpenSlide cannot read this file
        (lossy, 100, 100, {"edge": "pad"}),
    ):
        table = grid(path, size, **arguments)
        table = table.select(np.arange(min(len(table), 60)))
        edge = str(arguments.get("edge", "skip"))
        images = images_of(table, tile_size=tile_size, edge=edge)
        np.testing.assert_array_equal(images, read_table(table, tile_size, edge=edge))


def test_windows_of_several_sizes_in_any_order(rendered: list[RenderedSlide]) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 700, (2, 40))
    table = TileTable.from_columns(rendered[1].path, x=x, y=y, size=generator.integers(1, 320, 40))
    np.testing.assert_array_equal(images_of(table, tile_size=64, batch_size=8), read_table(table, 64))


@pytest.mark.parametrize("size", [100, 300, 512])
def test_each_block_is_decoded_once(rendered: list[RenderedSlide], size: int) -> None:
    table = grid(rendered[0].path, size)
    cutter = WindowCutter(table, edge="skip", device="cpu", num_threads=1)
    needed = -(-int((table.x + table.size).max()) // 256) * -(-int((table.y + table.size).max()) // 256)
    with closing(cutter):
        for row in range(len(table)):
            assert not cutter.cut(np.array([row]), [np.empty((size, size, 3), np.uint8)])
    assert cutter.decoded == needed


def test_what_is_kept_is_bounded(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    table = grid(rendered[0].path, 100)
    want = images_of(table)
    monkeypatch.setattr(_decoded_blocks, "_KEPT_BYTES", 2 * 256 * 256 * 3)
    cutter = WindowCutter(table, edge="skip", device="cpu", num_threads=1)
    with closing(cutter):
        for row in range(len(table)):
            out = np.empty((100, 100, 3), np.uint8)
            cutter.cut(np.array([row]), [out])
            np.testing.assert_array_equal(out, want[row])
            assert cutter._blocks is not None
            assert len(cutter._blocks._pixels) <= 2
    assert cutter.decoded > 16


@pytest.mark.parametrize("size", [3, 31, 128, 224])
def test_halving_is_dalis_to_the_bit(size: int) -> None:
    halve = _halving.halving(size)
    assert halve is not None
    flat = np.zeros((2 * size, 2 * size, 3), np.uint8)
    windows = np.random.default_rng(size).integers(0, 256, (6, *flat.shape), np.uint8)
    windows[1:3] //= 255  # 0 and 1 alone: many sums are halves
    windows[3, : size // 2], windows[4] = 255, 255 - windows[1]
    for window, want in zip(windows, _halving._resized(windows, size), strict=True):
        image = np.empty((size, size, 3), np.uint8)
        halve(window, image)
        np.testing.assert_array_equal(image, want)


def test_halving_gives_way_to_another_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(windows: Pixels, size: int) -> Pixels:
        found = resized(windows, size)
        found[-1, 5, 7, 1] += 1
        return found

    resized = _halving._resized
    monkeypatch.setattr(_halving, "_resized", other)
    assert _halving.halving(16) is None


def damaged(path: Path, folder: Path, block: int, change: Callable[[bytes], bytes]) -> Path:
    """A copy of a slide with one block of level 0 changed."""
    copy = Path(shutil.copy(path, folder))
    with tifffile.TiffFile(copy) as file:
        offset, count = file.pages.first.dataoffsets[block], file.pages.first.databytecounts[block]
    content = bytearray(copy.read_bytes())
    changed = change(bytes(content[offset : offset + count]))
    assert changed != content[offset : offset + count]
    content[offset : offset + count] = changed
    copy.write_bytes(content)
    return copy


def zeroed_middle(block: bytes) -> bytes:
    return block[: len(block) // 2] + bytes(200) + block[len(block) // 2 + 200 :]


def other_tables(block: bytes) -> bytes:
    """Huffman tables of another class: whole as far as a header goes, of no use to a decoder."""
    head, scan = block[: block.index(b"\xff\xda")], block[block.index(b"\xff\xda") :]
    first, *tables = head.split(b"\xff\xc4")
    return first + b"".join(b"\xff\xc4" + t[:2] + bytes([t[2] ^ 0x10]) + t[3:] for t in tables) + scan


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (zeroed_middle, "run of zeros"),
        (other_tables, "bits in it are changed"),
        (other_tables, "DALI cannot decode its block"),
    ],
)
def test_a_damaged_block_costs_its_tiles_alone(
    rendered: list[RenderedSlide],
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "DALI" in reason:  # as of a progressive JPEG, whose scans are not followed
        monkeypatch.setattr(ScanCheck, "is_whole", lambda _self, _scan: True)
    whole = rendered[1].path  # its blocks have Huffman tables of their own
    table = grid(whole, 200)
    images = images_of(table)
    slide = damaged(whole, tmp_path, 4 * 1 + 2, change)  # column 2, row 1
    touching = (table.x < 768) & (table.x + 200 > 512) & (table.y < 512) & (table.y + 200 > 256)
    broken = TileTable.from_columns(slide, x=table.x, y=table.y, size=table.size)
    for batch_size in (64, 3):
        rows, others, tissue, faults = together(list(decoded_tiles(broken, batch_size=batch_size)))
        assert sorted(faults) == np.flatnonzero(touching).tolist()
        assert all(reason in why for why in faults.values())
        np.testing.assert_array_equal(rows, np.flatnonzero(~touching))
        np.testing.assert_array_equal(others, images[~touching])
        assert tissue.shape == rows.shape


def test_tiles_that_cannot_be_read(rendered: list[RenderedSlide]) -> None:
    path = rendered[0].path
    for x, level, size, reason in ((900, 0, 224, "lies over the edge"), (0, 7, 224, "no such level")):
        table = TileTable.from_columns(path, x=[x] * 3, y=[0, 10, 20], size=size, level=level)
        (batch,) = decoded_tiles(table)
        assert batch.images.shape == (0, 224, 224, 3)
        assert [row for row, _ in batch.faults] == [0, 1, 2]
        assert reason in str(batch.faults[0][1])


def share_of_tissue(images: Pixels, saturation: int) -> NDArray[np.float64]:
    """By the definition of HSV, on a raster of 32 x 32 pixels."""
    size = images.shape[1]
    raster = np.floor((np.arange(min(size, 32)) + 0.5) * size / min(size, 32)).astype(int)
    pixels = images[:, raster][:, :, raster].astype(np.int64)
    high, low = pixels.max(axis=3), pixels.min(axis=3)
    return (((high - low) * 255 > saturation * high) & (high >= 40)).mean(axis=(1, 2))


@pytest.mark.parametrize(("size", "tile_size"), [(24, 24), (96, 96), (224, 224), (256, 100)])
def test_tissue_against_numpy(rendered: list[RenderedSlide], size: int, tile_size: int) -> None:
    table = grid(rendered[1].path, size)
    table = table.select(np.arange(0, len(table), max(1, len(table) // 60)))
    for saturation in (5, 60):
        _, images, tissue, _ = together(list(decoded_tiles(table, tile_size=tile_size, saturation=saturation)))
        want = share_of_tissue(images, saturation)
        np.testing.assert_allclose(tissue, want, atol=1e-6)
        assert want.max() > want.min()
    whole = images.astype(np.int64)
    every = ((np.ptp(whole, axis=3) * 255 > 60 * whole.max(axis=3)) & (whole.max(axis=3) >= 40)).mean(axis=(1, 2))
    np.testing.assert_allclose(tissue, every, atol=0.06)  # what is measured on a raster is near the truth
    assert _tissue.RASTER == 32


def test_tissue_knows_glass_ink_and_black(real: Callable[[str], Path]) -> None:
    table = grid(real("CMU-1-Small-Region.svs"), 224)
    _, images, tissue, _ = together(list(decoded_tiles(table)))
    brightest = images.mean(axis=(1, 2, 3)).argmax()
    assert tissue[brightest] < 0.05
    assert tissue.max() > 0.6
    (nothing,) = decoded_tiles(table.select(np.arange(3)), tissue=False)
    assert np.isnan(nothing.tissue).all()
    np.testing.assert_array_equal(nothing.images, images[:3])


def test_the_pipeline_over_a_source(table: TileTable) -> None:
    source = TileSource(table, batch_size=8, shuffle=False, drop_last=False, tile_size=128)
    pipeline = tile_pipeline(source, num_threads=1, saturation=30)
    pipeline.build()
    with closing(source):
        images, tissue, labels, rows = (output.as_array() for output in pipeline.run())
    want = read_table(table, 128)[:8]
    np.testing.assert_array_equal(images, want)
    np.testing.assert_allclose(tissue, share_of_tissue(want, 30), atol=1e-6)
    assert labels.ravel().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert rows.ravel().tolist() == list(range(8))


def test_batches_are_their_own_memory(rendered: list[RenderedSlide]) -> None:
    for size, tile_size in ((100, 100), (200, 100)):
        table = grid(rendered[0].path, size)
        batches = list(decoded_tiles(table, tile_size=tile_size, batch_size=4))
        assert len(batches) == -(-len(table) // 4)
        np.testing.assert_array_equal(np.concatenate([b.images for b in batches]), read_table(table, tile_size))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(rendered: list[RenderedSlide]) -> None:
    with pytest.raises(MissingDependencyError, match="no usable CUDA device"):
        decoded_tiles(grid(rendered[0].path, 256), device="gpu")


def test_what_is_refused(rendered: list[RenderedSlide], table: TileTable, tmp_path: Path) -> None:
    own = grid(rendered[0].path, 256)
    assert list(decoded_tiles(own.select(np.empty(0, int)))) == []
    levels = TileTable.from_columns(rendered[1].path, x=[0, 0], y=[0, 0], size=64, level=[0, 1])
    for bad, arguments, message in (
        (table, {}, "several slides"),
        (levels, {}, "several levels"),
        (own, {"edge": "cut"}, "edge"),
        (own, {"device": "tpu"}, "device"),
        (own, {"saturation": 256}, "saturation=256 is out of range"),
        (own, {"batch_size": 0}, "batch_size=0"),
        (own, {"num_threads": 0}, "num_threads=0"),
        (own, {"tile_size": 0}, "tile_size=0"),
    ):
        with pytest.raises(ArgumentError, match=message):
            decoded_tiles(bad, **arguments)
    least = decoded_tiles(own, batch_size=1, num_threads=1)
    assert [len(part.rows) for part in least] == [1] * len(own)
    mixed = TileTable.from_columns(rendered[0].path, x=[0, 0], y=[0, 0], size=[64, 65])
    with pytest.raises(ArgumentError, match="from 64 to 65 pixels"):
        decoded_tiles(mixed)
    with pytest.raises(SlideError, match="There is no slide"):
        decoded_tiles(TileTable.from_columns(tmp_path / "no.svs", x=[0], y=[0], size=64))
    source = TileSource(own, batch_size=4)
    with closing(source), pytest.raises(ArgumentError, match="saturation=-1"):
        tile_pipeline(source, saturation=-1)
