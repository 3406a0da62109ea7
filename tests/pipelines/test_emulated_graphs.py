"""Graphs for a GPU other than a training's on slides: tiling, reading, image folders, shards, augmentations.

Each is defined for a GPU and run here with the CPU's operators (see emulated_gpu.py): to the bit as the CPU's graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_gpu import emulated_gpu, no_colours_of_rgb
from nvidia.dali import fn, types
from PIL import Image

from cellmix_dali import TileTable, open_slide
from cellmix_dali.pipelines import (
    ImageCache,
    Loader,
    decoded_tiles,
    evaluate_image_loader,
    evaluate_loader,
    read_table,
    tile_pipeline,
    train_image_loader,
    train_loader,
)
from cellmix_dali.plugins import Draw, TileSource
from cellmix_dali.shards import ShardWriter, copy_blocks, open_tiles, tile_rows, write_tiles
from cellmix_dali.synthetic import RenderedSlide

pytestmark = pytest.mark.slow

Batches = list[dict[str, torch.Tensor]]


@contextmanager
def gpu() -> Iterator[list[tuple[str, int]]]:
    """A GPU as it is: wrong about RGB JPEG; that nothing is decoded on it may be said."""
    with emulated_gpu(no_colours_of_rgb) as pastes, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*nothing is decoded on the GPU")
        yield pastes
    assert {count for _, count in pastes} <= {1}


def windows(rendered: list[RenderedSlide], size: int, *suffixes: str) -> TileTable:
    """Some windows of each slide, on the grid of its blocks or off it, over the edge too."""
    first, step = (0, 256) if size == 256 else (50, 170)
    x, y = (first + step * place.ravel() for place in np.meshgrid(np.arange(3), np.arange(3)))
    slides = [slide.path for slide in rendered if not suffixes or slide.path.suffix in suffixes]
    table = TileTable.concat([TileTable.from_columns(path, x=x, y=y, size=size) for path in slides])
    return table.with_labels(np.arange(len(table)) % 3)


def same(ones: Batches, others: Batches) -> None:
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, msg=name)


def batches(make: Callable[..., Loader[Any]], **device: Any) -> Batches:
    with make(**device) as loader:
        return [{name: value.clone() for name, value in batch.items()} for batch in loader]


# ------------------------------------------------------------------------------------------------ tiling and reading


@pytest.mark.parametrize(("size", "tile_size"), [(256, 96), (224, None), (300, 150)])
def test_the_tiling_pipeline(rendered: list[RenderedSlide], size: int, tile_size: int | None) -> None:
    table = windows(rendered, size)

    def outputs(device: str) -> list[list[Any]]:
        source = TileSource(table, batch_size=7, tile_size=tile_size, edge="pad", shuffle=False, drop_last=False)
        pipeline = tile_pipeline(source, device=device, saturation=30)
        pipeline.build()
        try:
            return [[np.array(output.as_array()) for output in pipeline.run()] for _ in range(len(source))]
        finally:
            source.close()

    want = outputs("cpu")
    with gpu():
        got = outputs("gpu")
    for one, other in zip(got, want, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert 0 < np.concatenate([batch[1] for batch in want]).mean() < 1  # there is tissue, and there is none


@pytest.mark.parametrize(("size", "tile_size"), [(256, 100), (224, None), (200, 100)])
def test_the_tiles_of_a_slide(rendered: list[RenderedSlide], size: int, tile_size: int | None) -> None:
    for suffix in (".svs", ".tiff"):
        table = windows(rendered, size, suffix)
        options: dict[str, Any] = {"tile_size": tile_size, "edge": "pad", "batch_size": 4}
        want = list(decoded_tiles(table, **options))
        with gpu():
            got = list(decoded_tiles(table, device="gpu", **options))
        for one, other in zip(got, want, strict=True):
            assert one.faults == other.faults == ()
            for name in ("rows", "tissue"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            # On the CPU halving is compiled; see tests/pipelines/test_tile.py for its difference to DALI's resizing.
            apart = np.abs(one.images.astype(int) - other.images).max()
            assert apart <= (1 if tile_size and size == 2 * tile_size else 0)


def test_tiles_that_are_read(rendered: list[RenderedSlide]) -> None:
    table = windows(rendered, 224)
    want = read_table(table, 200, batch_size=5)
    with gpu():
        got = read_table(table, 200, batch_size=5, device="gpu")
    np.testing.assert_array_equal(got, want)


# ---------------------------------------------------------------------------------------- evaluation, shards, images


@pytest.mark.parametrize("size", [224, 256])
def test_an_evaluation_that_resizes(rendered: list[RenderedSlide], size: int) -> None:
    table = windows(rendered, size)

    def make(**device: Any) -> Loader[TileSource]:
        return evaluate_loader(
            table, batch_size=5, tile_size=128, edge="pad", engine="native", dtype="float16", **device
        )

    want = batches(make)
    with gpu():
        same(batches(make, device="gpu"), want)


@pytest.mark.parametrize("suffixes", [(".tiff",), (".svs", ".tiff")], ids=["on the GPU", "on the CPU"])
def test_shards(rendered: list[RenderedSlide], suffixes: tuple[str, ...], tmp_path: Path) -> None:
    """Their kinds come mixed: the GPU decodes all of a set, or none."""
    parts = []
    for path in (slide.path for slide in rendered if slide.path.suffix in suffixes):
        x, y = (256 * place.ravel() for place in np.meshgrid(np.arange(3), np.arange(3)))
        sizes, level = np.full(9, 256), np.zeros(9, np.int64)
        with open_slide(path) as slide, ShardWriter(tmp_path, path.suffix[1:]) as writer:
            for block in copy_blocks(slide, 0, x, y):
                assert isinstance(block, memoryview)
                writer.add(block, "jpg", about={"slide": str(path)})
        columns: dict[str, Any] = {"x": x, "y": y, "size": sizes, "level": level, "tile_size": 256, "mpp": 0.5}
        parts.append(tile_rows(path, **columns, tissue=np.ones(9), written=writer.close()))
    write_tiles(tmp_path, parts)
    table = open_tiles(tmp_path)
    table = table.with_labels(np.arange(len(table)) % 3)

    def make(**device: Any) -> Loader[TileSource]:
        options = {"batch_size": 4, "patch_size": 64, "fix_ratio": 0.5, "p": 1.0, "engine": "native", "seed": 3}
        return train_loader(table, num_classes=3, **options, **device)

    want = batches(make)
    with gpu():
        same(batches(make, device="gpu"), want)
    with emulated_gpu():
        same(batches(make, device="gpu", require_gpu_decoding=True), want)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of several sizes and formats."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    made = []
    for number, suffix in enumerate([".jpg", ".png", ".bmp", ".jpg", ".tif", ".jpg", ".png", ".jpg"]):
        made.append(folder / f"{number}{suffix}")
        Image.fromarray(random.integers(0, 256, (40 + number, 60, 3), dtype=np.uint8)).save(made[-1])
    return made


@pytest.mark.parametrize("cached", [False, True], ids=["files", "cache"])
@pytest.mark.parametrize("right", [False, True], ids=["on the CPU", "on the GPU"])
def test_image_folders(files: list[Path], cached: bool, right: bool) -> None:
    labels = np.arange(len(files)) % 2
    memory = {"cache": ImageCache(32)} if cached else {}
    common: dict[str, Any] = {"image_size": 32, "engine": "native"}

    def training(**device: Any) -> Loader[Any]:
        options = {"batch_size": 4, "patch_size": 8, "fix_ratio": 0.5, "p": 1.0, "seed": 5} | memory
        return train_image_loader(files, labels, num_classes=2, **common, **options, **device)

    def evaluation(**device: Any) -> Loader[Any]:
        return evaluate_image_loader(files, labels, batch_size=3, **common, **device)

    for make in (training, evaluation):
        want = batches(make)
        with emulated_gpu() if right else gpu():
            same(batches(make, device="gpu"), want)


# ---------------------------------------------------------------------------------------------------- augmentations


def changed(images: Any, draw: Draw) -> Any:
    """What changes places, colours and neighbourhoods, by draws of every kind."""
    images = fn.flip(images, horizontal=draw.coin(0.5), vertical=draw.coin(0.5))
    images = fn.rotate(images, angle=draw.choice([0.0, 90.0, 180.0]), keep_size=True, interp_type=types.INTERP_NN)
    images = fn.brightness_contrast(images, contrast=draw.uniform(0.7, 1.3), brightness=draw.normal(1.0, 0.05))
    return fn.gaussian_blur(images, sigma=draw.uniform(0.5, 1.5), window_size=3)


@pytest.mark.parametrize("method", ["none", "CellMix-Group", "ResizeMix", "SaliencyMix"])
def test_augmentations(rendered: list[RenderedSlide], method: str) -> None:
    table = windows(rendered, 224)
    steering = {"patch_size": 56, "fix_ratio": 0.5} if method.startswith("CellMix") else {}

    def make(**device: Any) -> Loader[TileSource]:
        options = {"batch_size": 6, "method": method, "p": 1.0, "seed": 7, "engine": "native", "edge": "pad"}
        return train_loader(table, num_classes=3, augment=changed, **options, **steering, **device)

    want = batches(make)
    with gpu():
        same(batches(make, device="gpu"), want)
