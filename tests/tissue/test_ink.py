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


def coloured(hue: float, saturation: float, top: int) -> tuple[int, int, int]:
    """A red: `hue` from 0, pure, towards 1, magenta, or towards -1, yellow."""
    chroma = saturation * top
    green, blue = top - chroma + max(-hue, 0) * chroma, top - chroma + max(hue, 0) * chroma
    return top, round(green), round(blue)


def is_ink(strong: tuple[int, int, int], beside: tuple[int, int, int]) -> bool:
    """Whether the far end of a stroke on glass is ink, of which the near end is strong ink."""
    picture = np.full((200, 600, 3), 243, np.uint8)
    picture[80:120, 100:500] = beside
    picture[80:120, 60:100] = strong
    ink = ink_mask(picture)[92:108, 300:480]
    assert ink.all() or not ink.any()
    return bool(ink.all())


RED, BLUE, BLACK = (165, 7, 5), (50, 80, 190), (15, 15, 15)


@pytest.mark.parametrize(
    ("strong", "inside", "outside"),
    [
        # Strong by itself: hue, purity and brightness of red; how much less red than green there is, and how pure.
        (None, coloured(0.10, 0.94, 150), coloured(0.10, 0.90, 150)),
        (None, coloured(0.10, 0.95, 145), coloured(0.10, 0.95, 135)),
        (None, coloured(0.40, 0.95, 180), coloured(0.44, 0.95, 180)),
        (None, coloured(-0.23, 0.95, 180), coloured(-0.27, 0.95, 180)),
        (None, (125, 160, 200), (131, 160, 200)),
        (None, (100, 135, 160), (100, 127, 160)),
        (None, (110, 160, 161), (116, 158, 161)),
        (None, (60, 58, 175), (66, 60, 175)),
        (None, (32, 32, 32), (38, 38, 38)),
        # Beside red ink: crimson, pale red, deep red.
        (RED, coloured(0.39, 0.60, 180), coloured(0.45, 0.60, 180)),
        (RED, coloured(-0.22, 0.60, 180), coloured(-0.28, 0.60, 180)),
        (RED, coloured(0.10, 0.58, 180), coloured(0.10, 0.52, 180)),
        (RED, coloured(0.29, 0.45, 215), coloured(0.35, 0.45, 215)),
        (RED, coloured(0.28, 0.43, 215), coloured(0.28, 0.37, 215)),
        (RED, coloured(0.28, 0.45, 206), coloured(0.28, 0.45, 195)),
        (RED, coloured(0.02, 0.45, 215), coloured(-0.03, 0.45, 215)),
        (RED, coloured(0.52, 0.70, 150), coloured(0.58, 0.70, 150)),
        (RED, coloured(0.50, 0.68, 150), coloured(0.50, 0.62, 150)),
        # Beside blue ink: pale of any cold colour, and blue with more red.
        (BLUE, (172, 186, 190), (180, 186, 190)),
        (BLUE, (130, 120, 205), (140, 120, 205)),
        (BLUE, (122, 112, 200), (122, 112, 180)),
        # Beside black ink: grey, dark enough, and no brown.
        (BLACK, (90, 90, 90), (135, 135, 135)),
        (BLACK, (125, 122, 120), (122, 120, 127)),
        (BLACK, (90, 76, 71), (90, 70, 62)),
    ],
)
def test_limits_of_ink_from_both_sides(strong, inside, outside):
    assert is_ink(strong or inside, inside)
    assert not is_ink(strong or outside, outside)
