"""DICOM slides in every layout: OpenSlide's pixels, or the reason why not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from dicom_files import (
    JPEG2000,
    JPEG2000_LOSSLESS,
    PLAIN,
    Written,
    concatenation,
    image,
    jpeg2000,
    sparse,
    with_tiff_head,
    write_dicom,
)
from PIL import Image
from slide_files import Pixels, jpeg, picture, without

from cellmix_dali import (
    Curriculum,
    TileRecipe,
    TileSource,
    grid_tiles,
    open_slide,
    read_slide_list,
    read_tiles,
    tiles_of_slides,
    train_loader,
)
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.shards import open_tiles
from cellmix_dali.slides import Slide, block_reader as block_reader_module
from cellmix_dali.slides.formats import dicom
from cellmix_dali.tables import to_level0
from cellmix_dali.tiling import TilingSettings, tile_slides

FINE, COARSE = picture(301, 200, seed=1), picture(150, 100, seed=2)
ONE, LOWER = image(FINE), image(COARSE, uid="1.2.826.2.2", image_type="DERIVED\\PRIMARY\\VOLUME\\RESAMPLED")
LABEL = image(picture(64, 48, seed=3), uid="1.2.826.2.3", image_type="ORIGINAL\\PRIMARY\\LABEL\\NONE")
LS = "1.2.840.10008.1.2.4.80"


def written(folder: Path, *images: Written) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [write_dicom(folder / f"{number}.dcm", each) for number, each in enumerate(images)]


def over_white(handle: openslide.OpenSlide, level: int, x: int, y: int, width: int, height: int) -> Pixels:
    """OpenSlide's pixels; the place is counted in pixels of the level."""
    scale = round(handle.level_downsamples[level])
    found = handle.read_region((x * scale, y * scale), level, (width, height))
    white = Image.new("RGBA", found.size, "white")
    return np.asarray(Image.alpha_composite(white, found).convert("RGB"))


def apart(path: Path) -> int:
    """How far all levels are from OpenSlide's; in full, and as a training reads windows on the frames and off them."""
    most = 0
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert (slide.route, slide.vendor, slide.format) == ("direct", "dicom", "dicom")
        for name in ("vendor", "mpp-x", "mpp-y", "objective-power"):
            name = f"openslide.{name}"
            assert slide.properties.get(name) == other.properties.get(name)
        assert [(level.width, level.height) for level in slide.levels] == list(other.level_dimensions)
        for number, level in enumerate(slide.levels):
            # At the level's own pixels: elsewhere OpenSlide interpolates where levels do not divide.
            want = over_white(other, number, 0, 0, level.width + 48, level.height + 48)
            got = slide.read_region(number, 0, 0, level.width + 48, level.height + 48)
            most = max(most, int(np.abs(got.astype(int) - want).max()))
            places = [(0, 0), (64, 48), (17, 5), (level.width - 30, level.height - 20)]
            level0 = to_level0(slide, np.array(places), number)
            tiles = read_tiles(path, level0, 48, level=number)
            for (x, y), tile in zip(places, tiles, strict=True):
                most = max(most, int(np.abs(tile.astype(int) - want[y : y + 48, x : x + 48]).max()))
    return most


def whole(path: Path, level: int = 0) -> Pixels:
    with open_slide(path) as slide:
        assert slide.route == "direct"
        return slide.read_region(level, 0, 0, slide.levels[level].width, slide.levels[level].height)


