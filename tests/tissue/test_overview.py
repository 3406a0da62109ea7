"""Overview pictures: tiles, outline, legend and scale bar where they belong, and always the same bytes."""

from __future__ import annotations

import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cellmix_dali.errors import ArgumentError
from cellmix_dali.tissue.overview import overview_picture
from cellmix_dali.tissue.slide_mask import TissueMask

GREY = 200
LEGEND = 76  # pixels beneath the slide


def plain(width=1000, height=800):
    return np.full((height, width, 3), GREY, np.uint8)


def opened(content):
    picture = Image.open(BytesIO(content))
    assert picture.format == "JPEG"
    return np.asarray(picture.convert("RGB")).astype(int)


def draw(thumbnail=None, **how):
    given = {"slide_size": (10_000, 8_000), "x": [], "y": [], "size": 1000, "title": "a.svs"} | how
    return opened(overview_picture(plain() if thumbnail is None else thumbnail, **given))


def blue(pixels):
    return pixels[..., 2] - pixels[..., 0]


def green(pixels):
    return pixels[..., 1] - np.maximum(pixels[..., 0], pixels[..., 2])


def test_tiles_are_outlined_and_tinted_where_they_are():
    picture = draw(x=[2000, 3000], y=[1000, 1000])
    assert picture.shape == (800 + LEGEND, 1000, 3)
    lines = blue(picture[:800]) > 80
    ys, xs = np.nonzero(lines)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (100, 200, 200, 400)
    assert lines[150, 299:302].any()  # between the two
    assert not lines[110:190, 210:290].any()
    assert 5 < blue(picture)[150, 250] < 60
    assert (abs(picture[400:800] - GREY) < 6).all()


def test_a_tile_over_the_edge_is_drawn_to_the_edge():
    picture = draw(x=[9500, -500], y=[7500, -500])
    assert blue(picture)[772, 972] > 5
    assert blue(picture)[20, 20] > 5
    assert (abs(picture[100:700, 100:900] - GREY) < 6).all()


def test_the_tissue_has_an_outline():
    pixels = np.zeros((80, 100), bool)
    pixels[20:60, 30:70] = True
    picture = draw(mask=TissueMask(pixels, (100.0, 100.0), "colour"))
    line = green(picture[:800]) > 60
    ys, xs = np.nonzero(line)
    assert abs(np.array([ys.min(), ys.max(), xs.min(), xs.max()]) - [200, 600, 300, 700]).max() <= 2
    assert not line[210:590, 310:690].any()
    assert 2 * 4 * 400 * 0.8 < line.sum() < 2 * 4 * 400 * 1.3


@pytest.mark.parametrize(("count", "outlined"), [(10, True), (50, True), (400, False)])
def test_many_tiles_are_an_area_few_are_a_grid(count, outlined):
    # 10 x 10 to 400 x 400 tiles over the middle of the slide.
    step = 4000 / count
    xs, ys = np.meshgrid(3000 + step * np.arange(count), 2000 + step * np.arange(count))
    pixels = blue(draw(x=xs.ravel(), y=ys.ravel(), size=step)[:800])
    inside = pixels[210:590, 310:690]
    assert ((inside > 80).mean() > 0.03) == outlined
    assert (inside > 5).mean() > 0.9
    assert (pixels[:, :290] < 6).all()
    # The tissue beneath can be seen: most of it is tinted but little.
    assert np.median(inside) < 80


def test_the_bar_tells_the_scale():
    # 1000 pixels of 10 x 0.5 micrometres: a fifth of that is 1000 micrometres, 200 pixels.
    legend = draw(mpp=0.5)[800:]
    dark = (legend[45] < 90).all(1)
    assert dark.sum() == pytest.approx(201, abs=2)
    assert np.nonzero(dark)[0].max() == pytest.approx(988, abs=2)
    without = draw()[800:]
    assert not (without[45, 500:] < 90).any()
    # 3 x 10 micrometres a pixel: a fifth is 6000, the bar is 5 mm.
    assert (draw(mpp=3.0)[845] < 90).all(1).sum() == pytest.approx(5000 / 30, abs=2)


def test_texts_are_in_the_legend_and_long_ones_are_cut():
    empty = draw(title="", details="")[800:]
    assert (empty > 245).all()
    texts = draw(title="slide.svs", details="12 tiles")[800:]
    assert (texts[8:40, 12:200] < 100).any()
    assert (texts[45:66, 12:200] < 100).any()
    long = draw(title="Слайд-Ω-" * 60, details="x" * 900, mpp=0.5)[800:]
    assert (long[8:40, 650:770] < 100).any()  # it reaches to the bar, and not over it
    assert (long[8:40, 779:785] > 200).all()


def test_a_narrow_slide_has_room_for_its_legend():
    picture = draw(plain(100, 900), slide_size=(1000, 9000), title="a rather long name of a slide.svs", mpp=1.0)
    assert picture.shape == (900 + LEGEND, 640, 3)
    assert (picture[:900, :260] > 245).all()
    assert (abs(picture[:900, 275:365] - GREY) < 6).all()


def test_large_thumbnails_are_reduced():
    assert draw(plain(4096, 2048)).shape == (800 + LEGEND, 1600, 3)


def test_same_arguments_same_bytes():
    rng = np.random.default_rng(0)
    thumbnail = rng.integers(0, 255, (500, 700, 3), np.uint8)
    mask = TissueMask(rng.random((50, 70)) < 0.5, (100.0, 100.0), "colour")
    x, y = rng.integers(0, 6000, 300), rng.integers(0, 4000, 300)
    how = {"slide_size": (7000, 5000), "size": 200, "mask": mask, "title": "ä", "details": "b", "mpp": 0.25}
    one = overview_picture(thumbnail, x=x, y=y, **how)
    assert overview_picture(thumbnail.copy(), x=list(x), y=list(y), **how) == one
    assert overview_picture(thumbnail, x=x[::-1], y=y[::-1], **how) == one  # whatever the order
    assert overview_picture(thumbnail, x=x + 500, y=y, **how) != one


def test_a_million_tiles_take_little_time():
    xs, ys = np.meshgrid(100.0 * np.arange(1000), 80.0 * np.arange(1000))
    start = time.process_time()
    draw(plain(1600, 1280), slide_size=(100_000, 80_000), x=xs.ravel(), y=ys.ravel(), size=100)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thumbnail": np.zeros((5, 5))}, "uint8 pixels"),
        ({"slide_size": (0, 5)}, "slide_size"),
        ({"mpp": 0.0}, "mpp=0"),
        ({"mpp": float("nan")}, "mpp=nan"),
        ({"x": [1, 2], "y": [1, 2, 3]}, "x, y and size"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ArgumentError, match=message):
        draw(**change)
