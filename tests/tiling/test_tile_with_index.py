"""A tiling job with an index of its slides: the same tiles, and nothing is looked at twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from store_server import StoreServer
from tiling_jobs import SMALL, assert_same, tree

from cellmix_dali.collection import CollectionIndex
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import laying
from cellmix_dali.tiling import JobShard, TilingSettings, tile_slides

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]


def tiles(folder: Path) -> dict[str, bytes]:
    """What a job has made, but for the pictures, which are the index's."""
    return {name: content for name, content in tree(folder).items() if name.startswith(("shards", "tiles.parquet"))}


@pytest.fixture
def slides(rendered: list[RenderedSlide]) -> list[Path]:
    return [slide.path for slide in rendered]


@pytest.mark.parametrize("settings", [SMALL, TilingSettings(128, tissue=0, shard_size=9), TilingSettings(200, mpp=1.0)])
def test_tiles_are_the_same_and_tissue_is_looked_for_once(
    slides: list[Path], tmp_path: Path, settings: TilingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tile_slides(slides, tmp_path / "plain", settings, workers=0)
    place = tmp_path / "collection.index"
    first = tile_slides(slides, tmp_path / "first", settings, index=place, workers=0)
    assert set(CollectionIndex(place)) == {str(path) for path in slides}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked for tissue that the index knows")

    monkeypatch.setattr(laying, "look_for_tissue", never)
    monkeypatch.setattr(laying, "thumbnail_of", never)
    second = tile_slides(slides, tmp_path / "second", settings, index=place, workers=0)
    assert plain.tiles == first.tiles == second.tiles > 0
    for folder in ("first", "second"):
        assert_same(tiles(tmp_path / folder), tiles(tmp_path / "plain"))
        assert len(list((tmp_path / folder / "overviews").glob("*.jpg"))) == 2
    areas = [slide.tissue_mm2 for slide in plain.slides]
    assert [slide.tissue_mm2 for slide in second.slides] == areas


def test_workers_and_shards_use_it(run: Run, slides: list[Path], tmp_path: Path) -> None:
    place = tmp_path / "collection.index"
    with pytest.raises(CellMixDaliError, match=r"collection\.index"):  # a shard makes none: others would, too
        tile_slides(slides, tmp_path / "shards", SMALL, index=place, shard=JobShard(1, 2), workers=0)
    options = ("--tile-size", 256, "--tissue", 0.2, "--shard-size", 4, "--index", place, "--workers", 1)
    code, _, err = run("tile", *slides, "--out", tmp_path / "out", *options)
    assert code == 0, err
    tile_slides(slides, tmp_path / "plain", SMALL, workers=0)
    assert_same(tiles(tmp_path / "out"), tiles(tmp_path / "plain"))
    for number in (1, 2):
        tile_slides(
            slides, tmp_path / "in shards", SMALL, index=place, shard=JobShard(number, 2), workers=0, resume=number > 1
        )
    tile_slides(slides, tmp_path / "in shards", SMALL, index=place, workers=0, resume=True)
    assert_same(tiles(tmp_path / "in shards"), tiles(tmp_path / "plain"))


def test_a_slide_that_has_changed_is_looked_at_anew(slides: list[Path], tmp_path: Path) -> None:
    path, place = tmp_path / "slide.svs", tmp_path / "collection.index"
    shutil.copy(slides[0], path)
    tile_slides([path], tmp_path / "first", SMALL, index=place, workers=0)
    shutil.copy(slides[1], path)
    tile_slides([path], tmp_path / "second", SMALL, index=place, workers=0)
    tile_slides([path], tmp_path / "plain", SMALL, workers=0)
    assert_same(tiles(tmp_path / "second"), tiles(tmp_path / "plain"))


def test_a_slide_that_cannot_be_opened_fails_alone(slides: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"II*\0" + bytes(100))
    result = tile_slides([slides[0], bad], tmp_path / "out", SMALL, index=tmp_path / "collection.index", workers=0)
    assert [slide.status for slide in result.slides] == ["done", "failed"]


def test_slides_and_index_may_lie_in_a_store(store: StoreServer, slides: list[Path], tmp_path: Path) -> None:
    for path in slides:
        store.objects[f"archive/in/{path.name}"] = path.read_bytes()
    place = "s3://archive/collection.index"
    stored = tile_slides("s3://archive/in", tmp_path / "stored", SMALL, index=place, workers=0)
    assert "archive/collection.index" in store.objects
    again = tile_slides("s3://archive/in", tmp_path / "again", SMALL, index=place, workers=0)
    plain = tile_slides(slides, tmp_path / "plain", SMALL, workers=0)
    assert stored.tiles == again.tiles == plain.tiles
    assert_same(tiles(tmp_path / "stored"), tiles(tmp_path / "again"))