LAYOUTS: dict[str, Sequence[Written]] = {
    "basic offset table": [ONE, LOWER],
    "extended offset table": [replace(ONE, table="extended"), LOWER],
    "no offset table": [replace(ONE, table=""), LOWER],
    "sequences with delimiters": [replace(ONE, undefined=True), LOWER],
    "levels in the other order, a label": [LABEL, LOWER, ONE],
    "frames in fragments": [replace(ONE, fragment=500), replace(LOWER, fragment=1500, table="extended")],
    "sparse": [sparse(ONE, [3, 7, 24], order=1), LOWER],
    "sparse with delimiters": [sparse(replace(ONE, undefined=True, table=""), [0], order=2), LOWER],
    "full, and places all the same": [replace(sparse(ONE), organisation="TILED_FULL"), LOWER],
    "no organisation": [replace(ONE, others={0x00209311: None}), LOWER],
    "no organisation, but places": [replace(sparse(ONE, [4]), others={0x00209311: None}), LOWER],
    "three parts": [*concatenation(ONE, 3), LOWER],
    "three parts, their number not said": [*(replace(part, parts=None) for part in concatenation(ONE, 3)), LOWER],
    "two parts, sparse": [LOWER, *reversed(concatenation(sparse(ONE, [5], order=2), 2))],
    "a file twice": [ONE, LOWER, ONE],
    "a level of another compression": [
        ONE,
        image(
            COARSE,
            uid="1.2.826.2.2",
            encode=jpeg2000,
            syntax=JPEG2000_LOSSLESS,
            photometric="YBR_RCT",
        ),
    ],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_openslides_pixels(tmp_path: Path, name: str) -> None:
    paths = written(tmp_path, *LAYOUTS[name])
    assert apart(paths[0]) == 0
    for path in paths[1:]:  # any of its files opens it
        with open_slide(path) as slide, open_slide(paths[0]) as first:
            assert slide.levels == first.levels
            np.testing.assert_array_equal(slide.read_region(0, 0, 0, 301, 200), first.read_region(0, 0, 0, 301, 200))


def test_what_openslide_refuses_and_decoders_read(tmp_path: Path) -> None:
    """Fragments without a table; instances that share a level without a concatenation; a label in another code."""
    scattered = sparse(ONE, order=3)
    halves = [
        replace(scattered, frames=scattered.frames[a:b], places=scattered.places[a:b], uid=f"1.2.826.2.{a}")  # type: ignore[index]
        for a, b in ((0, 9), (9, None))
    ]
    want = whole(written(tmp_path / "plain", ONE)[0])
    for number, images in enumerate(
        (
            [replace(ONE, table="", fragment=500)],
            halves,
            [ONE, replace(LABEL, syntax=LS)],
            [replace(ONE, photometric="YBR_FULL")],
        )
    ):
        path = written(tmp_path / str(number), *images)[0]
        with pytest.raises(openslide.OpenSlideError), openslide.OpenSlide(path) as other:
            other.read_region((0, 0), 0, (9, 9))
        np.testing.assert_array_equal(whole(path), want)
    one = replace(ONE, width=64, height=48, frames=ONE.frames[:1], table="")
    path = written(tmp_path / "one frame", replace(one, fragment=300))[0]
    np.testing.assert_array_equal(whole(path), want[:48, :64])


@pytest.mark.parametrize("power", ["40", "40.0", "2.5e1", "0", "-4", "twenty", "20\\40", "", None])
def test_the_objective_is_told_as_openslide_tells_it(tmp_path: Path, power: str | None) -> None:
    assert apart(written(tmp_path, replace(ONE, power=power))[0]) == 0


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("name", ["a.dcm", "a", "a.svs", "a.tif", "a.tiff", "a.TIF", "a.bif"])
def test_a_file_that_begins_as_a_tiff_is_what_openslide_takes_it_for(tmp_path: Path, name: str, sound: bool) -> None:
    path = with_tiff_head(tmp_path / name, replace(ONE, spacing="0.0004\\0.0004"), sound=sound)
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.route == "direct"
        assert slide.vendor == other.properties["openslide.vendor"]
        assert slide.vendor == ("generic-tiff" if sound and name in ("a.tif", "a.tiff") else "dicom")
        assert slide.properties.get("openslide.mpp-x") == other.properties.get("openslide.mpp-x")
        np.testing.assert_array_equal(slide.read_region(0, 0, 0, 301, 200), over_white(other, 0, 0, 0, 301, 200))


EVEN = image(FINE[:, :300])  # of which OpenSlide does not interpolate the lower level
PLAIN_LOWER = replace(
    image(COARSE, encode=lambda frame: frame.tobytes(), syntax=PLAIN, photometric="RGB"), uid="1.2.826.2.2"
)


@pytest.mark.parametrize("images", [[EVEN, PLAIN_LOWER], [*concatenation(EVEN, 2), LABEL, PLAIN_LOWER]])
def test_a_level_that_openslide_reads_does_not_keep_the_others_from_the_direct_way(
    tmp_path: Path, images: list[Written]
) -> None:
    path = written(tmp_path, *images)[0]
    assert apart(path) == 0
    with open_slide(path) as slide:
        assert [level.compression for level in slide.levels] == ["jpeg", None]
        assert "in part: the frames of level 1 are not compressed" in slide.reason


def test_an_error_names_the_file_in_which_the_frame_lies(tmp_path: Path) -> None:
    paths = written(tmp_path, *concatenation(ONE, 3), LOWER)
    with open_slide(paths[0]) as slide:
        reader = slide.block_reader(0)
        table, lower = slide._blocks.tables[0], slide._blocks.tables[1]
        for path, offset in (
            (paths[1], table.offsets[12]),
            (paths[2], table.offsets[24]),
            (paths[3], lower.offsets[7]),
        ):
            changed = bytearray(path.read_bytes())
            changed[offset + 60 : offset + 300] = bytes(240)
            changed[offset + 300 : offset + 302] = b"\xff\xc4"
            path.write_bytes(changed)
        found = read_all(slide, reader)
        assert [number for number, block in enumerate(found) if isinstance(block, SlideError)] == [12, 24]
        assert f"Block 2, 2 (column, row) of level 0 of {paths[0]}, in {paths[1]} is damaged" in str(found[12])
        assert f"Block 4, 4 (column, row) of level 0 of {paths[0]}, in {paths[2]} is damaged" in str(found[24])
        with pytest.raises(SlideError, match=f"block 1, 2 .column, row. of level 1 of {paths[0]}, in {paths[3]}: "):
            slide.read_region(1, 64, 96, 9, 9)
        paths[2].write_bytes(paths[2].read_bytes()[:-500])
        with pytest.raises(
            SlideError, match=f"read block 4, 4 .column, row. of level 0 of {paths[0]}, in {paths[2]}: only"
        ):
            slide.block(0, 4, 4)


STREAMS: dict[str, Callable[[Pixels], bytes]] = {
    "JFIF": jpeg,
    "YCbCr without a marker": lambda frame: without(jpeg(frame), 0xE0),
    "4:4:4": lambda frame: jpeg(frame, subsampling=0),
    "RGB by Adobe's marker": lambda frame: jpeg(frame, rgb=True),
    "RGB without a marker": lambda frame: without(jpeg(frame, rgb=True), 0xEE),
}


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
@pytest.mark.parametrize("name", STREAMS)
def test_the_photometric_interpretation_says_the_colours(tmp_path: Path, name: str, photometric: str) -> None:
    path = written(tmp_path, image(FINE, encode=STREAMS[name], photometric=photometric))[0]
    assert apart(path) == 0
    with open_slide(path) as slide:
        assert slide.levels[0].colour == ("rgb" if photometric == "RGB" else "ycbcr")


@pytest.mark.parametrize(
    ("syntax", "photometric", "mct"),
    [
        (JPEG2000_LOSSLESS, "YBR_RCT", True),
        (JPEG2000_LOSSLESS, "RGB", False),
        (JPEG2000, "YBR_ICT", True),
        (JPEG2000, "RGB", False),
        (JPEG2000, "YBR_RCT", True),
    ],
)
def test_jpeg_2000(tmp_path: Path, syntax: str, photometric: str, mct: bool) -> None:
    lossless = syntax == JPEG2000_LOSSLESS or photometric == "YBR_RCT"
    how = {"syntax": syntax, "photometric": photometric, "fragment": 700}
    path = written(tmp_path, image(FINE, encode=lambda frame: jpeg2000(frame, lossless=lossless, mct=mct), **how))[0]
    assert apart(path) <= (0 if lossless else 1)
    assert np.abs(whole(path).astype(int) - FINE).mean() <= (0 if lossless else 2)


def test_inspect_says_direct(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    path = written(tmp_path, *concatenation(ONE, 2), LOWER)[0]
    code, out, _ = run("inspect", path)
    assert code == 0
    told = " ".join(out.split())
    assert "format dicom" in told
    assert "direct: The file is a DICOM slide" in told


def test_other_files_of_the_folder(tmp_path: Path) -> None:
    """Of another series, other kinds of files, folders and pipes; what the files are called says nothing."""
    path = written(tmp_path, ONE)[0]
    write_dicom(tmp_path / "lower level", LOWER)
    write_dicom(tmp_path / "other.dcm", replace(LOWER, series="1.2.826.77", width=140))
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:300])
    (tmp_path / "folder.dcm").mkdir()
    os.mkfifo(tmp_path / "pipe.dcm")
    with open_slide(path) as slide:
        assert [level.width for level in slide.levels] == [301, 150]
    (tmp_path / "pipe.dcm").unlink()  # at which OpenSlide would wait for ever
    assert apart(path) == 0
    (tmp_path / "lower level").unlink()
    with open_slide(path) as slide:  # what was found once is not remembered
        assert [level.width for level in slide.levels] == [301]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([image(FINE, encode=lambda frame: frame.tobytes(), syntax=PLAIN, photometric="RGB")], "are not compressed"),
        ([replace(ONE, frames=[*ONE.frames] * 2)], "level 0 has 25 tiles and more frames, such as focal planes"),
        ([sparse(replace(ONE, frames=[*ONE.frames, ONE.frames[3]]))], "several frames at one place"),
    ],
)
def test_what_goes_through_openslide_is_told(tmp_path: Path, images: list[Written], words: str) -> None:
    if "one place" in words:
        (only,) = images
        assert only.places is not None
        images = [replace(only, places=[*only.places[:-1], only.places[3]])]
    path = written(tmp_path, *images)[0]
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.route == "openslide"
        assert words in slide.reason
        np.testing.assert_array_equal(slide.read_region(0, 0, 0, 301, 200), over_white(other, 0, 0, 0, 301, 200))


