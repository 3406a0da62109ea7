"""Rendered slides: OpenSlide reads back what was drawn, and the drawing has what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide
import pytest
import shapely
import tifffile

from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError
from cellmix_dali.synthetic import CLASSES, render_slides, render_tissue, write_slide


@pytest.fixture(scope="module")
def tissue() -> tuple[npt.NDArray[np.uint8], list[tuple[str, shapely.Polygon]]]:
    return render_tissue(900, 700, seed=3)


def read(slide: openslide.OpenSlide, level: int) -> npt.NDArray[np.uint8]:
    return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB"))


def difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b)


@pytest.mark.parametrize(
    ("suffix", "vendor", "factor", "mean", "most"),
    [(".svs", "aperio", 4, 3.0, 60), (".tif", "generic-tiff", 2, 5.0, 130)],
)
def test_openslide_reads_what_was_written(tissue, tmp_path, suffix, vendor, factor, mean, most):
    pixels, _ = tissue
    path = tmp_path / f"slide{suffix}"
    write_slide(path, pixels, mpp=0.25)
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == vendor
        assert slide.level_dimensions == tuple((700 // factor**n, 900 // factor**n) for n in range(3))
        for axis in "xy":
            assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(0.25, rel=1e-6)
        assert slide.properties["openslide.level[0].tile-width"] == "256"
        lost = difference(read(slide, 0), pixels)
        # 4:2:0 loses more of the colours at the nuclei's edges than RGB does.
        assert lost.mean() < mean
        assert lost.max() < most
        rows, columns = 900 // factor, 700 // factor
        boxes = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
        assert difference(read(slide, 1), boxes.mean((1, 3)).round().astype(np.uint8)).mean() < mean + 2


def test_svs_carries_aperios_facts(tissue, tmp_path):
    path = tmp_path / "slide.svs"
    write_slide(path, tissue[0], mpp=0.5)
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["aperio.AppMag"] == "20"
        assert slide.properties["openslide.objective-power"] == "20"
        thumbnail = slide.associated_images["thumbnail"].convert("RGB")
        assert thumbnail.height == 768
        middle = np.asarray(slide.get_thumbnail(thumbnail.size))
        assert difference(np.asarray(thumbnail), np.asarray(middle)).mean() < 8


def test_svs_blocks_are_abbreviated_rgb(tissue, tmp_path):
    path = tmp_path / "slide.svs"
    write_slide(path, tissue[0])
    with tifffile.TiffFile(path) as tif:
        assert [page.is_tiled for page in tif.pages] == [True, False, True, True]
        for page in tif.pages:
            assert page.photometric == tifffile.PHOTOMETRIC.RGB
            assert page.jpegtables[:4] == b"\xff\xd8\xff\xdb"
            tif.filehandle.seek(page.dataoffsets[0])
            block = tif.filehandle.read(page.databytecounts[0])
            assert block[:4] == b"\xff\xd8\xff\xc0"  # nothing before the frame: no APP14, no tables
            assert block[13::3][:3] == b"\x11\x11\x11"  # sampling of the three components: none is smaller
            assert block.endswith(b"\xff\xd9")


def test_generic_blocks_stand_alone_as_ycbcr_420(tissue, tmp_path):
    path = tmp_path / "slide.tiff"
    write_slide(path, tissue[0])
    with tifffile.TiffFile(path) as tif:
        assert [page.is_reduced for page in tif.pages] == [False, True, True]
        for page in tif.pages:
            assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
            assert page.jpegtables is None
            tif.filehandle.seek(page.dataoffsets[-1])
            block = tif.filehandle.read(page.databytecounts[-1])
            assert block[6:10] == b"JFIF"
            frame = block.index(b"\xff\xc0\x00\x11")
            assert block[frame + 11 :: 3][:3] == b"\x22\x11\x11"
            assert block[frame + 5 : frame + 9] == b"\x01\x00\x01\x00"  # 256 x 256, at the edge too
            assert b"\xff\xdb" in block[:frame]


def test_levels_end_before_they_vanish(tissue, tmp_path):
    write_slide(tmp_path / "slide.svs", tissue[0][:300, :300], levels=5, block=64)
    with openslide.OpenSlide(tmp_path / "slide.svs") as slide:
        assert slide.level_dimensions == ((300, 300), (75, 75), (18, 18))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.jpg", {}, r"suffix '\.jpg'.*\.svs"),
        ("a.svs", {"mpp": 0.0}, "mpp 0.0"),
        ("a.svs", {"block": 250}, "block 250"),
        ("a.svs", {"quality": 100}, "quality 100"),
        ("a.svs", {"levels": 0}, "levels 0"),
    ],
)
def test_write_refuses(tissue, tmp_path, name, change, message):
    with pytest.raises(ArgumentError, match=message):
        write_slide(tmp_path / name, tissue[0], **change)
    assert not (tmp_path / name).exists()


def test_write_refuses_other_pixels(tmp_path):
    with pytest.raises(ArgumentError, match=r"float32 \(64, 64, 3\)"):
        write_slide(tmp_path / "a.svs", np.zeros((64, 64, 3), np.float32))


def test_regions_and_glass(tissue):
    pixels, regions = tissue
    areas = {name: sum(polygon.area for n, polygon in regions if n == name) for name in CLASSES}
    whole = pixels.shape[0] * pixels.shape[1]
    assert 0.45 < sum(areas.values()) / whole < 0.9
    assert 0.4 < areas["tumour"] / sum(areas.values()) < 0.6
    union = shapely.union_all([polygon for _, polygon in regions])
    assert union.area == pytest.approx(sum(areas.values()), rel=0.005)  # the classes do not overlap
    assert shapely.box(0, 0, pixels.shape[1], pixels.shape[0]).buffer(1).contains(union)
    ys, xs = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    glass = ~shapely.contains_xy(union.buffer(24), xs, ys)
    assert pixels[glass].min() > 215
    assert pixels[shapely.contains_xy(union, xs, ys)].mean() < 205


def test_tumour_has_more_chromatin():
    dark = {name: [] for name in CLASSES}
    for seed in range(3):
        pixels, regions = render_tissue(900, 900, seed=seed)
        ys, xs = np.mgrid[:900, :900]
        for name, polygon in regions:
            dark[name].append((pixels[..., 0][shapely.contains_xy(polygon, xs, ys)] < 130).mean())
    assert np.mean(dark["tumour"]) > 2 * np.mean(dark["stroma"]) > 0.02


def test_render_depends_on_the_seed_alone(tissue):
    pixels, regions = tissue
    again, same_regions = render_tissue(900, 700, seed=3)
    assert np.array_equal(again, pixels)
    assert all(a.equals(b) for (_, a), (_, b) in zip(regions, same_regions, strict=True))
    assert difference(render_tissue(900, 700, seed=4)[0], pixels).mean() > 10


@pytest.mark.parametrize(("height", "seed", "message"), [(200, 0, "200 x 700"), (900, -1, "seed -1")])
def test_render_refuses(height, seed, message):
    with pytest.raises(ArgumentError, match=message):
        render_tissue(height, 700, seed=seed)


def test_render_slides(tmp_path):
    seen = []
    first = render_slides(
        tmp_path / "a", count=3, side=768, seed=7, progress=lambda done, count: seen.append((done, count))
    )
    assert [slide.path.name for slide in first] == ["slide-1.svs", "slide-2.tiff", "slide-3.svs"]
    assert [slide.annotations.name for slide in first] == [f"slide-{n}.geojson" for n in (1, 2, 3)]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    second = render_slides(tmp_path / "b", count=3, side=768, seed=7)
    for one, other in zip(first, second, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.annotations.read_bytes() == other.annotations.read_bytes()
    assert first[0].path.read_bytes() != first[2].path.read_bytes()
    other = render_slides(tmp_path / "c", count=1, side=768, seed=8)
    assert other[0].path.read_bytes() != first[0].path.read_bytes()


def test_annotations_lie_on_the_slide(tmp_path: Path):
    (slide,) = render_slides(tmp_path, count=1, side=768)
    document = json.loads(slide.annotations.read_text())
    assert document["type"] == "FeatureCollection"
    assert {f["properties"]["objectType"] for f in document["features"]} == {"annotation"}
    annotations = read_geojson(slide.annotations)
    y, x = (v.ravel() * 64 for v in np.mgrid[:12, :12])
    labels = annotations.label_tiles(x, y, 64, 64, CLASSES, min_share=0.9)
    assert np.bincount(labels + 1, minlength=3).min() > 8
    with openslide.OpenSlide(slide.path) as opened:
        pixels = read(opened, 0)
    brightness = pixels.reshape(12, 64, 12, 64, 3).mean((1, 3, 4)).ravel()
    red = pixels[..., 0].reshape(12, 64, 12, 64).mean((1, 3)).ravel()
    covered = sum(
        shapely.area(shapely.intersection(p, shapely.box(x, y, x + 64, y + 64))) for p in annotations.polygons
    )
    assert brightness[covered == 0].min() > brightness[labels >= 0].mean() + 25
    assert red[labels == 0].mean() > red[labels == 1].mean() + 10


@pytest.mark.parametrize(("count", "seed", "message"), [(0, 0, "count 0"), (1, -2, "seed -2")])
def test_render_slides_refuses(tmp_path, count, seed, message):
    with pytest.raises(ArgumentError, match=message):
        render_slides(tmp_path, count=count, side=768, seed=seed)
