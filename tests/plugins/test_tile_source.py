"""Tiles from slide files into the graph: the pixels are OpenSlide's, the rows are the order's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from cellmix_dali import CellMix, TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, CellMixDaliError, SlideError
from cellmix_dali.plugins import EpochClock, PlanSource, TileSource, tiles
from cellmix_dali.reading import slides
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.storage import open_file as _open_file
from cellmix_dali.synthetic import RenderedSlide


def decoded(
    table: TileTable, batch_size: int = 16, slots: int | None = None, **arguments: Any
) -> tuple[NDArray[np.uint8], TileSource]:
    """All tiles of a table, in its order, as the graph decodes them."""
    source = TileSource(table, batch_size=batch_size, shuffle=False, drop_last=False, **arguments)
    if slots is not None:
        source._delivery.reader = TileReader(table, slots=slots)
    pipeline = Pipeline(batch_size=batch_size, num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        nodes = tiles(source)
        pipeline.set_outputs(nodes.images, nodes.labels, nodes.tile)
    pipeline.build()
    images, rows = [], []
    for _ in range(len(source)):
        image, _, row = (output.as_array() for output in pipeline.run())
        images.append(image)
        rows.append(row)
    assert np.concatenate(rows).ravel().tolist() == list(range(len(table)))
    source.close()
    return np.concatenate(images), source


def openslide_pixels(path: Path, table: TileTable) -> NDArray[np.uint8]:
    with openslide.OpenSlide(path) as slide:
        regions = []
        for x, y, level, size in zip(table.x, table.y, table.level, table.size, strict=True):
            scale = round(slide.level_downsamples[level])
            place = (int(x) * scale, int(y) * scale)
            regions.append(np.asarray(slide.read_region(place, int(level), (int(size), int(size)))))
    pixels = np.stack(regions)
    assert (pixels[..., 3] == 255).all()
    return pixels[..., :3]


@pytest.mark.parametrize(
    ("name", "size", "way"),
    [
        ("CMU-1-Small-Region.svs", 240, "direct"),
        ("CMU-1-Small-Region.svs", 224, "direct"),
        ("CMU-1-Small-Region.jpeg.tiff", 256, "direct"),
        ("CMU-1-Small-Region.jpeg.tiff", 200, "direct"),
        ("CMU-1-Small-Region.jpeg.tiff", 700, "direct"),
        ("gcp-camelyon-multiframe-jpeg.dcm", 256, "direct"),
        ("gcp-camelyon-multiframe-jpeg.dcm", 100, "direct"),
        ("not compressed", 256, "openslide"),
        ("not compressed", 100, "openslide"),
    ],
)
def test_real_slides_are_openslides_pixels(
    real: Callable[[str], Path], only_openslide: Path, name: str, size: int, way: str
) -> None:
    path = only_openslide if way == "openslide" else real(name)
    with open_slide(path) as slide:
        table = grid_tiles(slide, size)
    images, source = decoded(table)
    np.testing.assert_array_equal(images, openslide_pixels(path, table))
    assert source.read == {way: len(table)}


def test_a_slide_that_openslide_refuses_is_read_all_the_same(real: Callable[[str], Path]) -> None:
    path = real("CMU-1-Small-Region.jp2.tiff")
    with open_slide(path) as slide:
        table = grid_tiles(slide, 256)
        want = np.stack([slide.read_region(0, int(x), int(y), 256, 256) for x, y in zip(table.x, table.y, strict=True)])
    images, source = decoded(table)
    # Lossy JPEG 2000 is rounded differently by DALI's decoder and by Pillow's, in a few values of many millions.
    difference = np.abs(images.astype(np.int16) - want)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4
    assert source.read == {"direct": len(table)}


def test_both_ways_in_one_batch_on_every_level(rendered: list[RenderedSlide]) -> None:
    tables, wants = [], []
    for slide in rendered:
        with open_slide(slide.path) as opened:
            for level in range(len(opened.levels)):
                if min(opened.levels[level].width, opened.levels[level].height) >= 256:
                    for stride in (256, 200):  # aligned with the blocks, and not
                        tables.append(grid_tiles(opened, 256, level=level, stride=stride))
                        wants.append(openslide_pixels(slide.path, tables[-1]))
    whole = TileTable.concat(tables)
    assert len(set(whole.level.tolist())) > 1
    images, source = decoded(whole)
    np.testing.assert_array_equal(images, np.concatenate(wants))
    assert source.read == {"direct": len(whole)}
    # With too few slots for tiles of several blocks, those come through OpenSlide, beside the others in one batch.
    images, source = decoded(whole, slots=1)
    np.testing.assert_array_equal(images, np.concatenate(wants))
    assert source.read["direct"] > 0
    assert source.read["openslide"] > 0


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff", "gcp-camelyon-multiframe-jpeg.dcm", ""]
)
@pytest.mark.parametrize("size", [100, 224, 240, 256, 500])
def test_random_windows_of_real_slides_over_the_edge_too(
    real: Callable[[str], Path], only_openslide: Path, name: str, size: int
) -> None:
    path = real(name) if name else only_openslide
    rng = np.random.default_rng(size)
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
        x, y = rng.integers(0, width, 24), rng.integers(0, height, 24)
        x[:3], y[:3] = (0, width - 1, width - size // 2), (0, height - 1, height - size // 2)
        # What OpenSlide shows beyond the slide is transparent: white here.
        regions = [np.asarray(slide.read_region((int(a), int(b)), 0, (size, size))) for a, b in zip(x, y, strict=True)]
    want = np.stack([np.where(region[..., 3:] == 255, region[..., :3], 255) for region in regions]).astype(np.uint8)
    table = TileTable.from_columns(path, x=x, y=y, size=size)
    images, source = decoded(table, edge="pad")
    np.testing.assert_array_equal(images, want)
    assert set(source.read) == {"direct" if name else "openslide"}


def test_windows_of_several_sizes_are_resized_and_others_left_alone(rendered: list[RenderedSlide]) -> None:
    path = rendered[0].path
    sizes = [256, 512, 300, 256, 400]
    table = TileTable.from_columns([path] * 5, x=[0, 100, 200, 256, 31], y=[0, 50, 10, 512, 77], size=sizes)
    images, _ = decoded(table, tile_size=256)
    assert images.shape == (5, 256, 256, 3)
    with openslide.OpenSlide(path) as slide:
        for number, (x, y, size) in enumerate(zip(table.x, table.y, sizes, strict=True)):
            region = slide.read_region((int(x), int(y)), 0, (size, size)).convert("RGB")
            if size == 256:
                np.testing.assert_array_equal(images[number], np.asarray(region))
            else:
                want = np.asarray(region.resize((256, 256), Image.Resampling.BILINEAR), np.int16)
                assert np.abs(images[number] - want).mean() < 1  # Pillow's filter is the same, its rounding is not


def test_batches_are_the_orders(table: TileTable) -> None:
    def epochs(seed: int, workers: int) -> list[list[list[int]]]:
        source = TileSource(table, batch_size=4, seed=seed, num_workers=workers)
        rows = []
        for epoch in range(3):
            batches = [batch(source, epoch, number)[2].ravel().tolist() for number in range(len(source))]
            assert sorted(chain(*batches)) == list(range(len(table)))
            rows.append(batches)
            with pytest.raises(StopIteration):
                batch(source, epoch, len(source))
        source.close()
        return rows

    first = epochs(seed=1, workers=1)
    assert first == epochs(seed=1, workers=3)
    assert first[0] != first[1]
    assert first != epochs(seed=2, workers=1)


def test_labels_flips_and_plans(table: TileTable) -> None:
    mixer = CellMix("CellMix-Group", seed=5)
    plans = PlanSource(mixer, tile_size=256, batch_size=8, patch_size=32, fix_ratio=0.5)
    source = TileSource(table, batch_size=8, plans=plans, flips=True, seed=5)
    flips = []
    for number in range(len(source)):
        _, labels, rows, flip, *plan = batch(source, 1, number)
        assert table.label is not None
        assert labels.ravel().tolist() == table.label[rows.ravel()].tolist()
        drawn = mixer.draw(8, 256, 32, 0.5, epoch=1, iteration=number)
        np.testing.assert_array_equal(plan[4], drawn.weights)
        flips.append(flip)
    assert {tuple(pair) for flip in flips for pair in flip.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_array_equal(batch(source, 1, 0)[3], flips[0])  # the same key, the same flips
    source.close()


def test_soft_labels_of_a_table(table: TileTable) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(4), len(table)).astype(np.float32)
    soft = table.with_labels(shares)
    source = TileSource(soft, batch_size=8, shuffle=False)
    np.testing.assert_array_equal(batch(source, 0, 1)[1], shares[8:16])
    source.close()


def batch(source: TileSource, epoch: int, iteration: int) -> tuple[Any, ...]:
    return source(SimpleNamespace(epoch_idx=epoch, iteration=iteration))


def test_balanced_and_block_orders(rendered: list[RenderedSlide]) -> None:
    """A rare class comes as often as a frequent one; neighbours come together."""
    with open_slide(rendered[0].path) as slide:
        table = grid_tiles(slide, 128)
    label = np.zeros(len(table), int)
    label[::8] = 1
    table = table.with_labels(label)
    source = TileSource(table, batch_size=8, balance="class")
    labels = np.concatenate([batch(source, 0, number)[-2].ravel() for number in range(len(source))])
    assert abs((labels == 1).sum() - (labels == 0).sum()) <= 1
    source.close()
    with open_slide(rendered[0].path) as slide:
        table = grid_tiles(slide, 128, stride=64)
    source = TileSource(table, batch_size=64, shuffle="blocks", drop_last=False)
    rows = [batch(source, 0, number)[-1].ravel() for number in range(len(source))]
    assert sorted(np.concatenate(rows)) == list(range(len(table)))
    together = np.mean([np.isin(own + 1, own).mean() for own in rows])
    assert together > 0.6  # runs of 8 neighbours: 7 in 8; by chance it would be about 64 / 225
    source.close()
    with pytest.raises(ArgumentError, match=r"Unknown balance 'clas'\. Did you mean 'class'\?"):
        TileSource(table, batch_size=8, balance="clas")
    with pytest.raises(ArgumentError, match="balance='class' needs labels"):
        TileSource(TileTable.from_columns(rendered[0].path, x=[0, 0], y=[0, 0], size=64), batch_size=1, balance="class")


def test_a_shared_block_is_read_once(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    plain = slides.read_blocks

    def read_blocks(readers: Any, which: Any, columns: Any, rows: Any) -> Any:
        asked.extend(zip(columns.tolist(), rows.tolist(), strict=True))
        return plain(readers, which, columns, rows)

    monkeypatch.setattr(slides, "read_blocks", read_blocks)
    with open_slide(rendered[0].path) as slide:
        table = grid_tiles(slide, 256, stride=128)
    TileReader(table).read(np.arange(len(table)))
    assert len(asked) == len(set(asked)) == 16


def test_only_so_many_files_are_open(
    rendered: list[RenderedSlide],
    linked: Callable[[int], list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = linked(20)

    def open_files() -> int:
        return sum(str(tmp_path) in str(link) or str(rendered[0].path) in str(link) for link in links())

    def links() -> list[Path]:
        return [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]

    monkeypatch.setattr(_open_file, "most_open", lambda: 12)
    reader = TileReader(TileTable.from_columns(paths, x=[0] * 20, y=[0] * 20, size=256))
    before = open_files()
    for _ in range(2):
        tiles = reader.read(np.arange(20))
        assert all(isinstance(tile, EncodedTile) for tile in tiles)
        assert open_files() - before <= 12 - _open_file._PASSING
    reader.close()
    assert open_files() == before


def test_clock() -> None:
    clock = EpochClock(3, epoch=4, iteration=2)
    assert clock.at(SimpleNamespace(epoch_idx=0, iteration=0)) == (4, 2)
    with pytest.raises(StopIteration):
        clock.at(SimpleNamespace(epoch_idx=0, iteration=1))
    assert clock.at(SimpleNamespace(epoch_idx=1, iteration=0)) == (5, 0)
    clock.cut_short()
    with pytest.raises(StopIteration):
        clock.at(SimpleNamespace(epoch_idx=1, iteration=1))
    clock.cut_short(False)
    assert clock.at(SimpleNamespace(epoch_idx=1, iteration=1)) == (5, 1)
    clock.start(0, 3)  # after the last batch
    for epoch, iteration in ((0, 4), (-1, 0), (0, -1)):
        with pytest.raises(ArgumentError, match=f"Cannot start at epoch {epoch}, iteration {iteration}"):
            clock.start(epoch, iteration)


def test_what_is_refused(table: TileTable, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="32 tiles do not fill one batch of 33"):
        TileSource(table, batch_size=33)
    with pytest.raises(SlideError, match=r"There is no slide at .*gone\.svs"):
        TileSource(TileTable.from_columns(tmp_path / "gone.svs", x=[0], y=[0], size=256), batch_size=1)
    mixed = TileTable.concat([table, TileTable.from_columns(table.slides[0], x=[0], y=[0], size=128, label=[0])])
    with pytest.raises(ArgumentError, match="mixes window sizes from 128 to 256 pixels: give tile_size"):
        TileSource(mixed, batch_size=4)
    with pytest.raises(ArgumentError, match="num_workers=0"):
        TileSource(table, batch_size=4, num_workers=0)
    plans = PlanSource(CellMix(), tile_size=128, batch_size=4, patch_size=32, fix_ratio=0.5)
    with pytest.raises(ArgumentError, match=r"drawn for 4 images of \(128, 128\), a batch has 4 of \(256, 256\)"):
        TileSource(table, batch_size=4, plans=plans)
    with pytest.raises(ArgumentError, match=r"drawn for 4 images .* a batch has 8 of"):
        TileSource(table, batch_size=8, plans=plans)
    plans = PlanSource(CellMix(), tile_size=256, batch_size=4, patch_size=32, fix_ratio=0.5)
    with pytest.raises(ArgumentError, match="must be full"):
        TileSource(table, batch_size=4, plans=plans, drop_last=False)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"x": [900], "y": [0]}, "lies over the edge of its level of 1024 x 1024"),
        ({"x": [0], "y": [0], "level": 9}, "There is no such level"),
    ],
)
def test_a_tile_outside_its_slide_is_named(table: TileTable, place: dict[str, Any], words: str) -> None:
    source = TileSource(TileTable.from_columns(table.slides[0], size=256, **place), batch_size=1)
    with pytest.raises(CellMixDaliError, match=words):
        batch(source, 0, 0)
    source.close()
