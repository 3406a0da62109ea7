"""Tissue masks on real pictures, and the share of tissue in tiles against plain counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
from PIL import Image

from cellmix_dali.errors import ArgumentError
from cellmix_dali.synthetic import render_tissue
from cellmix_dali.tissue import tissue_mask, tissue_share

SLIDES = Path(__file__).parents[2] / "shared" / "slides"


def real(name):
    path = SLIDES / name
    if not path.exists():
        pytest.skip(f"{path} is not there: real slides are not part of the project")
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
        ("diagnostic-slide-thumb-rgb.png", 0.6, 0.8),
        ("tcga-lung-rgb.png", 0.7, 0.85),
        ("CMU-1-Small-Region.svs", 0.3, 0.42),
    ],
)
def test_share_on_real_pictures(name, least, most):
    assert least <= tissue_mask(real(name)).mean() <= most


def test_cmu_tissue_lies_where_it_is_seen():
    mask = tissue_mask(real("CMU-1-Small-Region.svs"))
    assert mask[192:, 240:320].mean() > 0.95
    assert mask[:, :60].mean() < 0.01
    assert mask[:, 500:].mean() < 0.05


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
        (np.ones((5, 5), bool), {"width": [-1]}, "not above 0"),
    ],
)
def test_share_refuses(mask, change, message):
    given = {"x": [0], "y": [0], "width": [1], "height": [1], "scale": 1.0} | change
    with pytest.raises(ArgumentError, match=message):
        tissue_share(mask, **given)
