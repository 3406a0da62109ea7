"""Tissue masks on real pictures, and the share of tissue in tiles against plain counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
from PIL import Image

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.synthetic import render_tissue
from cellmix_dali.tissue import tissue_mask, tissue_share
from cellmix_dali.tissue.glass import glass_of

SLIDES = Path(__file__).parents[3] / "shared" / "slides"


def real_path(name):
    path = SLIDES / name
    if not path.exists():
        pytest.skip(f"{path} is not there: real slides are not part of the project")
    return path


def real(name):
    path = real_path(name)
    if path.suffix == ".svs":
        with openslide.OpenSlide(path) as slide:
            picture = slide.associated_images["thumbnail"]
    else:
        picture = Image.open(path)
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("histolab-tile-no-tissue.png", 0.0, 0.005),
        ("torchstain-source.png", 0.97, 1.0),
        ("torchstain-target.png", 0.95, 1.0),
        ("stardist-histo.jpg", 0.99, 1.0),
        ("diagnostic-slide-thumb-rgb.png", 0.28, 0.38),
        ("wsi-blue-pen.png", 0.38, 0.5),
        ("tcga-lung-rgb.png", 0.7, 0.88),
        ("CMU-1-Small-Region.svs", 0.3, 0.42),
    ],
)
def test_share_on_real_pictures(name, least, most):
    assert least <= tissue_mask(real(name)).mean() <= most


@pytest.mark.parametrize(
    ("name", "what", "rows", "columns"),
    [
        ("diagnostic-slide-thumb-rgb.png", "left of the upper rings", (165, 190), (130, 172)),
        ("diagnostic-slide-thumb-rgb.png", "below the rings", (412, 432), (150, 290)),
        ("diagnostic-slide-thumb-rgb.png", "left of the right ring", (345, 375), (375, 410)),
        ("diagnostic-slide-thumb-rgb.png", "inside a ring of black pen", (274, 288), (268, 288)),
        ("wsi-blue-pen.png", "the upper strand", (20, 50), (97, 115)),
        ("wsi-blue-pen.png", "the middle", (72, 100), (62, 95)),
        ("CMU-1-Small-Region.svs", "epidermis", (184, 225), (270, 315)),
        ("CMU-1-Small-Region.svs", "dark keratin", (225, 285), (368, 397)),
        ("CMU-1-Small-Region.svs", "dermis", (637, 750), (225, 300)),
        ("tcga-lung-rgb.png", "a black nucleus at the left rim", (170, 195), (0, 20)),
        ("tcga-lung-rgb.png", "a red blood cell", (95, 107), (322, 334)),
    ],
)
def test_tissue_is_found(name, what, rows, columns):
    share = tissue_mask(real(name))[slice(*rows), slice(*columns)].mean()
    assert share > 0.9, f"{what}: {share:.2f}"


@pytest.mark.parametrize(
    ("name", "what", "rows", "columns"),
    [
        ("diagnostic-slide-thumb-rgb.png", "a green stroke above", (25, 40), (225, 395)),
        ("diagnostic-slide-thumb-rgb.png", "a green stroke on the left", (335, 420), (28, 45)),
        ("diagnostic-slide-thumb-rgb.png", "a red stroke on the left", (75, 150), (33, 45)),
        ("diagnostic-slide-thumb-rgb.png", "a pale red stroke on the right", (240, 350), (452, 464)),
        ("diagnostic-slide-thumb-rgb.png", "a ring of black pen on tissue", (302, 325), (386, 391)),
        ("diagnostic-slide-thumb-rgb.png", "where a black pen was put down", (115, 128), (80, 95)),
        ("diagnostic-slide-thumb-rgb.png", "glass", (0, 525), (0, 15)),
        ("diagnostic-slide-thumb-rgb.png", "the shadow of the lower rim", (510, 525), (0, 468)),
        ("wsi-blue-pen.png", "a blue stroke on the right", (57, 80), (146, 174)),
        ("wsi-blue-pen.png", "a pale blue stroke below", (100, 133), (150, 163)),
        ("wsi-blue-pen.png", "a blue stroke above", (0, 3), (159, 174)),
        ("wsi-blue-pen.png", "glass", (112, 133), (100, 140)),
        ("CMU-1-Small-Region.svs", "glass on the left, with a speck", (0, 768), (0, 14)),
        ("CMU-1-Small-Region.svs", "glass on the right, with a speck", (525, 768), (525, 574)),
    ],
)
def test_pens_and_glass_are_no_tissue(name, what, rows, columns):
    share = tissue_mask(real(name))[slice(*rows), slice(*columns)].mean()
    assert share < 0.02, f"{what}: {share:.2f}"


def test_lymph_nodes_are_tissue_and_dust_is_not():
    # Dense, dark blue-purple; grey grains and rings of dust on glass that is a little pink.
    with open_slide(real_path("gcp-camelyon-multiframe-jpeg.dcm")) as slide:
        mask = tissue_mask(slide.thumbnail(1024))
    for rows, columns in (((200, 270), (90, 200)), ((200, 320), (610, 700)), ((130, 250), (400, 430))):
        assert mask[slice(*rows), slice(*columns)].mean() > 0.98
    for rows, columns in (((0, 40), (0, 1024)), ((400, 420), (400, 430)), ((580, 622), (0, 1024))):
        assert not mask[slice(*rows), slice(*columns)].any()


def test_mask_follows_the_rendered_outline():
    pixels, regions = render_tissue(768, 768, seed=1)
    inside = np.zeros((768, 768), bool)
    ys, xs = np.mgrid[:768, :768]
    for _, polygon in regions:
        inside |= shapely.contains_xy(polygon, xs, ys)
    mask = tissue_mask(pixels)
    assert (mask & inside).sum() / (mask | inside).sum() > 0.9
    assert not mask[~inside].all()


@pytest.mark.parametrize("grey", [255, 243, 128, 0])
def test_no_colour_is_no_tissue(grey):
    noise = np.random.default_rng(0).integers(-4, 5, (200, 300, 3))
    assert tissue_mask(np.clip(grey + noise, 0, 255).astype(np.uint8)).mean() < 0.001


@pytest.mark.parametrize("method", ["density", "saturation"])
@pytest.mark.parametrize("white", [(240, 236, 205), (215, 228, 240), (246, 246, 246), (255, 255, 255)])
def test_tinted_glass_is_no_tissue(white, method):
    picture = np.full((300, 400, 3), 1.0)
    picture[100:200, 100:300] = (0.85, 0.6, 0.75)
    noise = np.random.default_rng(0).normal(0, 1, picture.shape)
    mask = tissue_mask(np.clip(picture * white + noise, 0, 255).astype(np.uint8), method)
    inside = np.zeros_like(mask)
    inside[100:200, 100:300] = True
    assert (mask & inside).sum() / (mask | inside).sum() > 0.9


@pytest.mark.parametrize(
    ("colour", "share", "known"),
    [
        ((243, 243, 243), 0.2, True),
        ((255, 255, 255), 0.2, True),  # overexposed
        ((243, 243, 243), 0.001, False),
        ((255, 255, 255), 0.001, False),
        ((94, 94, 94), 0.2, True),  # a dim scan
        ((82, 82, 82), 0.2, False),
        ((240, 220, 196), 0.2, True),  # yellowed
        ((240, 210, 180), 0.2, False),
        ((240, 238, 243), 0.2, True),
        ((240, 225, 243), 0.2, False),  # pink: pale tissue
    ],
)
def test_what_glass_may_look_like(colour, share, known):
    picture = np.random.default_rng(0).integers(60, 140, (200, 300, 3), dtype=np.uint8)
    picture[..., 1] //= 2
    rows = round(share * 200)
    picture[: max(rows, 1)] = colour
    found = glass_of(picture)
    assert (found is not None) == known
    if found is not None:
        seen, where, sample = found
        np.testing.assert_array_equal(seen, colour)
        assert where.shape == sample.shape[:2] == (200, 300)
        assert not where[rows:].any()
        assert where[4 : rows - 4, 4:-4].all()


def test_black_surroundings_change_nothing():
    pixels, _ = render_tissue(512, 512, seed=2)
    framed = np.zeros((600, 700, 3), np.uint8)
    framed[40:552, 100:612] = pixels
    mask = tissue_mask(framed)
    assert not mask[:36].any()
    assert not mask[:, :96].any()
    assert (mask[40:552, 100:612] == tissue_mask(pixels)).mean() > 0.98


def test_thin_lines_of_a_cover_slip_are_no_tissue():
    picture = np.full((400, 600, 3), 244, np.uint8)
    picture[:, 50:52] = (190, 185, 160)
    picture[350:353] = (200, 200, 180)
    picture[100:200, 200:400] = (220, 140, 190)
    mask = tissue_mask(picture)
    assert not mask[:, :100].any()
    assert not mask[300:].any()
    assert mask[105:195, 205:395].all()


def test_even_stain_is_tissue_up_to_the_rim():
    assert tissue_mask(np.full((90, 70, 3), (230, 170, 200), np.uint8)).all()


def test_specks_go_and_small_gaps_close():
    picture = np.full((200, 200, 3), 245, np.uint8)
    picture[20:22, 20:22] = (180, 60, 140)
    picture[80:180, 80:180] = (220, 140, 190)
    picture[120:123, 120:123] = 245
    mask = tissue_mask(picture)
    assert not mask[:60, :60].any()
    assert mask[85:175, 85:175].all()
    assert mask.sum() == pytest.approx(100 * 100, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 2)])
def test_small_pictures(shape):
    assert tissue_mask(np.full((*shape, 3), (200, 100, 150), np.uint8)).all()


@pytest.mark.parametrize("pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)])
def test_mask_refuses(pixels):
    with pytest.raises(ArgumentError, match=r"uint8 pixels \(height, width, 3\)"):
        tissue_mask(pixels)


def test_share_equals_counting():
    rng = np.random.default_rng(0)
    mask = rng.random((60, 80)) < 0.4
    x, y = rng.integers(0, 60, 50), rng.integers(0, 40, 50)
    w, h = rng.integers(1, 20, 50), rng.integers(1, 20, 50)
    share = tissue_share(mask, x * 16, y * 16, w * 16, h * 16, scale=16)
    expected = [mask[b : b + d, a : a + c].mean() for a, b, c, d in zip(x, y, w, h, strict=True)]
    assert share.dtype == np.float32
    np.testing.assert_allclose(share, expected, atol=1e-6)


def test_pixels_covered_in_part_count_in_part():
    mask = np.zeros((4, 4), bool)
    mask[:, 2:] = True
    mask[3] = False
    x, y = np.array([10.0, 15.0, 19.0]), np.array([0.0, 5.0, 29.0])
    # Scale 10: tissue is x 20 to 40, y 0 to 30. The tiles are 20 x 20.
    expected = [0.5, 0.75, 19 / 20 * 1 / 20]
    np.testing.assert_allclose(tissue_share(mask, x, y, 20, 20, scale=10), expected, atol=1e-6)


def test_scales_across_and_down_may_differ():
    mask = np.zeros((4, 8), bool)
    mask[2:, 4:] = True
    share = tissue_share(mask, [0, 60, 80], [0, 60, 80], 40, 40, scale=(20.0, 40.0))
    np.testing.assert_allclose(share, [0, 0.25, 1], atol=1e-6)


def test_beyond_the_mask_is_no_tissue():
    mask = np.ones((5, 5), bool)
    share = tissue_share(mask, [0, 40, -20, 500], [0, 40, 0, 500], 20, 20, scale=10)
    np.testing.assert_allclose(share, [1, 0.25, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "change", "message"),
    [
        (np.ones((5, 5)), {}, "bool mask"),
        (np.ones(5, bool), {}, "bool mask"),
        (np.ones((5, 5), bool), {"scale": 0}, "scale 0"),
        (np.ones((5, 5), bool), {"scale": (2.0, -1.0)}, "not above 0"),
        (np.ones((5, 5), bool), {"width": [-1]}, "not above 0"),
    ],
)
def test_share_refuses(mask, change, message):
    given = {"x": [0], "y": [0], "width": [1], "height": [1], "scale": 1.0} | change
    with pytest.raises(ArgumentError, match=message):
        tissue_share(mask, **given)