def other(tag: int, kind: str, value: Any) -> dict[int, tuple[str, Any]]:
    return {tag: (kind, value)}


REFUSED: dict[str, tuple[Sequence[Written], str]] = {
    "JPEG-LS": ([replace(ONE, syntax=LS)], r"level 0 are JPEG-LS .*OpenSlide refuses it too \(Reading"),
    "grey": ([replace(ONE, photometric="MONOCHROME2", others=other(0x00280002, "US", 1))], "three interleaved"),
    "12 bits": ([replace(ONE, others=other(0x00280101, "US", 12))], "three interleaved samples of 8 bits"),
    "YBR_ICT in JPEG": ([replace(ONE, photometric="YBR_ICT")], "photometric interpretation YBR_ICT"),
    "focal planes": ([replace(ONE, others=other(0x00480303, "UL", 3))], "3 focal planes"),
    "two of three parts": (concatenation(ONE, 3)[:2], r"of the 3 or more parts of level 0.* numbered \[1, 2\]"),
    "a part in other colours": (
        [concatenation(ONE, 2)[0], replace(concatenation(ONE, 2)[1], photometric="RGB")],
        r"1\.dcm is not read: it has a part of level 0, as .*0\.dcm has, but its photometric interpretation is RGB, ",
    ),
    "a part of another syntax": (
        [concatenation(ONE, 2)[0], replace(concatenation(ONE, 2)[1], syntax=JPEG2000)],
        r"1\.dcm is not read: .* transfer syntax is 1\.2\.840\.10008\.1\.2\.4\.91, there 1\.2\.840",
    ),
    "a part of smaller frames": (
        [concatenation(ONE, 2)[0], replace(concatenation(ONE, 2)[1], tile_height=24)],
        r"1\.dcm is not read: .* frames' height is 24, there 48",
    ),
    "a level again in other colours": (
        [ONE, replace(ONE, uid="1.2.826.2.9", photometric="RGB")],
        r"1\.dcm is not read: .* photometric interpretation is RGB, there YBR_FULL_422",
    ),
    "one part": (concatenation(ONE, 2)[1:], r"numbered \[2\]"),
    "one level twice": ([ONE, replace(ONE, uid="1.2.826.2.9")], "several frames at one place"),
    "a label alone": ([LABEL], "of the 1 files of its series in its folder, none has the ImageType VOLUME"),
    "frames that are missing": ([replace(ONE, frames=ONE.frames[:-3])], "has 22 frames, and its level 25 tiles"),
    "no places": ([replace(ONE, organisation="TILED_SPARSE")], "does not say where its frames go"),
    "too few places": (
        [replace(sparse(ONE, undefined_places := []), places=[(0, 0)] * 3)],
        "does not say of each frame where it goes",
    ),
    "off the grid": ([replace(sparse(ONE), tile_width=60)], "do not lie on a grid of 60 x 48|60x"),
    "beyond the level": ([replace(sparse(ONE), places=[(number, 9) for number in range(25)])], "beyond its level"),
    "no size": ([replace(ONE, others=other(0x00280010, "US", 0))], "its size is 301 x 200 pixels in frames of 64 x 0"),
    "huge frames": ([replace(ONE, tile_width=65535, tile_height=65535)], "frames are 65535 x 65535 pixels"),
    "frames of another size": (
        [replace(ONE, width=150, height=100, tile_width=32, tile_height=24)],
        "64x48 pixels of 3",
    ),
    "far too many tiles": ([replace(ONE, width=2**31)], "tiles, and a level at most 4194304"),
    "no series": ([replace(ONE, others={0x0020000E: None})], "without a SeriesInstanceUID"),
    "no pixels": (
        [replace(ONE, others=other(0x00280008, "IS", "999999"))],
        "it has 999999 frames, and its level 25 tiles",
    ),
    "no pixels of these frames": (
        [replace(sparse(ONE), others=other(0x00280008, "IS", "999999"))],
        "says that it has 999999 frames",
    ),
    "an empty frame": ([replace(ONE, frames=[b"", *ONE.frames[1:]])], "the first frame of level 0"),
    "JPEG 2000 in JPEG": ([image(FINE, encode=jpeg2000)], "the first frame of level 0: no JPEG starts here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    images, words = REFUSED[name]
    path = written(tmp_path, *images)[0]
    with pytest.raises(SlideError, match=words) as told:
        open_slide(path)
    assert str(path) in str(told.value)


def test_a_file_that_is_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    for made in (replace(sparse(ONE, order=1), undefined=True, table=""), replace(ONE, table="extended")):
        content = write_dicom(tmp_path / "whole.dcm", made).read_bytes()
        (tmp_path / "whole.dcm").unlink()
        path = tmp_path / "cut.dcm"
        refused = 0
        for place in [*range(158, 4000, 7), *range(4000, len(content), 997), len(content) - 1]:
            path.write_bytes(content[:place])
            try:
                with open_slide(path) as slide:
                    assert place > len(content) - 9
                    assert slide.route == "direct"
            except SlideError as error:
                assert str(path) in str(error)  # noqa: PT017
                refused += 1
        assert refused > 500


@pytest.mark.parametrize("table", ["basic", "extended"])
def test_an_offset_table_that_cannot_be_right_is_not_believed(tmp_path: Path, table: str) -> None:
    path = written(tmp_path, replace(ONE, table=table))[0]
    want, content = whole(path), path.read_bytes()
    offsets = np.cumsum([0, *(8 + len(frame) + len(frame) % 2 for frame in ONE.frames)])[:-1]
    kind = "<u4" if table == "basic" else "<u8"
    at = content.index(offsets.astype(kind).tobytes())
    for wrong in (offsets[::-1], offsets + 2, np.full(25, 0)):
        changed = bytearray(content)
        changed[at : at + wrong.size * np.dtype(kind).itemsize] = wrong.astype(kind).tobytes()
        path.write_bytes(changed)
        np.testing.assert_array_equal(whole(path), want)
    one = offsets.copy()
    one[7] += 2  # it rises all the same: frames 6 and 7 do not begin and end with an item
    changed[at : at + one.size * np.dtype(kind).itemsize] = one.astype(kind).tobytes()
    path.write_bytes(changed)
    with open_slide(path) as slide:
        blocks = slide.block_reader(0).read(np.arange(25) % 5, np.arange(25) // 5)
    wrong_ones = [number for number, block in enumerate(blocks) if isinstance(block, SlideError)]
    assert wrong_ones == [6, 7]
    assert "item" in str(blocks[7])


def read_all(slide: Slide, reader: Any) -> list[Any]:
    level = slide.levels[0]
    assert level.columns is not None
    assert level.rows is not None
    places = np.arange(level.columns * level.rows)
    return list(reader.read(places % level.columns, places // level.columns))


@pytest.mark.parametrize("name", ["basic offset table", "three parts", "two parts, sparse", "frames in fragments"])
def test_compiled_code_reads_what_the_careful_way_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, *LAYOUTS[name])[0]
    assert {len(frame) % 2 for frame in ONE.frames} == {0, 1}  # some are padded
    quickly = []
    plain = block_reader_module.read_usual
    monkeypatch.setattr(block_reader_module, "read_usual", lambda *given: quickly.append(plain(*given)) or quickly[-1])
    with open_slide(path) as slide:
        reader = slide.block_reader(0)
        first, second = read_all(slide, reader), read_all(slide, reader)
        filled = [number for number, block in enumerate(first) if block is not None]
        for number in filled:
            stream = slide.block(0, number % 5, number // 5)
            assert first[number].tobytes() == second[number].tobytes() == stream
            assert stream is not None
            assert stream.endswith(b"\xff\xd9")
        assert len(filled) == (24 if "sparse" in name else 25)
        usual = [number for number, block in enumerate(quickly[-1]) if block is not None]
        assert usual == ([] if "fragments" in name else filled)


def test_damage_to_the_items_of_a_frame_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, ONE)[0]
    content = path.read_bytes()
    with open_slide(path) as slide:
        reader = slide.block_reader(0)
        read_all(slide, reader)  # the usual header is known from here on
        offset = int(slide._blocks.tables[0].offsets[6])
        for at, put in ((0, b"\0"), (3, b"\xe1"), (4, b"\x55"), (7, b"\x01"), (4, b"\0\0\0\0")):
            changed = bytearray(content)
            changed[offset + at : offset + at + len(put)] = put
            path.write_bytes(changed)
            blocks = read_all(slide, reader)
            assert [number for number, block in enumerate(blocks) if isinstance(block, SlideError)] == [6]
            assert "item" in str(blocks[6])


def test_opening_reads_little_however_many_frames_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = image(picture(16, 16), 16, 16)
    many = replace(small, width=16 * 200, height=16 * 100, frames=small.frames * 20_000)
    taken: list[int] = []
    plain = os.pread

    def pread(number: int, count: int, place: int) -> bytes:
        taken.append(count)
        return plain(number, count, place)

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(openslide, "OpenSlide", None)
    for number, of in enumerate((many, replace(many, table="extended"), replace(many, undefined=True))):
        path = written(tmp_path / str(number), of)[0]
        taken.clear()
        with open_slide(path) as slide:
            assert slide.levels[0].columns == 200
        assert len(taken) < 10
        assert sum(taken) < 8 * 20_000 + (1 << 18)


def test_places_of_many_frames_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences with delimiters do not say how long they are, and may be as long as 100,000 frames make them."""
    path = written(tmp_path, sparse(replace(ONE, undefined=True, table="extended"), [2], order=4))[0]
    want = whole(path)
    for name, value in (
        ("dicom_elements._MANY", 20),
        ("dicom_elements._CHUNK", 64),
        ("dicom_instance._FIRST_CHUNK", 40),
    ):
        monkeypatch.setattr(f"cellmix_dali.slides.{name}", value)
        np.testing.assert_array_equal(whole(path), want)
    monkeypatch.setattr("cellmix_dali.slides.dicom_instance._LEAST_ROOM", 3)
    fragments = written(tmp_path / "fragments", replace(ONE, fragment=100, table=""))[0]
    assert np.abs(whole(fragments).astype(int) - FINE).mean() < 5


def test_a_neighbour_that_cannot_be_read_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a level: one that is missing without a word would be worse."""
    path, lower = written(tmp_path, ONE, LOWER)
    text = tmp_path / "a.txt"
    text.write_text("nothing")
    plain, bad = dicom.series_of, [lower]

    def series_of(place: Path) -> tuple[str, str]:
        if place in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(place)

    monkeypatch.setattr(dicom, "series_of", series_of)
    dicom._series_once.cache_clear()
    with pytest.raises(NotReadError, match=r"Cannot read .*1\.dcm, which may be of one slide with .*0\.dcm"):
        open_slide(path)
    bad[:] = [text]  # a file of such a name is none
    with open_slide(path) as slide:
        assert len(slide.levels) == 2


def test_tiles_over_missing_frames_and_edges(tmp_path: Path) -> None:
    path = written(tmp_path, *concatenation(sparse(ONE, [6, 7], order=5), 2))[0]
    with open_slide(path) as slide:
        table = grid_tiles(slide, 48, stride=31, edge="pad")
    reader = TileReader(table, edge="pad")
    tiles = reader.read(np.arange(len(table)))
    assert all(isinstance(tile, EncodedTile) for tile in tiles)
    reader.close()
    assert {tile.way for tile in tiles if isinstance(tile, EncodedTile)} == {"direct", "openslide"}
    places = np.stack([table.x, table.y], axis=1)
    with openslide.OpenSlide(path) as other:
        for (x, y), tile in zip(places.tolist(), read_tiles(path, places, 48), strict=True):
            np.testing.assert_array_equal(tile, over_white(other, 0, x, y, 48, 48))


def test_training_and_a_tiling_job(tmp_path: Path) -> None:
    made = [*concatenation(image(picture(640, 512, seed=6), 64, 64), 2), LABEL]
    for number in range(2):
        written(tmp_path / f"s{number}", *(replace(each, series=f"1.2.826.{number}") for each in made))
    paths = [tmp_path / f"s{number}" / "0.dcm" for number in range(2)]
    (tmp_path / "slides.csv").write_text("slide,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    table, left_out = tiles_of_slides(read_slide_list(tmp_path / "slides.csv"), TileRecipe(64, level=0, tissue=0))
    assert not left_out
    curriculum = Curriculum(epochs=2, tile_size=64)
    with train_loader(table, num_classes=2, batch_size=16, curriculum=curriculum, seed=1) as loader:
        rows = np.concatenate([batch["tile"].numpy().ravel() for batch in loader])
        assert isinstance(loader.source, TileSource)
        assert loader.source.read == {"direct": len(rows)}
    assert sorted(rows.tolist()) == list(range(160))
    settings = TilingSettings(tile_size=64, level=0, tissue=0)
    result = tile_slides([paths[0].parent], tmp_path / "out", settings, workers=0)
    assert (result.tiles, result.bad_tiles, len(result.slides)) == (80, 0, 1)
    assert len(open_tiles(tmp_path / "out")) == 80
