"""Class masks: polygons point by point as Shapely sees them, shared edges without gaps or overlaps, slide files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from cellmix_dali import open_slide
from cellmix_dali.annotations import Annotations
from cellmix_dali.annotations.class_masks import PolygonMask, SlideMask
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides.grey_blocks import GreyBlocks
from cellmix_dali.slides.levels import Box
from cellmix_dali.synthetic import RenderedSlide

CLASSES = ("stroma", "tumour", "necrosis")


def blob(random: np.random.Generator, points: int = 24, holes: bool = True) -> Any:
    angles = np.sort(random.random(points)) * 2 * np.pi
    radius = random.uniform(10, 60, points)
    centre = random.uniform(20, 110, 2)
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + centre
    polygon = shapely.make_valid(shapely.Polygon(outline))
    return polygon.difference(shapely.Point(centre).buffer(8)) if holes else polygon


def middles(start: float, count: int, step: float) -> NDArray[np.float64]:
    return start + (np.arange(count) + 0.5) * step


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.5, 1.0, 1.7, 4.0]))
def test_every_point_is_where_shapely_sees_it_and_later_classes_win(seed: int, step: float) -> None:
    random = np.random.default_rng(seed)
    names = tuple(random.choice([*CLASSES, "other"], 5).tolist())
    polygons = tuple(blob(random) for _ in names)
    if not set(names) & set(CLASSES):
        names = ("tumour", *names[1:])
    x, y = middles(random.integers(-10, 40), 50, step), middles(random.integers(-10, 40), 37, step)
    want = np.full((37, 50), 9, np.uint8)
    for value, name in enumerate(CLASSES, 1):
        for polygon, of in zip(polygons, names, strict=True):
            if of == name:
                want[shapely.contains_xy(polygon, *np.meshgrid(x, y))] = value
    found = PolygonMask(Annotations(polygons, names), CLASSES, unannotated=9).at(x, y)
    np.testing.assert_array_equal(found, want)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_neighbours_that_share_edges_leave_no_gap_and_do_not_overlap(seed: int) -> None:
    """Corners on the middles of pixels, edges through them: every point is in just one triangle."""
    random = np.random.default_rng(seed)
    corners = [(0.5, 0.5), (40.5, 0.5), (40.5, 30.5), (0.5, 30.5)]
    inner = tuple(float(value) + 0.5 for value in random.integers(1, 30, 2))
    triangles = [shapely.Polygon([corners[n], corners[(n + 1) % 4], inner]) for n in range(4)]
    x, y = middles(0, 42, 1.0), middles(0, 32, 1.0)
    covered = [PolygonMask(Annotations((one,), ("a",)), ("a",)).at(x, y) for one in triangles]
    total = np.sum(covered, axis=0)
    want = np.zeros((32, 42), int)
    want[:30, :40] = 1  # what is on the left and upper edge is in, on the right and lower edge out
    np.testing.assert_array_equal(total, want)


def test_windows_of_any_place_and_size_agree() -> None:
    random = np.random.default_rng(3)
    mask = PolygonMask(Annotations(tuple(blob(random) for _ in range(4)), ("a", "b", "a", "b")), ("a", "b"))
    whole = mask.at(middles(0, 128, 1.0), middles(0, 128, 1.0))
    assert set(np.unique(whole)) == {0, 1, 2}
    for _ in range(20):
        left, top = random.integers(0, 100, 2)
        part = mask.at(middles(left, 28, 1.0), middles(top, 20, 1.0))
        np.testing.assert_array_equal(part, whole[top : top + 20, left : left + 28])


def test_polygons_of_no_class_that_was_asked_for() -> None:
    square = (shapely.box(0, 0, 5, 5),)
    with pytest.raises(ArgumentError, match=r"polygons of 'Tumor', and none of the classes 'tumour'"):
        PolygonMask(Annotations(square, ("Tumor",)), ("tumour",))
    points = middles(0, 8, 1.0)
    assert (PolygonMask(Annotations((), ()), ("tumour",), unannotated=255).at(points, points) == 255).all()


# -------------------------------------------------------------------------------------------------------- slide files


@pytest.fixture
def mask_file(tmp_path: Path) -> Callable[..., tuple[Path, list[NDArray[np.uint8]]]]:
    def make(
        height: int = 192, width: int = 256, levels: int = 2, values: int = 4, **options: Any
    ) -> tuple[Path, list[NDArray[np.uint8]]]:
        pixels = np.random.default_rng(0).integers(0, values, (height, width), np.uint8)
        pyramid = [pixels[:: 2**n, :: 2**n] for n in range(levels)]
        path = tmp_path / "mask.tif"
        with tifffile.TiffWriter(path) as file:
            for number, level in enumerate(pyramid):
                how: dict[str, Any] = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"} | options
                file.write(level, subfiletype=int(number > 0), **how)
        return path, pyramid

    return make


def test_a_mask_is_read_by_nearest_from_the_level_that_fits(mask_file: Any) -> None:
    """The slide has twice the mask's pixels and begins at (16, 32); a step of 2 is its level 0, of 4 its level 1."""
    path, pyramid = mask_file()
    frame = Box(16, 32, 512, 384)
    mask = SlideMask(open_slide(path), frame, 4)
    for step, level, repeat in ((1.0, 0, 2), (2.0, 0, 1), (3.9, 0, None), (4.0, 1, 1), (2.0, 0, 1)):
        x, y = middles(16 + 32, 40, step), middles(32 + 64, 24, step)
        found = mask.at(x, y)
        down = 2 * 2**level
        want = pyramid[level][np.ix_(((y - 32) // down).astype(int), ((x - 16) // down).astype(int))]
        np.testing.assert_array_equal(found, want)
        if repeat:
            first, side = pyramid[level][64 // down :, 32 // down :], (24 // repeat, 40 // repeat)
            whole = first[: side[0], : side[1]].repeat(repeat, 0).repeat(repeat, 1)
            np.testing.assert_array_equal(found, whole)
    # Beyond it nothing is known.
    found = mask.at(middles(8, 12, 2.0), middles(24, 8, 2.0))
    assert (found[:4] == 255).all()
    assert (found[:, :4] == 255).all()
    np.testing.assert_array_equal(found[4:, 4:], pyramid[0][:4, :8])
    assert (mask.at(middles(600, 4, 2.0), middles(32, 4, 2.0)) == 255).all()
    mask.close()


def test_masks_that_would_be_silently_wrong_are_refused(mask_file: Any) -> None:
    whole = Box(0, 0, 256, 192)
    path, _ = mask_file(values=6)
    points = middles(0, 64, 1.0)
    mask = SlideMask(open_slide(path), whole, 4)
    with pytest.raises(SlideError, match=r"has the value [45]: with values=4 they go from 0 to 3"):
        mask.at(points, points)
    mask.close()
    with pytest.raises(ArgumentError, match="256 x 192 pixels, what it should show 256 x 100"):
        SlideMask(open_slide(path), Box(0, 0, 256, 100), 6)


def test_masks_that_are_compressed_with_loss_are_refused(rendered: list[RenderedSlide]) -> None:
    for of in rendered:
        with open_slide(of.path) as slide, pytest.raises(ArgumentError, match=r"compressed as JPEG.*may change values"):
            SlideMask(slide, Box(0, 0, 1024, 1024), 4)


def test_coloured_masks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "colour.tif"
    pixels = np.random.default_rng(0).integers(0, 3, (128, 128, 3), np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib", photometric="rgb")
    mask = SlideMask(open_slide(path), Box(0, 0, 128, 128), 4)
    with pytest.raises(SlideError, match="is coloured"):
        mask.at(middles(0, 32, 1.0), middles(0, 32, 1.0))
    mask.close()


@pytest.mark.parametrize(
    ("options", "here"),
    [
        ({"compression": "zlib"}, True),
        ({"compression": "zlib", "predictor": True}, True),
        ({"compression": None}, True),
        ({"compression": "zlib", "photometric": "rgb"}, False),
        ({"compression": "zlib", "bigtiff": True}, True),
    ],
    ids=str,
)
def test_grey_blocks_are_openslides_pixels(tmp_path: Path, options: dict[str, Any], here: bool) -> None:
    """Of blocks that the picture does not fill, over its edges, and of blocks without bytes; else OpenSlide reads."""
    path, how = tmp_path / "mask.tif", dict(options)
    pixels = np.random.default_rng(2).integers(0, 200, (150, 210), np.uint8)
    given = {"photometric": "minisblack"} | how
    with tifffile.TiffWriter(path, bigtiff=given.pop("bigtiff", False)) as file:
        file.write(pixels if here else np.stack([pixels] * 3, axis=2), tile=(64, 48), **given)
    blocks = GreyBlocks(path)
    assert ((210, 150) in blocks) == here
    with open_slide(path) as slide:
        places = ((0, 0, 210, 150), (40, 60, 30, 70), (-5, 130, 40, 40), (205, -3, 20, 10), (300, 0, 4, 4))
        for x, y, width, height in places:
            want = slide.read_region(0, x, y, width, height)[..., 0]
            if here:
                np.testing.assert_array_equal(blocks.read((210, 150), x, y, width, height), want)
        mask = SlideMask(slide, Box(0, 0, 210, 150), 255)
        np.testing.assert_array_equal(mask.at(middles(0, 210, 1.0), middles(0, 150, 1.0)), pixels)
        mask.close()
    blocks.close()


def test_damaged_blocks_are_told(mask_file: Any) -> None:
    path, _ = mask_file(levels=1)
    blocks = GreyBlocks(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        offset, count = page.dataoffsets[1], page.databytecounts[1]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    assert blocks.read((256, 192), 0, 0, 64, 64).max() < 4
    with pytest.raises(SlideError, match=r"Cannot read block 1, 0 \(column, row\)"):
        blocks.read((256, 192), 0, 0, 65, 64)
    path.write_bytes(data[: offset + 3])
    with pytest.raises(SlideError, match=r"of its .* bytes are in the file"):
        blocks.read((256, 192), 64, 0, 1, 1)
    blocks.close()
    path.write_bytes(b"no TIFF")
    with pytest.raises(SlideError, match="Cannot read"):
        GreyBlocks(path)
