"""Levels of other proportions: padded pyramids get their true scales, other pictures are not levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slide_files import directory, write_tiff

from cellmix_dali import open_slide
from cellmix_dali.pipelines import read_tiles
from cellmix_dali.slides.inspection import inspect_slide
from cellmix_dali.slides.scales import true_scales
from cellmix_dali.synthetic import render_tissue
from cellmix_dali.tables import SlideList, TileRecipe, lay_tiles, tiles_of_slides
from cellmix_dali.tiling import TilingSettings, tile_slides
from cellmix_dali.tissue.slide_mask import find_tissue

BLOCK = 256
Sizes = list[tuple[int, int]]


def judged(sizes: Sizes, block: int | None = BLOCK) -> tuple[list[tuple[int, int, int, float]], list[str]]:
    blocks = [None if block is None else (block, block)] * len(sizes)
    downsamples = [(sizes[0][0] / w + sizes[0][1] / h) / 2 for w, h in sizes]
    levels, notes = true_scales(sizes, blocks, downsamples)
    return [(of.number, of.width, of.height, of.downsample) for of in levels], notes


@pytest.mark.parametrize("rounded", [np.floor, np.ceil, np.round])
@pytest.mark.parametrize("factor", [2, 4, 3.1])
@pytest.mark.parametrize("block", [None, BLOCK])
def test_rounding_is_no_padding(rounded: Any, factor: float, block: int | None) -> None:
    """Sides that are rounded once a level, however, are as the file says."""
    sizes = [(46123, 32917)]
    while min(sizes[-1]) > 60:
        sizes.append((int(rounded(sizes[-1][0] / factor)), int(rounded(sizes[-1][1] / factor))))
    levels, notes = judged(sizes, block)
    assert notes == []
    assert [(of[1], of[2]) for of in levels] == sizes
    for _, width, height, downsample in levels:
        assert downsample == (sizes[0][0] / width + sizes[0][1] / height) / 2


def test_padding_in_proportion_is_padding_too() -> None:
    """Both sides are 2.4 % too long, so that the file's own scale fits both: but it is no whole number."""
    levels, (note,) = judged([(20000, 30000), (5120, 7680)])
    assert levels[1] == (1, 5000, 7500, 4.0)
    assert "its scale is 4, not 3.906" in note
    assert judged([(20480, 30720), (5120, 7680)]) == ([(0, 20480, 30720, 1.0), (1, 5120, 7680, 4.0)], [])


