"""An index says of a slide what a look at it says, and no slide is looked at that has not changed."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import PLAIN, concatenation, image, sparse, write_dicom
from slide_files import directory, picture, write_tiff
from vendor_files import Region, halved, write_leica, write_ndpi, write_philips, write_ventana

from cellmix_dali import TileTable, open_slide
from cellmix_dali.collection import CollectionIndex, IndexSettings, make_index
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.slides import Slide, opening, openslide
from cellmix_dali.slides.formats import FORMATS
from cellmix_dali.synthetic import RenderedSlide

PIXELS = picture(384, 256, seed=3)
PLAINLY = {"syntax": PLAIN, "photometric": "RGB", "spacing": "0.0005\\0.0005", "power": None}


def _dicom(folder: Path) -> Path:
    """Two levels: one in the parts of a concatenation, one whose frames say where they go, with some missing."""
    parts = concatenation(image(PIXELS), 3)
    lower = sparse(image(halved(PIXELS), uid="1.2.826.2.2"), missing=(1,), order=4)
    paths = [write_dicom(folder / f"{number}.dcm", each) for number, each in enumerate((*parts, lower))]
    return paths[0]


def _ome(path: Path) -> Path:
    channel = '<Channel ID="Channel:0" SamplesPerPixel="3"/>'
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="384" SizeY="256" '
        'SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">'
        f"{channel}<TiffData/></Pixels></Image></OME>"
    )
    return write_tiff(path, [directory(PIXELS, description=text)])


MAKERS: dict[str, Callable[[Path], Path]] = {
    "dicom": _dicom,
    "hamamatsu": lambda folder: write_ndpi(folder / "slide.ndpi"),
    "leica": lambda folder: write_leica(folder / "slide.scn", [Region(130, 70, picture(300, 260, seed=2))]),
    "ome-tiff": lambda folder: _ome(folder / "slide.ome.tiff"),
    "openslide": lambda folder: write_dicom(
        folder / "plain.dcm", image(PIXELS, 256, 256, lambda frame: frame.tobytes(), **PLAINLY)
    ),
    "philips": lambda folder: write_philips(folder / "slide.tiff"),
    "tiled-tiff": lambda folder: write_tiff(
        folder / "slide.tiff", [directory(PIXELS, blank=((1, 1),)), directory(halved(PIXELS), subfiletype=1)]
    ),
    "ventana": lambda folder: write_ventana(folder / "slide.bif"),
}


def windows(path: Path, side: int) -> TileTable:
    """Windows anywhere on all levels of a slide, over their edges, too."""
    random, parts = np.random.default_rng(side), []
    with open_slide(path) as slide:
        for number, level in enumerate(slide.levels):
            x, y = random.integers(0, (level.width, level.height), (12, 2)).T
            parts.append(TileTable.from_columns(slide.path, x=x, y=y, size=side, level=number))
    return TileTable.concat(parts)


def content(tile: EncodedTile | SlideError) -> Any:
    if isinstance(tile, SlideError):
        return str(tile)
    pixels = None if tile.pixels is None else tile.pixels.tobytes()
    return [stream.tobytes() for stream in tile.streams], tile.geometry.tolist(), tile.way, pixels


def facts(slide: Slide) -> dict[str, Any]:
    names = ("path", "levels", "file_levels", "notes", "mpp", "bounds", "route", "reason", "vendor", "format", "files")
    return {name: getattr(slide, name) for name in names} | {"properties": dict(slide.properties)}


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have every look at a slide fail from then on, and every handle of OpenSlide where none is needed."""

    def forbid() -> None:
        def refused(*_: object) -> None:
            raise AssertionError("a slide was looked at")

        monkeypatch.setattr(opening, "_look_at", refused)

    return forbid


