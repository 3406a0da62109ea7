"""Slides in a store: the same as from a file, by few requests; what cannot be read so is copied, and said."""

from __future__ import annotations

import pickle
import struct
import warnings

import numpy as np
import pytest
import tifffile
from dicom_files import image, write_dicom
from slide_files import directory, jpeg, picture, write_tiff

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, NotReadError, SlideError
from cellmix_dali.pipelines import read_table
from cellmix_dali.slides import tiff_fetch
from cellmix_dali.slides.block_reader import read_blocks
from cellmix_dali.slides.inspection import inspect_slide


@pytest.fixture
def svs(store, rendered):
    store.objects["archive/a folder/slide.svs"] = rendered[0].path.read_bytes()
    return rendered[0].path, "s3://archive/a folder/slide.svs"


def check_same(local, stored):
    assert local.levels == stored.levels
    assert (local.mpp, local.bounds, local.route, local.notes) == (
        stored.mpp,
        stored.bounds,
        stored.route,
        stored.notes,
    )
    for number, level in enumerate(local.levels):
        for x, y in ((0, 0), (level.width // 2 - 33, level.height // 3), (level.width - 100, level.height - 90)):
            expected = local.read_region(number, x, y, 150, 130)
            np.testing.assert_array_equal(stored.read_region(number, x, y, 150, 130), expected)
        if local.route == "direct":
            columns, rows = np.divmod(np.arange(level.columns * level.rows), level.rows)
            assert stored.blocks(number, columns, rows) == local.blocks(number, columns, rows)
    np.testing.assert_array_equal(stored.thumbnail(200), local.thumbnail(200))


@pytest.mark.parametrize("number", [0, 1], ids=["svs", "tiff"])
def test_a_slide_in_a_store_is_the_slide(store, rendered, number):
    path = rendered[number].path
    store.objects[f"archive/{path.name}"] = path.read_bytes()
    with open_slide(path) as local, open_slide(f"s3://archive/{path.name}") as stored:
        assert len(store.asked) <= 8  # directories and tables
        check_same(local, stored)
    assert inspect_slide(f"s3://archive/{path.name}") == inspect_slide(path) | {"path": f"s3://archive/{path.name}"}


@pytest.mark.parametrize("big", [False, True])
def test_large_tables_of_blocks_come_in_one_request(store, tmp_path, big):
    pixels = picture(800, 800, seed=3)
    path = write_tiff(tmp_path / "many.tiff", [directory(pixels, 16)], big=big)  # 2,500 blocks
    store.objects["b/many.tiff"] = path.read_bytes()
    stored = open_slide("s3://b/many.tiff")
    assert len(store.asked) <= 5
    assert store.sent < path.stat().st_size / 2
    check_same(open_slide(path), stored)


def test_web_servers_need_no_login(store, svs):
    path, _ = svs
    with open_slide(f"{store.address}/archive/a folder/slide.svs") as stored, open_slide(path) as local:
        check_same(local, stored)


def test_blocks_of_several_slides_come_in_one_round_and_each_once(store, rendered):
    for path in (of.path for of in rendered):
        store.objects[f"archive/{path.name}"] = path.read_bytes()
    local = [open_slide(of.path) for of in rendered]
    stored = [open_slide(f"s3://archive/{of.path.name}") for of in rendered]
    columns, rows = np.array([0, 1, 3, 0, 2, 0]), np.array([0, 0, 3, 0, 1, 0])
    which = np.array([0, 0, 0, 1, 1, 0])
    expected = read_blocks([each.block_reader(0) for each in local], which, columns, rows)
    store.asked.clear()
    store.latency = 0.2
    readers = [each.block_reader(0) for each in stored]
    found = read_blocks(readers, which, columns, rows)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ranges = [(each.path, *each.range) for each in store.asked]
    assert 2 <= len(ranges) <= 5
    for path, start, end in ranges:  # no byte twice
        assert not any(p == path and s < end and start < e for p, s, e in ranges if (p, s, e) != (path, start, end))
    store.asked.clear()
    for ours, theirs in zip(read_blocks(readers, which, columns, rows), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert store.asked == []  # what is kept is not asked for again


def test_tiles_are_read_from_a_table_that_names_urls(store, svs, tmp_path):
    path, url = svs
    with open_slide(path) as local, open_slide(url) as stored:
        expected, table = grid_tiles(local, 224, mpp=0.5), grid_tiles(stored, 224, mpp=0.5)
    assert table.slides == (url,)
    table.save(tmp_path / "tiles.parquet")
    store.objects["archive/tiles.parquet"] = (tmp_path / "tiles.parquet").read_bytes()
    table = TileTable.open("s3://archive/tiles.parquet")
    assert table.slides == (url,)
    np.testing.assert_array_equal(read_table(table, 224), read_table(expected, 224))


def test_what_only_openslide_reads_is_copied_once_and_that_is_said(store, only_openslide):
    store.objects["b/dicom/plain.dcm"] = only_openslide.read_bytes()
    store.objects["b/dicom/other.txt"] = b"not of the slide"
    with pytest.warns(UserWarning, match=r"s3://b/dicom/plain.dcm is copied before it is read .* not a TIFF"):
        stored = open_slide("s3://b/dicom/plain.dcm")
    check_same(open_slide(only_openslide), stored)
    assert store.sent == only_openslide.stat().st_size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_same(open_slide(only_openslide), open_slide("s3://b/dicom/plain.dcm"))
    assert store.sent == only_openslide.stat().st_size


def test_a_dicom_series_is_found_in_its_folder(store, tmp_path):
    def instance(name, size):
        pixels = picture(*size, seed=2)
        return write_dicom(tmp_path / name, image(pixels, 64, 64, lambda frame: jpeg(frame)))

    path = instance("one.dcm", (1300, 900))
    store.objects["b/series/one.dcm"] = path.read_bytes()
    store.objects["b/series/another.dcm"] = bytes(path.stat().st_size * 9)
    with pytest.warns(UserWarning, match="is copied"):
        stored = open_slide("s3://b/series/one.dcm")
    check_same(open_slide(path), stored)
    assert store.sent < 2 * path.stat().st_size + (1 << 17)


def test_a_slide_pickles_as_its_place(svs):
    path, url = svs
    check_same(open_slide(path), pickle.loads(pickle.dumps(open_slide(url))))


def test_damage_is_told_with_the_url(store, svs):
    path, url = svs
    data = bytearray(path.read_bytes())
    table = open_slide(path)._blocks.tables[0]
    offset = int(table.offsets[5])
    data[offset : offset + 40] = bytes(40)
    store.objects["archive/a folder/slide.svs"] = bytes(data)
    found = open_slide(url).block_reader(0).read(np.array([1]), np.array([1]))
    assert isinstance(found[0], SlideError)
    assert not isinstance(found[0], NotReadError)
    assert url in str(found[0])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://archive/none.svs", "There is no slide at s3://archive/none.svs"),
        ("s3://archive", "There is no slide|does not name"),
        ("gopher://host/a.svs", "its scheme is not one of s3, gs, az, https, http"),
        ("s3://archive/../a.svs", "does not name an object"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_is_not_there_is_said_with_its_url(url, said):
    with pytest.raises((SlideError, ArgumentError), match=said):
        open_slide(url)


@pytest.mark.parametrize("url", ["https://host/a.svs?sig=TOPSECRET", "https://user:TOPSECRET@host/a.svs"])
def test_secrets_in_urls_are_refused_and_not_repeated(url):
    with pytest.raises(ArgumentError, match=r"https://host/\.\.\. holds a query") as caught:
        open_slide(url)
    assert "TOPSECRET" not in str(caught.value)


def test_sizes_of_values_are_those_of_the_standard():
    assert {kind: struct.calcsize(f"<{of}") for kind, of in tifffile.TIFF.DATA_FORMATS.items()} == tiff_fetch._SIZES
