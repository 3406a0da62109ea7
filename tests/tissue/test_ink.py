"""Pens drawn over pictures of tissue, and tissue that must not be taken for ink."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from cellmix_dali.synthetic import render_tissue
from cellmix_dali.tissue.ink import ink_mask

# What a pen lets through of red, green and blue light: along a stroke, and where it was put down.
PENS = {
    "blue": ((0.42, 0.60, 0.88), (0.30, 0.45, 0.80)),
    "violet": ((0.30, 0.30, 0.80), (0.20, 0.20, 0.70)),
    "green": ((0.35, 0.66, 0.60), (0.10, 0.30, 0.28)),
    "red": ((0.90, 0.30, 0.42), (0.68, 0.03, 0.02)),
    "black": ((0.30, 0.28, 0.30), (0.06, 0.06, 0.06)),
}
# Tissue at the size of a thumbnail: nothing darker or purer was seen on real ones.
TISSUE = {
    "lymphocytes": (110, 75, 155),
    "blue nuclei": (120, 112, 170),
    "keratin": (85, 38, 81),
    "eosin": (200, 90, 135),
    "blood": (190, 40, 50),
    "clotted blood": (150, 24, 32),
    "fresh blood": (215, 70, 60),
    "brown stain": (120, 75, 45),
    "pale blue counterstain": (165, 175, 205),
}


def textured(colour, height=400, width=600):
    """A picture of glass with a large piece of tissue of one colour, with grain."""
    picture = np.full((height, width, 3), 243.0)
    picture[60:-60, 80:-80] = colour
    grain = np.random.default_rng(0).normal(0, 10, (height, width, 1))
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def drawn(picture, pen, points, width=16):
    """A stroke over a picture, begun with a dot; and where it is."""
    stroke, dot = (Image.new("L", (picture.shape[1], picture.shape[0])) for _ in range(2))
    ImageDraw.Draw(stroke).line(points, fill=255, width=width, joint="curve")
    (x, y), radius = points[0], width // 2 + 2
    ImageDraw.Draw(dot).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    light = np.ones(picture.shape)
    for mark, passed in zip((stroke, dot), PENS[pen], strict=True):
        cover = np.asarray(mark.filter(ImageFilter.GaussianBlur(1.2)))[..., None] / 255
        light = np.minimum(light, 1 - cover * (1 - np.array(passed)))
    return (picture * light).astype(np.uint8), np.asarray(stroke) > 0


@pytest.mark.parametrize("pen", PENS)
def test_a_stroke_on_glass_is_ink(pen):
    picture, stroke = drawn(np.full((400, 600, 3), 243, np.uint8), pen, [(40, 40), (300, 200), (560, 60)])
    ink = ink_mask(picture)
    assert ink[stroke].mean() > 0.99
    assert ink.mean() < 3 * stroke.mean()  # and what shines beside it


@pytest.mark.parametrize("pen", ["blue", "green", "black"])
def test_a_stroke_over_tissue_is_ink_and_tissue_beside_it_is_not(pen):
    picture, stroke = drawn(textured((175, 120, 165)), pen, [(40, 40), (300, 300), (560, 60)])
    ink = ink_mask(picture)
    assert ink[stroke].mean() > 0.95
    assert ink.mean() < 1.6 * stroke.mean()


@pytest.mark.parametrize("tissue", TISSUE)
def test_tissue_is_no_ink(tissue):
    assert not ink_mask(textured(TISSUE[tissue])).any()


@pytest.mark.parametrize("pen", PENS)
@pytest.mark.parametrize("tissue", ["lymphocytes", "eosin"])
def test_a_pen_beside_tissue_does_not_take_it_along(tissue, pen):
    picture, _ = drawn(textured(TISSUE[tissue]), pen, [(30, 30), (570, 30), (570, 370)])
    assert ink_mask(picture)[100:-100, 120:-120].mean() < 0.01


def test_rendered_tissue_has_no_ink():
    pixels, _ = render_tissue(1024, 1024, seed=4)
    assert not ink_mask(pixels).any()


def test_large_pictures_are_the_same_as_reduced_ones():
    picture, _ = drawn(textured((175, 120, 165), 500, 1000), "green", [(40, 40), (300, 300), (900, 60)], 30)
    large = np.repeat(np.repeat(picture, 3, axis=0), 3, axis=1)
    small, whole = ink_mask(picture), ink_mask(large)
    assert whole.shape == (1500, 3000)
    assert (whole[1::3, 1::3] == small).mean() > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 2)])
def test_small_pictures(shape):
    assert ink_mask(np.full((*shape, 3), 240, np.uint8)).shape == shape


def flat_stroke(colour, core=(205, 8, 15)):
    """A stroke of one colour on glass, put down in strong red; and where it is, less its rim."""
    picture = np.full((400, 600, 3), 243, np.uint8)
    picture[100:140, 60:540] = colour
    picture[105:135, 60:100] = core
    inside = np.zeros(picture.shape[:2], bool)
    inside[108:132, 120:530] = True
    return picture, inside


@pytest.mark.parametrize(
    ("colour", "is_ink"),
    [
        ((160, 30, 95), True),  # deep: hue 0.5, between crimson (below 0.42) and magenta
        ((160, 30, 108), False),  # hue 0.6: nearer to magenta, as eosin is
        ((160, 62, 111), False),  # hue 0.5, but as pale as eosin: saturation 0.61
        ((230, 120, 145), True),  # pale and bright: hue 0.23
        ((190, 100, 120), False),  # the same, darker than pale ink on glass
    ],
)
def test_what_is_connected_to_red_ink(colour, is_ink):
    picture, inside = flat_stroke(colour)
    ink = ink_mask(picture)
    assert ink[110:130, 70:90].all()
    assert ink[inside].mean() > 0.99 if is_ink else ink[inside].mean() < 0.2
    alone, _ = flat_stroke(colour, core=colour)
    assert not ink_mask(alone).any()  # without strong ink none of them is
