"""A slide and the same one turned about its diagonal: whatever is said of the one across is said of the other down."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from slide_files import Pixels, directory, picture, write_tiff

from cellmix_dali import TileTable, evaluate_loader, grid_tiles, open_slide, read_tiles
from cellmix_dali.pipelines import read_table
from cellmix_dali.slides import Slide
from cellmix_dali.slides.scales import true_scales
from cellmix_dali.tables.grids import tissue_shares

WIDTH, HEIGHT, WIDE, HIGH = 420, 230, 64, 32
Pair = tuple[Slide, Slide]


def lossless(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg2000", no_jp2=True)
    return out.getvalue()


def turned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.swapaxes(pixels, -3, -2))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two levels of blocks that are twice as wide as high, and the other way round; 0.25 microns per pixel."""
    whole = picture(WIDTH, HEIGHT, seed=3).copy()
    whole[:90, :200] = 243  # glass
    slides = []
    for number, fine in enumerate((whole, turned(whole))):
        wide, high = (WIDE, HIGH) if number == 0 else (HIGH, WIDE)
        tags = {"encode": lossless, "photometric": 2, "compression": 34712, "pixels_per_cm": 40000}
        levels = [
            directory(fine, wide, down=high, **tags),
            directory(np.ascontiguousarray(fine[::2, ::2]), wide, down=high, subfiletype=1, **tags),
        ]
        slides.append(open_slide(write_tiff(tmp_path_factory.mktemp("turned") / f"{number}.tiff", levels)))
    yield slides[0], slides[1]
    for slide in slides:
        slide.close()


def both(table: TileTable, pair: Pair) -> TileTable:
    """The same tiles of the other slide, in the same order."""
    columns = {"x": table.y, "y": table.x, "size": table.size, "level": table.level}
    return TileTable.from_columns(str(pair[1].path), **columns, label=table.label)


def test_levels(pair: Pair) -> None:
    one, other = pair
    assert one.route == other.route == "direct"
    assert [(of.width, of.height) for of in one.levels] == [(WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2)]
    for a, b in zip(one.levels, other.levels, strict=True):
        assert (a.block_width, a.block_height) == (b.block_height, b.block_width) == (WIDE, HIGH)
        assert (a.columns, a.rows) == (b.rows, b.columns) == (-(-a.width // WIDE), -(-a.height // HIGH))
        assert (a.width, a.height, a.downsample) == (b.height, b.width, b.downsample)


def test_blocks_and_regions(pair: Pair) -> None:
    one, other = pair
    for level, of in enumerate(one.levels):
        assert of.columns is not None
        assert of.rows is not None
        for column, row in itertools.product(range(of.columns), range(of.rows)):
            blocks = one.block(level, column, row), other.block(level, row, column)
            a, b = (np.asarray(Image.open(io.BytesIO(block or b""))) for block in blocks)
            np.testing.assert_array_equal(a, turned(b))
        for x, y, width, height in ((0, 0, 9, 5), (61, 30, 100, 40), (-7, 20, 33, 44), (190, 100, 60, 50)):
            region = one.read_region(level, x, y, width, height)
            assert region.shape == (height, width, 3)
            np.testing.assert_array_equal(region, turned(other.read_region(level, y, x, height, width)))
    for size in (420, 100, 7):
        pictures = one.thumbnail(size), turned(other.thumbnail(size))
        assert pictures[0].shape == (round(HEIGHT * size / WIDTH), size, 3)
        assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 8  # rounded once a side


@pytest.mark.parametrize("edge", ["skip", "pad"])
@pytest.mark.parametrize(("size", "level", "overlap"), [(50, 0, 0), (48, 1, 8), (32, 0, 5), (64, 0, 0)])
def test_tiles_and_their_pixels(pair: Pair, size: int, level: int, overlap: int, edge: str) -> None:
    tables = [grid_tiles(of, size, level=level, overlap=overlap, edge=edge) for of in pair]  # type: ignore[arg-type]
    places = [set(zip(table.x.tolist(), table.y.tolist(), strict=True)) for table in tables]
    assert places[0] == {(y, x) for x, y in places[1]}
    step, of = size - overlap, pair[0].levels[level]
    last = [side - (size if edge == "skip" else 1) for side in (of.width, of.height)]
    assert places[0] == {(x, y) for x in range(0, last[0] + 1, step) for y in range(0, last[1] + 1, step)}
    table = tables[0].with_labels(np.arange(len(tables[0])) % 3)
    same = both(table, pair)
    pixels = read_table(table, edge=edge)
    np.testing.assert_array_equal(pixels, turned(read_table(same, edge=edge)))
    for number in (0, len(table) - 1):
        x, y = int(table.x[number]), int(table.y[number])
        np.testing.assert_array_equal(pixels[number], pair[0].read_region(level, x, y, size, size))
    mask = np.random.default_rng(0).random((HEIGHT // 10, WIDTH // 10)) < 0.4
    shares = tissue_shares(pair[0], table, mask=mask), tissue_shares(pair[1], same, mask=mask.T)
    np.testing.assert_allclose(*shares, atol=1e-5)
    assert len(np.unique(shares[0])) > len(table) // 4
    if edge == "skip":
        shown = []
        for of_one in (table, same):
            plain = {"mean": (0, 0, 0), "std": (1 / 255,) * 3, "num_classes": 3}
            with evaluate_loader(of_one, batch_size=8, **plain) as loader:
                batches = [batch["images"].numpy() for batch in loader]
            shown.append(np.concatenate(batches))
        np.testing.assert_array_equal(shown[0], np.swapaxes(shown[1], 2, 3))


def test_places_given_by_hand(pair: Pair) -> None:
    places = np.array([(3, 70), (200, 11), (300, 150)])
    for more in ({}, {"level": 1}, {"mpp": 0.4}):
        within = places // 2 if more else places
        one = read_tiles(pair[0].path, within, 40, **more)
        other = turned(read_tiles(pair[1].path, within[:, ::-1], 40, **more))
        assert np.abs(one.astype(int) - other).max() <= 1  # what is resized is rounded


@pytest.mark.parametrize(
    ("whole", "levels", "block"),
    [
        ((20000, 30000), [(10240, 15104), (5120, 7552)], (256, 128)),
        ((9000, 7000), [(3072, 2432)], (256, 128)),
        ((20000, 16000), [(5000, 4000), (1280, 431)], (256, 128)),
        ((1000, 700), [(256, 128)], (256, 128)),
        ((4096, 3000), [(2048, 1536), (1024, 768)], (512, 256)),
        ((4100, 3000), [(2048, 1501), (1025, 750)], None),
        ((5000, 900), [(2498, 451), (2497, 453), (2503, 447)], None),
    ],
)
def test_scales(whole: tuple[int, int], levels: list[tuple[int, int]], block: tuple[int, int] | None) -> None:
    sizes = [whole, *levels]
    downsamples = [(whole[0] / width + whole[1] / height) / 2 for width, height in sizes]
    one, notes = true_scales(sizes, [block] * len(sizes), downsamples)
    swapped = None if block is None else block[::-1]
    other, more = true_scales([size[::-1] for size in sizes], [swapped] * len(sizes), downsamples)
    assert [(of.number, of.width, of.height, of.downsample, of.file_width, of.file_height) for of in one] == [
        (of.number, of.height, of.width, of.downsample, of.file_height, of.file_width) for of in other
    ]
    assert len(notes) == len(more)
