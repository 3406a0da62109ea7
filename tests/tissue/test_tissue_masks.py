"""Masks of whole slides: found, read from pictures of every kind, drawn from annotations."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from PIL import Image

from cellmix_dali import grid_tiles, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides import Box, Level
from cellmix_dali.tables.grids import tissue_shares
from cellmix_dali.tissue import tissue_mask
from cellmix_dali.tissue.slide_mask import find_tissue, mask_from_geojson, mask_from_png, mask_of_pixels


def slide_of(path, width=4000, height=2000):
    return SimpleNamespace(path=path / "a.svs", levels=(Level(width, height, 1.0),), bounds=Box(0, 0, width, height))


def feature(coordinates, name=None, kind="Polygon"):
    properties = {} if name is None else {"classification": {"name": name}}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def square(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def geojson(path, *features):
    file = path / "a.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


HALF = np.zeros((50, 100), bool)
HALF[10:, 40:] = True


def as_rgba(mask):
    # White everywhere, but transparent where there is no tissue.
    return np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask.astype(np.uint8) * 255])


def as_palette(mask):
    # Index 0 is green, index 1 black: it is the colour that counts.
    picture = Image.frombytes("P", mask.shape[::-1], (~mask).astype(np.uint8).tobytes())
    picture.putpalette([0, 200, 0, 0, 0, 0] + [0] * 750)
    return picture


@pytest.mark.parametrize(
    "make",
    [
        lambda mask: Image.fromarray(mask),
        lambda mask: Image.fromarray(mask.astype(np.uint8)),
        lambda mask: Image.fromarray(mask.astype(np.uint8) * 255),
        lambda mask: Image.fromarray(mask.astype(np.uint16) * 3),
        lambda mask: Image.fromarray(np.dstack([mask * 0, mask * 0, mask * 9]).astype(np.uint8)),
        lambda mask: Image.fromarray(as_rgba(mask)),
        lambda mask: Image.fromarray(as_rgba(mask)).convert("LA"),
        as_palette,
    ],
    ids=["1 bit", "0 and 1", "0 and 255", "16 bit", "coloured", "alpha", "grey and alpha", "palette"],
)
def test_pictures_of_every_kind(tmp_path, make):
    make(HALF).save(tmp_path / "m.png")
    mask = mask_from_png(tmp_path / "m.png", slide_of(tmp_path))
    assert (mask.pixels == HALF).all()
    assert mask.scale == (40.0, 40.0)
    assert mask.method == "picture"
    np.testing.assert_allclose(mask.shares([1600, 1400, 0], [400, 0, 0], 400, 800), [1, 0.25, 0], atol=1e-6)
    assert mask.area_mm2(0.5) == pytest.approx(2400 * 1600 * 0.25 / 1e6)


def test_a_palette_with_transparency(tmp_path):
    picture = as_palette(~HALF)
    picture.putpalette([0, 200, 0, 200, 0, 0] + [0] * 750)  # both colours are bright, the first is transparent
    picture.save(tmp_path / "m.png", transparency=0)
    assert (mask_from_png(tmp_path / "m.png", slide_of(tmp_path)).pixels == HALF).all()


@pytest.mark.parametrize("size", [(100, 51), (99, 50), (1000, 505), (4000, 2000)])
def test_proportions_may_be_rounded(tmp_path, size):
    Image.new("L", size, 255).save(tmp_path / "m.png")
    mask = mask_from_png(tmp_path / "m.png", slide_of(tmp_path))
    # Whatever its size, it covers the slide to its edges.
    np.testing.assert_allclose(mask.shares([3900], [1900], 100, 100), [1], atol=1e-6)
    np.testing.assert_allclose(mask.shares([3900], [1900], 200, 100), [0.5], atol=1e-6)


def test_large_pictures_are_reduced(tmp_path):
    pixels = np.zeros((4100, 8203), np.uint8)
    pixels[1000:2000, 3000:4500] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = mask_from_png(tmp_path / "m.png", slide_of(tmp_path, 16406, 8200))
    assert max(mask.pixels.shape) <= 4096
    assert mask.area_mm2(1.0) == pytest.approx(2000 * 3000 / 1e6, rel=0.005)
    np.testing.assert_allclose(mask.shares([6100, 8900], [2100, 2100], [100, 200], 100), [1, 0.5], atol=0.03)


@pytest.mark.parametrize("size", [(50, 100), (100, 60), (100, 40)])
def test_other_proportions_are_refused(tmp_path, size):
    Image.new("L", size, 255).save(tmp_path / "m.png")
    with pytest.raises(ArgumentError, match=rf"m\.png has {size[0]} x {size[1]} pixels .* 4000 x 2000"):
        mask_from_png(tmp_path / "m.png", slide_of(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"no picture", "it is not a picture, or a damaged one"), (b"", "it is not a picture")],
)
def test_files_that_are_no_pictures(tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        mask_from_png(tmp_path / "m.png", slide_of(tmp_path))


def test_a_cut_off_picture_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 100), np.uint8)
    Image.fromarray(noise).save(tmp_path / "m.png")
    content = (tmp_path / "m.png").read_bytes()
    (tmp_path / "m.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArgumentError, match=r"Cannot read the mask .*m\.png"):
        mask_from_png(tmp_path / "m.png", slide_of(tmp_path))


def test_holes_islands_and_classes(tmp_path):
    file = geojson(
        tmp_path,
        feature([square(400, 400, 1200), square(600, 600, 800)], "Tumor"),
        feature([square(800, 800, 200)]),  # an island in the hole, without a class
        feature([[square(2000, 200, 400)], [square(3000, 200, 400)]], "Stroma", "MultiPolygon"),
        feature([3500, 1500], "Tumor", "Point"),
    )
    slide = slide_of(tmp_path)
    whole = mask_from_geojson(file, slide, 1000)
    assert whole.pixels.shape == (500, 1000)
    assert whole.scale == (4.0, 4.0)
    assert whole.method == "annotations"
    at = {"ring": (500, 500), "hole": (700, 700), "island": (850, 850), "stroma": (3200, 400), "point": (3500, 1500)}
    seen = {name: bool(whole.shares([x - 20], [y - 20], 40, 40)[0] == 1) for name, (x, y) in at.items()}
    assert seen == {"ring": True, "hole": False, "island": True, "stroma": True, "point": False}
    area = (1200**2 - 800**2 + 200**2 + 2 * 400**2) / 1e6
    assert whole.area_mm2(1.0) == pytest.approx(area, rel=0.02)
    stroma = mask_from_geojson(file, slide, 1000, classes=["Stroma"])
    assert stroma.area_mm2(1.0) == pytest.approx(2 * 400**2 / 1e6, rel=0.03)


def test_overlapping_polygons_count_once_and_holes_stay_only_where_nothing_covers_them(tmp_path):
    file = geojson(tmp_path, feature([square(500, 500, 1000), square(800, 800, 400)]), feature([square(800, 800, 400)]))
    mask = mask_from_geojson(file, slide_of(tmp_path), 1000)
    assert mask.area_mm2(1.0) == pytest.approx(1.0, rel=0.01)


def test_rendered_annotations_agree_with_their_polygons(rendered):
    with open_slide(rendered[0].path) as slide:
        mask = mask_from_geojson(rendered[0].annotations, slide, 512)
        table = grid_tiles(slide, 128)
        shares = tissue_shares(slide, table, mask=mask)
    region = shapely.union_all(read_geojson(rendered[0].annotations).polygons)
    boxes = shapely.box(table.x, table.y, table.x + 128, table.y + 128)
    np.testing.assert_allclose(shares, shapely.area(shapely.intersection(boxes, region)) / 128**2, atol=0.03)


@pytest.mark.parametrize(
    ("features", "how", "message"),
    [
        ([], {}, "has no polygon"),
        ([feature([5, 5], "Tumor", "Point")], {}, "has no polygon"),
        ([feature([square(10, 10, 50)], "Tumor")], {"classes": ["Tumour"]}, "Did you mean 'Tumor'"),
        ([feature([square(10, 10, 50)])], {"classes": ["Tumor"]}, "no polygon with a class"),
        ([feature([square(9000, 10, 50)])], {}, r"lie beyond .*a\.svs \(4000 x 2000 pixels\)"),
        ([feature([square(10, 10, 50)])], {"classes": "Tumor"}, "a list of names"),
        ([feature([square(10, 10, 50)])], {"max_size": 0}, "max_size=0"),
    ],
)
def test_annotations_that_cannot_be_drawn(tmp_path, features, how, message):
    with pytest.raises(ArgumentError, match=message):
        mask_from_geojson(geojson(tmp_path, *features), slide_of(tmp_path), **how)


def test_annotations_that_cannot_be_read(tmp_path):
    with pytest.raises(ArgumentError, match="there is no file at"):
        mask_from_geojson(tmp_path / "b.geojson", slide_of(tmp_path))
    (tmp_path / "b.geojson").write_text("{")
    with pytest.raises(ArgumentError, match=re.escape(str(tmp_path / "b.geojson")) + ".*not JSON"):
        mask_from_geojson(tmp_path / "b.geojson", slide_of(tmp_path))


def test_tissue_of_a_slide(rendered):
    with open_slide(rendered[0].path) as slide:
        mask = find_tissue(slide, 512)
        picture = slide.thumbnail(256)
        again = find_tissue(slide, thumbnail=picture)
        assert mask.method == "colour"
        assert mask.pixels.shape == (512, 512)
        assert mask.scale == (2.0, 2.0)
        assert (mask.pixels == tissue_mask(slide.thumbnail(512))).all()
        assert again.pixels.shape == (256, 256)
        assert again.area_mm2(0.5) == pytest.approx(mask.area_mm2(0.5), rel=0.05)
        with pytest.raises(ArgumentError, match="proportions"):
            find_tissue(slide, thumbnail=picture[:100])
        with pytest.raises(ArgumentError, match="bool array"):
            mask_of_pixels(np.ones((256, 256)), slide)
