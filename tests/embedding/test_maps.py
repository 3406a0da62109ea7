"""Numbers of tiles as pictures: what is where, and that others open it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from stand_ins import patches

from cellmix_dali import TileRecipe
from cellmix_dali.embedding import (
    FeatureModel,
    embed_slides,
    feature_colours,
    read_features,
    similarity,
    write_heatmap,
    write_tiles_geojson,
)
from cellmix_dali.embedding.maps import slide_picture
from cellmix_dali.errors import ArgumentError

Run = Callable[..., tuple[int, str, str]]
GRID = np.array([(x, y) for y in range(0, 640, 64) for x in range(0, 1280, 64)])


def test_like_features_have_like_colours() -> None:
    random = np.random.default_rng(0)
    kinds = random.normal(size=(3, 20))
    kind = random.integers(0, 3, 5000)
    colours = feature_colours((kinds[kind] + 0.01 * random.normal(size=(5000, 20))).astype(np.float32)).astype(int)
    means = np.stack([colours[kind == each].mean(0) for each in range(3)])
    for each in range(3):
        assert np.abs(colours[kind == each][:, :2] - means[each][:2]).max() < 30
    apart = [np.abs(means[a] - means[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert min(apart) > 100
    few = random.normal(size=(40, 90)) * np.linspace(9, 1, 90) ** 2
    _, _, axes = np.linalg.svd(few - few.mean(0), full_matrices=False)
    scores, found = (few - few.mean(0)) @ axes[:3].T, feature_colours(few).astype(float)
    within = (found > 0) & (found < 255)
    for each in range(3):
        own = within[:, each]
        assert abs(np.corrcoef(scores[own, each], found[own, each])[0, 1]) > 0.999
    assert feature_colours(np.ones((3, 2), np.float16)).tolist() == [[128, 128, 128]] * 3
    assert feature_colours(np.empty((0, 5))).shape == (0, 3)


def test_similarity_is_the_cosine() -> None:
    features = np.array([[1, 0], [2, 0], [0, 3], [-1, 0], [0, 0]], np.float16)
    assert similarity(features, 1).tolist() == [1, 1, 0, -1, 0]
    with pytest.raises(ArgumentError, match="tile=5"):
        similarity(features, 5)


def test_a_heatmap_is_a_slide_to_openslide(tmp_path: Path) -> None:
    values = np.arange(len(GRID), dtype=float)
    values[7] = np.nan
    size = write_heatmap(tmp_path / "a.tif", values, GRID, side=64, slide_size=(6400, 1280), mpp=0.25)
    assert size == (1600, 320)
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.level_dimensions[0] == size
        assert slide.level_count == 4
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1.0)
        pixels = np.asarray(slide.read_region((0, 0), 0, size).convert("RGB"))
        coarse = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB"))
    assert pixels[160:].min() == 255 == pixels[:, 320:].min()  # beyond the tiles
    assert pixels[:16, 112:128].min() == 255  # the tile without a number
    first, last = pixels[8, 8], pixels[152, 312]
    assert first.tolist() == [68, 1, 84]
    assert last.tolist() == [253, 231, 36]
    assert (pixels[:16, :16] == first).all()
    assert coarse[4, 4].tolist() == first.tolist()
    with pytest.raises(ArgumentError, match="2 numbers and 200 tiles"):
        write_heatmap(tmp_path / "b.tif", [1, 2], GRID, side=64, slide_size=(6400, 1280))


def test_where_tiles_overlap_the_mean_counts(tmp_path: Path) -> None:
    coords = np.array([[0, 0], [32, 0]])
    write_heatmap(tmp_path / "a.tif", [0, 1], coords, side=64, slide_size=(96, 64), low=0, high=1)
    write_heatmap(tmp_path / "b.tif", [0.5], coords[:1], side=64, slide_size=(96, 64), low=0, high=1)
    with openslide.OpenSlide(tmp_path / "a.tif") as a, openslide.OpenSlide(tmp_path / "b.tif") as b:
        assert a.read_region((12, 8), 0, (1, 1)).getpixel((0, 0)) == b.read_region((4, 8), 0, (1, 1)).getpixel((0, 0))


def test_tiles_for_qupath(tmp_path: Path) -> None:
    write_tiles_geojson(tmp_path / "a.geojson", [0.25, np.nan], GRID[[1, 2]], side=64, name="likeness")
    read = json.loads((tmp_path / "a.geojson").read_text())
    assert read["type"] == "FeatureCollection"
    (tile,) = read["features"]
    assert tile["properties"] == {"objectType": "tile", "measurements": {"likeness": 0.25}}
    assert tile["geometry"]["coordinates"] == [[[64, 0], [128, 0], [128, 64], [64, 64], [64, 0]]]


def test_the_picture_of_a_slide_shows_its_tiles_where_they_are() -> None:
    features = np.where(GRID[:, :1] < 640, [[1.0, 0.0]], [[0.0, 1.0]])
    data = slide_picture(np.full((50, 100, 3), 200, np.uint8), features, GRID, side=64, slide_size=(2560, 640))
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    width = 420
    colours = pixels[18:, width + 8 : 2 * width + 8]
    left, right, beyond = colours[50, 50], colours[50, 150], colours[50, 300]
    assert np.abs(left - right).max() > 100
    assert np.abs(beyond - 200).max() < 5
    assert np.abs(pixels[60, 50] - 200).max() < 5
    slide_picture(None, np.empty((0, 2)), np.empty((0, 2), np.int64), side=64, slide_size=(64, 64))


def test_the_report_and_the_command(tiny: list[Path], tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    (tmp_path / "broken.tiff").write_bytes(b"nothing")
    recipe = TileRecipe(64, tissue=0.0, mpp=0.5)
    given = [*tiny, tmp_path / "broken.tiff"]
    embed_slides(given, out, FeatureModel(patches(), name="patches"), recipe, retry_seconds=0)
    page = (out / "job" / "report.html").read_text()
    assert "broken.tiff" in page
    for path in tiny:
        assert f"pictures/{path.stem}.jpg" in page
        with Image.open(out / "job" / "pictures" / f"{path.stem}.jpg") as picture:
            assert picture.width > 1000
    features, coords = read_features(out / "slide-1.h5")
    code, told, _ = run(
        "heatmap", out / "slide-1.h5", "--like", "70,10", "--out", tmp_path / "a.tif", "--slide", tiny[0]
    )
    assert code == 0
    assert "24 tiles" in told
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.dimensions == (96, 64)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(2.0)
    (tmp_path / "v.csv").write_text("x,y,value\n64,0,0.5\n")
    assert run("heatmap", out / "slide-1.h5", "--values", tmp_path / "v.csv", "--out", tmp_path / "v.geojson")[0] == 0
    (tile,) = json.loads((tmp_path / "v.geojson").read_text())["features"]
    assert tile["properties"]["measurements"] == {"score": 0.5}
    np.save(tmp_path / "v.npy", similarity(features, 1))
    assert run("heatmap", out / "slide-1.h5", "--values", tmp_path / "v.npy", "--out", tmp_path / "b.tif")[0] == 0
    np.save(tmp_path / "v.npy", np.zeros(3))
    (tmp_path / "w.csv").write_text("x,y,value\n65,0,0.5\n")
    (tmp_path / "u.csv").write_text("x,y\n65,0\n")
    for options, words in (
        (("--values", tmp_path / "v.npy"), "3 numbers, and there are 24 tiles"),
        (("--values", tmp_path / "w.csv"), "tile at x 65, y 0"),
        (("--values", tmp_path / "u.csv"), "no column 'value'"),
        (("--like", "9999,0"), "No tile lies at"),
        (("--like", "here"), "give X,Y"),
        ((), "one of them"),
    ):
        code, _, error = run("heatmap", out / "slide-1.h5", *options, "--out", tmp_path / "c.tif")
        assert code == 2
        assert words in error
    assert run("heatmap", out / "slide-1.h5", "--like", "70,10", "--out", tmp_path / "c.png")[0] == 2
    assert len(coords) == 24
