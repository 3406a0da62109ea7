"""Slides in stores in an index, and indexes in stores."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from store_server import StoreServer

from cellmix_dali import TileSource, TileTable, grid_tiles
from cellmix_dali.collection import CollectionIndex, IndexSettings, index as index_module, make_index
from cellmix_dali.errors import ArgumentError, NotReadError, SlideError
from cellmix_dali.pipelines import read_tiles
from cellmix_dali.slides import open_slide
from cellmix_dali.synthetic import RenderedSlide


def test_a_url_is_opened_by_its_store(
    rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://host.example/slides/a.svs"
    index = make_index([rendered[0].path], tmp_path / "a.index", workers=0)
    opened: list[object] = []
    monkeypatch.setattr(index_module, "open_slide", opened.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index.open(url)
    assert opened == [url]
    assert index.tissue(url, "density", 1024) is None


@pytest.fixture
def urls(store: StoreServer, rendered: list[RenderedSlide]) -> list[str]:
    for slide in rendered:
        store.objects[f"archive/{slide.path.name}"] = slide.path.read_bytes()
    return [f"s3://archive/{slide.path.name}" for slide in rendered]


@pytest.mark.parametrize("out", ["a.index", "s3://archive/a.index"])
def test_an_index_opens_slides_of_a_store_without_a_request(
    store: StoreServer,
    urls: list[str],
    rendered: list[RenderedSlide],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: str,
) -> None:
    place = out if "://" in out else tmp_path / out
    made = make_index([*urls, rendered[0].path], place, IndexSettings(mpp=0.5), workers=0)
    assert {*made} == {*urls, str(rendered[0].path)}
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another machine"))
    index = CollectionIndex(place)
    count = len(store.asked)
    for url, local in zip(urls, rendered, strict=True):
        with index.open(url) as slide, open_slide(local.path) as expected:
            assert slide.levels == expected.levels
            assert slide.mpp == expected.mpp
            assert len(store.asked) == count
            np.testing.assert_array_equal(slide.read_region(1, 7, 9, 200, 150), expected.read_region(1, 7, 9, 200, 150))
            places = [(0, 0), (300, 100), (700, 600)]
            np.testing.assert_array_equal(read_tiles(slide, places, 224), read_tiles(expected, places, 224))
        count = len(store.asked)
    masks = [index.tissue(each, "density", 1024) for each in (urls[0], rendered[0].path)]
    assert masks[0] is None or np.array_equal(masks[0].pixels, masks[1].pixels)


def test_a_slide_that_changed_in_its_store_is_told_and_looked_at_again(
    store: StoreServer, urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.index"
    make_index(urls, path, workers=0)
    count = len(store.asked)
    make_index(urls, path, workers=0)  # nothing is read again
    assert sum(of.length for of in store.asked[count:] if of.method == "GET") == 0
    name = urls[0].removeprefix("s3://")
    store.objects[name] += b"more"
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another machine"))
    slide = CollectionIndex(path).open(urls[0])
    with pytest.raises(NotReadError, match=r"has changed since it was opened: .* up to date .cellmix-dali index"):
        slide.read_region(0, 500, 500, 100, 100)
    make_index(urls, path, workers=0)
    assert CollectionIndex(path).open(urls[0]).read_region(0, 500, 500, 100, 100).shape == (100, 100, 3)


@pytest.mark.usefixtures("store")
def test_an_index_that_is_not_in_the_store(urls: list[str]) -> None:
    with pytest.raises(ArgumentError, match=r"The index is not there: there is no file at .*s3://archive/none.index"):
        CollectionIndex("s3://archive/none.index")
    assert len(make_index(urls, "s3://archive/new.index", workers=0)) == 2
    assert len(make_index(urls[:1], "s3://archive/new.index", workers=0)) == 2  # the others stay in it


def test_a_loader_asks_for_no_slide_that_the_index_has(
    store: StoreServer, urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(urls, tmp_path / "a.index", workers=0)
    table = TileTable.concat([grid_tiles(index.open(url), 256) for url in urls])
    options = {"batch_size": 4, "shuffle": False, "num_workers": 1, "retry_seconds": 0.0}
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another machine"))
    count = len(store.asked)
    source = TileSource(table, index=index.path, **options)
    began = [of for of in store.asked[count:] if of.method == "HEAD"]
    assert began == []
    source.close()
    with pytest.raises(SlideError, match=r"There is no slide at s3://archive/none\.svs"):
        TileSource(
            TileTable.from_columns(["s3://archive/none.svs"] * 4, x=[0] * 4, y=[0] * 4, size=[256] * 4, level=[0] * 4),
            index=index.path,
            **options,
        )
    # One that is there no longer is told when it is read.
    del store.objects[urls[0].removeprefix("s3://")]
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "a third machine"))
    source = TileSource(table, index=index.path, **options)
    with pytest.raises(NotReadError, match=rf"{urls[0]} was not read: it, or what was kept of it, is no longer there"):
        source.deliver(0, 0)
    source.close()