@pytest.mark.parametrize("kind", [*MAKERS, "aperio"])
def test_the_same_slide_and_the_same_tiles(
    kind: str,
    tmp_path: Path,
    rendered: list[RenderedSlide],
    no_look: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slides").mkdir()
    path = rendered[0].path if kind == "aperio" else MAKERS[kind](tmp_path / "slides")
    index = make_index([path], tmp_path / "a.index", IndexSettings(tile_size=64), workers=0)
    with open_slide(path) as slide:
        want = facts(slide)
        assert slide.format == ("dicom" if kind == "openslide" else kind)
        direct = slide.route == "direct"
    table = windows(path, 64)
    rows = np.arange(len(table))
    tiles = list(map(content, TileReader(table, edge="pad").read(rows)))
    no_look()
    handles: list[str] = []
    opened = openslide.OpenSlideFile._open
    monkeypatch.setattr(
        openslide.OpenSlideFile, "_open", lambda self: (handles.append(str(self.path)), opened(self))[1]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with index.open(path) as slide:
            assert facts(slide) == want
            assert slide.nbytes < 1 << 17  # the tables lie in the index's file
        reader = TileReader(table, edge="pad", index=index)
        assert list(map(content, reader.read(rows))) == tiles
        reader.close()
    drawn = sum(way == "openslide" for _, _, way, _ in tiles)
    assert bool(handles) <= bool(drawn)
    assert drawn or direct


def test_every_format_is_among_them() -> None:
    """What is refused has no tables, QPTIFF and OpenSlide's own are read by the code of the others."""
    others = {"qptiff", "vms", "mirax"}
    kinds = {*MAKERS, "aperio"}
    refused = {name for name, of in FORMATS.items() if "refused" in type(of).__module__}
    assert set(FORMATS.names()) - refused - others <= kinds


def test_an_index_is_shared_and_pickled(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    paths = [slide.path for slide in rendered[:2]]
    index = make_index(paths, tmp_path / "a.index", workers=0)
    assert len(index) == 2
    assert sorted(index) == sorted(map(str, paths))
    assert paths[0] in index
    assert tmp_path not in index
    again = pickle.loads(pickle.dumps(index))
    assert again.path == index.path
    for path in paths:
        with index.open(path) as one, again.open(str(path)) as other, open_slide(path) as real:
            assert facts(one) == facts(other) == facts(real)
    assert not (tmp_path / "a.index.job").exists()


def changed(path: Path, how: str) -> None:
    data, state = bytearray(path.read_bytes()), path.stat()
    if how == "size":
        data += b"\0"
    elif how == "bytes":  # the same size and time
        data[3500] ^= 1
    path.write_bytes(data)
    if how != "time":
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


@pytest.mark.parametrize("how", ["size", "time", "bytes"])
def test_a_slide_that_has_changed_is_opened_by_its_file(
    how: str, rendered: list[RenderedSlide], tmp_path: Path
) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(rendered[0].path.read_bytes())
    index = make_index([path], tmp_path / "a.index", workers=0)
    mask = index.tissue(path, "density", 1024)
    assert mask is not None
    changed(path, how)
    table = windows(path, 64)
    with pytest.warns(UserWarning, match=r"slide\.svs has changed since .*a\.index was made.*cellmix-dali index"):
        reader = TileReader(table, edge="pad", index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        rows = np.arange(len(table))
        assert list(map(content, reader.read(rows))) == list(map(content, TileReader(table, edge="pad").read(rows)))
        assert index.tissue(path, "density", 1024) is None
    index = make_index([path], tmp_path / "a.index", workers=0)
    assert how == "bytes" or index.tissue(path, "density", 1024) is not None


def test_a_slide_that_is_not_in_it(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    index = make_index([rendered[0].path], tmp_path / "a.index", workers=0)
    with pytest.warns(UserWarning, match=r"is not in .*a\.index, so it is opened by its file"):
        assert index.open(rendered[1].path).levels
    with pytest.raises(ArgumentError, match=r"is not in .*cellmix-dali index"):
        index.thumbnail(rendered[1].path)


def test_slides_that_cannot_be_opened_are_in_it(
    tmp_path: Path, rendered: list[RenderedSlide], no_look: Callable[[], None]
) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"no slide at all")
    told: list[tuple[int, int, str]] = []
    index = make_index(
        [bad, rendered[0].path, tmp_path / "gone.svs"],
        tmp_path / "a.index",
        workers=0,
        progress=lambda done, count, slide: told.append((done, count, slide.fault)),
    )
    assert [(done, count) for done, count, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert "bad.svs is not a slide" in told[0][2]
    assert told[1][2] == ""
    assert "gone.svs" in told[2][2]
    assert len(index) == 2
    fault = index.fault(bad)
    assert fault is not None
    assert index.fault(rendered[0].path) is None
    no_look()
    with pytest.raises(SlideError, match=r"bad\.svs is not a slide"):
        index.open(bad)


def test_thumbnails_and_polygons(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    path = rendered[0].path
    index = make_index([path], tmp_path / "a.index", IndexSettings(thumbnail=300), workers=0)
    with open_slide(path) as slide:
        want = slide.thumbnail(300).astype(int)
        whole = slide.levels[0]
    found = index.thumbnail(path)
    assert found is not None
    assert found.shape == want.shape
    assert np.abs(found - want).mean() < 6  # a JPEG, reduced otherwise
    mask = index.tissue(path, "density", 1024)
    assert mask is not None
    region = index.tissue_polygons(path)
    assert region.area == pytest.approx(np.count_nonzero(mask.pixels) * mask.scale[0] * mask.scale[1])
    left, top, right, bottom = region.bounds
    assert 0 <= left < right <= whole.width
    assert 0 <= top < bottom <= whole.height
    bare = make_index([path], tmp_path / "b.index", IndexSettings(tissue=False, thumbnail=0), workers=0)
    assert bare.thumbnail(path) is None
    assert bare.tissue(path, "density", 1024) is None
    with pytest.raises(ArgumentError, match="does not say where"):
        bare.tissue_polygons(path)


@pytest.mark.parametrize("how", ["empty", "cut", "directory", "version", "entry", "no file"])
def test_what_is_no_whole_index(how: str, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    make_index([rendered[0].path], path, IndexSettings(tissue=False), workers=0)
    data = bytearray(path.read_bytes())
    if how == "no file":
        path.unlink()
    else:
        if how == "directory":
            data[-100] ^= 1
        elif how == "version":
            data[data.rindex(b"index 1\n") + 6] = ord("9")
        elif how == "entry":
            data[20] ^= 1
        path.write_bytes({"empty": b"", "cut": data[:-9]}.get(how, data))
    words = {"version": "another version", "no file": "There is nothing at|no file"}.get(how, "damaged|cannot be read")
    with pytest.raises(ArgumentError, match=words):
        CollectionIndex(path).open(rendered[0].path)


def test_a_table_that_a_disk_has_damaged_shows_no_other_pixels(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """Tables are not summed up when a slide is opened, as that would read them in full: blocks show the damage."""
    path, slide = tmp_path / "a.index", rendered[0].path
    make_index([slide], path, IndexSettings(tissue=False, thumbnail=0), workers=0)
    table = TileTable.from_columns(slide, x=[0, 256, 512, 768], y=0, size=256)
    rows, whole = np.arange(4), path.read_bytes()
    want = [content(tile) for tile in TileReader(table, slots=1).read(rows)]
    with open_slide(slide) as opened:
        place = whole.index(opened._blocks.tables[0].places.packed.tobytes())
    refused = 0
    for bit in range(0, 4 * 64, 5):
        data = bytearray(whole)
        data[place + bit // 8] ^= 1 << bit % 8
        path.unlink()
        path.write_bytes(data)
        found = [content(tile) for tile in TileReader(table, slots=1, lenient=True, index=path).read(rows)]
        refused += found != want
        assert all(isinstance(a, str) or a == b for a, b in zip(found, want, strict=True))
    assert refused > 30