def padded(width: int, height: int, scale: int) -> tuple[int, int]:
    across, down = (-(-side // scale) for side in (width, height))
    return -(-across // BLOCK) * BLOCK, -(-down // BLOCK) * BLOCK


@pytest.mark.parametrize(("width", "height"), [(20000, 30000), (5133, 9999), (97792, 221184)])
@pytest.mark.parametrize("first", ["exact", "padded"])
def test_padded_levels_have_their_true_scale(width: int, height: int, first: str) -> None:
    scales = [scale for scale in (2, 4, 8, 16, 32) if min(width, height) / scale > 2 * BLOCK]
    whole = (width, height) if first == "exact" else padded(width, height, 1)
    levels, notes = judged([whole, *(padded(width, height, scale) for scale in scales)])
    assert [round(of[3]) for of in levels] == [1, *scales]
    for (_, across, down, downsample), scale in zip(levels[1:], scales, strict=True):
        assert abs(downsample / scale - 1) < 0.01 or downsample == scale
        assert abs(across - whole[0] / scale) <= 2
        assert abs(down - whole[1] / scale) <= 2
    assert all("is padded to whole blocks: its scale is" in note for note in notes)


def test_a_scale_that_is_not_a_power_of_two() -> None:
    levels, (note,) = judged([(9000, 7000), padded(9000, 7000, 3)])
    assert levels[1] == (1, 3000, 2334, 3.0)
    assert note.startswith("level 1 (3072 x 2560 pixels, level 0 has 9000 x 7000) is padded")
    assert "its scale is 3, not 2.832, and 3000 x 2334 of its pixels are taken" in note


def test_what_is_not_a_level_is_left_out_and_numbers_stay() -> None:
    levels, (note,) = judged([(20000, 16000), (5000, 4000), (1280, 431), (1250, 1000)])
    assert [of[0] for of in levels] == [0, 1, 3]
    assert "level 2 (1280 x 431 pixels" in note
    assert "left out: it has other proportions (1:15.62 across, 1:37.12 down)" in note


def test_a_scale_that_cannot_be_told_is_left_out() -> None:
    """One block for all of the picture: it may be four or eight times smaller."""
    levels, (note,) = judged([(1000, 700), (256, 256)])
    assert len(levels) == 1
    assert "left out: it is padded, and its scale may be 4 or 8" in note


def test_without_known_blocks_padding_is_not_thought_of() -> None:
    levels, (note,) = judged([(20000, 30000), padded(20000, 30000, 16)], None)
    assert len(levels) == 1
    assert "other proportions" in note


# ------------------------------------------------------------------------------------------------------------- slides


def reduced(pixels: np.ndarray, scale: int) -> np.ndarray:
    height, width = (side // scale * scale for side in pixels.shape[:2])
    parts = pixels[:height, :width].reshape(height // scale, scale, width // scale, scale, 3)
    return np.rint(parts.mean((1, 3))).astype(np.uint8)


def filled(pixels: np.ndarray, block: int) -> np.ndarray:
    """Padded to whole blocks, by a grey that would be seen."""
    height, width = (-(-side // block) * block for side in pixels.shape[:2])
    found = np.full((height, width, 3), 60, np.uint8)
    found[: pixels.shape[0], : pixels.shape[1]] = pixels
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One picture as an exact and as a padded pyramid: 1970 x 2600 px, levels 4 and 16 times smaller, blocks of 64."""
    folder = tmp_path_factory.mktemp("scales")
    picture = render_tissue(2600, 1970, seed=11)[0]
    picture[:, 1400:] = 243
    levels = [picture, reduced(picture, 4), reduced(picture, 16)]
    paths = []
    for name, fill in (("exact", False), ("padded", True)):
        directories = [
            directory(filled(level, 64) if fill and number else level, pixels_per_cm=20000, subfiletype=int(number > 0))
            for number, level in enumerate(levels)
        ]
        paths.append(write_tiff(folder / f"{name}.tiff", directories))
    return paths[0], paths[1]


def test_the_padded_pyramid_is_the_exact_one(pair: tuple[Path, Path]) -> None:
    with open_slide(pair[0]) as exact, open_slide(pair[1]) as slide:
        assert (exact.notes, exact.route, slide.route) == ((), "direct", "direct")
        assert len(slide.notes) == 2
        assert slide.file_levels == (0, 1, 2)
        assert [of.downsample for of in slide.levels] == [1, 4, 16]
        assert [slide.file_size(number) for number in range(3)] == [(1970, 2600), (512, 704), (128, 192)]
        for of, padded_one in zip(exact.levels, slide.levels, strict=True):
            assert abs(of.width - padded_one.width) <= 1
            assert abs(of.height - padded_one.height) <= 1
        masks = [find_tissue(of, 512).pixels for of in (exact, slide)]
        assert masks[0].shape == masks[1].shape
        assert (masks[0] != masks[1]).mean() < 0.01
        thumbnails = [of.thumbnail(300).astype(int) for of in (exact, slide)]
        assert np.abs(thumbnails[0] - thumbnails[1]).mean() < 4
        for number, of in enumerate(exact.levels):
            pixels = [s.read_region(number, 3, 5, of.width - 10, of.height - 10) for s in (exact, slide)]
            assert np.abs(pixels[0].astype(int) - pixels[1]).mean() < 3
        beyond = slide.read_region(1, 480, 640, 32, 64)
        assert (beyond[:, 493 - 480 :] == 255).all()
        assert (beyond[650 - 640 :] == 255).all()
        assert (beyond[:10, :12] < 255).any()
        for x, y in ((0, 652), (496, 0), (505, 690)):  # wholly beyond the picture, not the file
            assert (slide.read_region(1, x, y, 6, 12) == 255).all()


@pytest.mark.parametrize("mpp", [0.5, 2.0, 8.0])
def test_both_pyramids_give_the_same_tiles(pair: tuple[Path, Path], mpp: float, tmp_path: Path) -> None:
    """Through a list, and through a job, at every level; 3 % may differ."""
    size = {0.5: 128, 2.0: 64, 8.0: 16}[mpp]
    found = []
    for path in pair:
        notes: list[str] = []
        table, _ = tiles_of_slides(SlideList((path,)), TileRecipe(size, mpp=mpp, tissue=0.5), on_note=notes.append)
        assert len(notes) == (2 if path == pair[1] else 0)
        found.append(set(zip(table.x.tolist(), table.y.tolist(), table.level.tolist(), strict=True)))
    assert len(found[0]) > 20
    assert len(found[0] ^ found[1]) <= 0.03 * len(found[0])
    if mpp != 2.0:  # one job tells
        return
    counts = []
    for path in pair:
        settings = TilingSettings(tile_size=size, mpp=mpp, tissue=0.5)
        result = tile_slides([path], tmp_path / path.stem, settings, workers=0)
        report = json.loads((tmp_path / path.stem / "report.json").read_text())
        assert ("padded to whole blocks: its scale is 4" in report["slides"][0]["reason"]) == (path == pair[1])
        assert report["slides"][0]["mpp"] == pytest.approx(mpp, rel=5e-3)
        counts.append(result.tiles)
    assert abs(counts[0] - counts[1]) <= 0.03 * counts[0]
    assert counts[0] == len(found[0])


def test_read_tiles_takes_the_true_place(pair: tuple[Path, Path]) -> None:
    places = np.array([[100, 64], [1203, 900], [777, 1301]])
    pixels = [read_tiles(path, places, 64, level=1) for path in pair]
    assert np.abs(pixels[0].astype(int) - pixels[1]).mean() < 4


@pytest.fixture
def with_macro(tmp_path: Path) -> Path:
    """A macro, tiled as a level is: brown all over, which would be tissue."""
    picture = render_tissue(2600, 1970, seed=11)[0]
    picture[:, 1400:] = 243
    macro = np.full((100, 110, 3), (150, 100, 60), np.uint8)
    levels = [picture, reduced(picture, 4), reduced(picture, 16), macro]
    return write_tiff(
        tmp_path / "macro.tiff",
        [directory(of, pixels_per_cm=20000, subfiletype=int(number > 0)) for number, of in enumerate(levels)],
    )


def test_a_macro_is_no_level(with_macro: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_slide(with_macro) as slide, open_slide(pair[0]) as exact:
        assert slide.file_levels == (0, 1, 2)
        assert slide.levels == exact.levels
        (note,) = slide.notes
        assert "left out: it has other proportions" in note
        for number, of in enumerate(exact.levels):
            pixels = [s.read_region(number, 0, 0, of.width, of.height) for s in (exact, slide)]
            np.testing.assert_array_equal(pixels[0], pixels[1])
        tables = [lay_tiles(of, TileRecipe(128)).table for of in (exact, slide)]
        assert tables[0].x.tolist() == tables[1].x.tolist()
        assert tables[0].y.tolist() == tables[1].y.tolist()
        np.testing.assert_array_equal(find_tissue(slide, 100).pixels, find_tissue(exact, 100).pixels)
    result = tile_slides([with_macro], tmp_path / "out", TilingSettings(tile_size=128), workers=0)
    assert "left out: it has other proportions" in result.slides[0].reason


def test_inspect_says_it(with_macro: Path, pair: tuple[Path, Path], run: Callable[..., tuple[int, str, str]]) -> None:
    info = inspect_slide(pair[1])
    assert [of["mpp"] for of in info["levels"]] == pytest.approx([0.5, 2.0, 8.0], rel=1e-9)
    assert len(info["notes"]) == 2
    assert inspect_slide(pair[0])["notes"] == []
    _, out, _ = run("inspect", with_macro)
    assert "left out: it has other proportions" in " ".join(out.split())
