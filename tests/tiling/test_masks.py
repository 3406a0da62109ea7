"""Where tissue is, as the user says it: pictures and annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from tiling_jobs import serial

from cellmix_dali.annotations import read_geojson
from cellmix_dali.shards import open_tiles
from cellmix_dali.tiling import TilingSettings


def test_a_mask_for_each_slide(slides: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    Image.fromarray(left).save(folder / "slide-1.png")
    Image.fromarray(left.T).save(folder / "slide-2.tiff.png")
    settings = TilingSettings(tile_size=128, mask=folder, coords_only=True)
    result = serial(slides, tmp_path / "out", settings)
    assert [slide.status for slide in result.slides] == ["done", "done", "failed"]
    assert "slide-3.png" in result.failed[0].reason
    table = open_tiles(tmp_path / "out")
    assert len(table) == 2 * 32
    assert table.x[table.slide == 0].max() == 512 - 128
    assert table.y[table.slide == 1].max() == 512 - 128
    assert table.x[table.slide == 1].max() == 1024 - 128


def test_a_mask_that_changed_makes_its_slide_anew(slides: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for slide in slides[:2]:
        Image.new("1", (64, 64), 1).save(folder / f"{slide.stem}.png")
    settings = TilingSettings(tile_size=256, mask=folder, shard_size=4)
    assert serial(slides[:2], tmp_path / "out", settings).tiles == 32
    Image.fromarray(np.eye(64, dtype=bool) * np.uint8(255)).save(folder / "slide-1.png")
    result = serial(slides[:2], tmp_path / "out", settings, resume=True)
    assert result.changed == (slides[0],)
    assert [slide.tiles for slide in result.slides] == [0, 16]
    assert not list((tmp_path / "out" / "shards").glob("slide-1-*"))


def test_regions(slides: list[Path], tmp_path: Path) -> None:
    settings = TilingSettings(tile_size=64, annotations=slides[0].parent, tissue=0.9, coords_only=True)
    serial(slides[:1], tmp_path / "out", settings)
    table = open_tiles(tmp_path / "out")
    assert table.label is None
    annotated = shapely.union_all(read_geojson(slides[0].with_suffix(".geojson")).polygons)
    tiles = shapely.box(table.x, table.y, table.x + 64, table.y + 64)
    shares = shapely.area(shapely.intersection(tiles, annotated)) / 64**2
    assert len(table) > 20
    assert shares.min() > 0.8
    assert table.arrow["tissue"].to_numpy() == pytest.approx(shares, abs=0.1)


def test_masks_are_not_shared(slides: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "slide-1.svs"
    other.write_bytes(slides[0].read_bytes())
    with pytest.raises(ValueError, match="would share"):
        serial([slides[0], other], tmp_path / "out", TilingSettings(mask=tmp_path))


def test_a_class_that_no_annotation_has_is_named(slides: list[Path], tmp_path: Path) -> None:
    settings = TilingSettings(
        tile_size=64, annotations=slides[0].parent, classes=("stroma", "tumor"), tissue=0, coords_only=True
    )
    assert serial(slides[:1], tmp_path / "out", settings).empty_classes == ("tumor",)


def test_a_file_name_that_is_not_utf_8_fails_alone(slides: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    (folder / "good.tiff").write_bytes(slides[1].read_bytes())
    (folder / b"bad\xff.tiff".decode("utf-8", "surrogateescape")).write_bytes(slides[1].read_bytes())
    result = serial(folder, tmp_path / "out", TilingSettings(tile_size=256, tissue=0))
    assert [slide.status for slide in result.slides] == ["failed", "done"]
    assert "bad\\xff.tiff. Its name is not UTF-8: rename the file" in result.failed[0].reason
    assert len(open_tiles(tmp_path / "out")) == result.tiles > 0


def test_a_job_without_a_tile_has_a_table_all_the_same(slides: list[Path], tmp_path: Path) -> None:
    mask = tmp_path / "masks"
    mask.mkdir()
    Image.new("1", (64, 64), 0).save(mask / "slide-1.png")
    result = serial(slides[:1], tmp_path / "out", TilingSettings(tile_size=256, mask=mask))
    assert result.tiles == 0
    assert len(open_tiles(tmp_path / "out")) == 0
