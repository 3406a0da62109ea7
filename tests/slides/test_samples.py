"""Which pictures of a TIFF are read, and which are refused with their reason: small files of every kind."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from slide_files import directory, picture, write_tiff

from cellmix_dali import open_slide, read_tiles
from cellmix_dali.errors import SlideError
from cellmix_dali.slides.samples import MOST_BLOCK_PIXELS, check_properties, check_tiff

COLOUR = picture(200, 150)
GREY = COLOUR[..., 1]


def write(path: Path, *pages: Any, **options: Any) -> Path:
    """A tiled TIFF of these pages."""
    with tifffile.TiffWriter(path, byteorder=options.pop("byteorder", "<")) as file:
        for page in pages:
            file.write(page, **{"tile": (64, 64), "compression": "zlib", "metadata": None, **options})
    return path


def orientation(value: int) -> dict[str, Any]:
    return {"photometric": "rgb", "extratags": [(274, "H", 1, value, True)]}


def samples(number: int, dtype: type = np.uint8) -> Any:
    return np.stack([GREY] * number, axis=-1).astype(dtype)


WRONG: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "grey of 16 bits": ([GREY.astype(np.uint16) * 16], {"photometric": "minisblack"}, "16 bits per sample.*--uchar"),
    "colour of 16 bits": ([COLOUR.astype(np.uint16) * 16], {"photometric": "rgb"}, "16 bits per sample"),
    "grey of 32 bits": ([GREY.astype(np.uint32)], {"photometric": "minisblack"}, "32 bits per sample"),
    "floats": ([GREY.astype(np.float32)], {"photometric": "minisblack"}, "floating-point numbers of 32 bits"),
    "signed": ([GREY.astype(np.int8)], {"photometric": "minisblack"}, "signed numbers of 8 bits"),
    "four inks": ([samples(4)], {"photometric": "separated"}, "four inks"),
    "L*a*b*": ([COLOUR], {"photometric": "cielab"}, "photometric interpretation 8 CIELAB, not RGB"),
    "three grey pages": ([GREY, GREY, GREY], {"photometric": "minisblack"}, "3 grey pictures of 200 x 150 pixels"),
    "five channels in a page": (
        [samples(5)],
        {"photometric": "minisblack", "planarconfig": "contig"},
        "5 samples per pixel, of which readers show 1",
    ),
    "channels in planes": (
        [np.stack([GREY] * 4)],
        {"photometric": "minisblack", "planarconfig": "separate"},
        "4 samples per pixel, of which readers show 1",
    ),
    "colour and a fourth channel": (
        [samples(4)],
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        "4 samples per pixel, of which readers show 3",
    ),
    **{
        f"orientation {value}": ([COLOUR], orientation(value), rf"Orientation tag is {value}\)")
        for value in range(2, 9)
    },
    "big-endian": ([COLOUR], {"photometric": "rgb", "byteorder": ">"}, "big-endian TIFF that OpenSlide does not know"),
    "big-endian of 16 bits": (
        [COLOUR.astype(np.uint16)],
        {"photometric": "rgb", "byteorder": ">"},
        "16 bits per sample",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_readers_show_wrongly_is_refused_with_its_reason(tmp_path: Path, run, name: str) -> None:
    pages, options, reason = WRONG[name]
    path = write(tmp_path / "slide.tiff", *pages, **options)
    with pytest.raises(SlideError, match=reason) as refusal:
        open_slide(path)
    assert str(path) in str(refusal.value)
    code, out, _ = run("inspect", path)
    assert code != 0
    assert not out


RIGHT: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "colour": (COLOUR, {"photometric": "rgb"}, COLOUR),
    "colour in planes": (
        np.moveaxis(COLOUR, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, COLOUR,
    ),
    "upright": (COLOUR, orientation(1), COLOUR),
    "an orientation that there is not": (COLOUR, orientation(0), COLOUR),
    "one grey picture": (GREY, {"photometric": "minisblack"}, samples(3)),
    "white is zero": (GREY, {"photometric": "miniswhite"}, 255 - samples(3)),
    "opaque": (
        np.dstack([COLOUR, np.full_like(GREY, 255)]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, COLOUR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_readers_show_rightly_is_read(tmp_path: Path, name: str) -> None:
    page, options, right = RIGHT[name]
    path = write(tmp_path / "slide.tiff", page, **options)
    (tile,) = read_tiles(path, [(0, 0)], 150)
    np.testing.assert_array_equal(tile, right[:, :150])


def test_a_pyramid_of_grey_pictures_is_one_channel(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    with tifffile.TiffWriter(path) as file:
        for page, kind in ((GREY, 0), (GREY[::2, ::2], 1)):
            file.write(
                page, tile=(64, 64), compression="zlib", photometric="minisblack", subfiletype=kind, metadata=None
            )
    with open_slide(path) as slide:
        assert len(slide.levels) == 2


def test_a_label_of_another_kind_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    with tifffile.TiffWriter(path) as file:
        file.write(COLOUR, tile=(64, 64), compression="zlib", photometric="rgb", metadata=None)
        file.write(GREY.astype(np.uint16)[:64, :64], compression="zlib", photometric="minisblack", metadata=None)
    (tile,) = read_tiles(path, [(0, 0)], 150)
    np.testing.assert_array_equal(tile, COLOUR[:, :150])


def test_jpeg_blocks_that_are_turned_are_refused_on_the_direct_way_too(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tiff", [directory(COLOUR)])
    with open_slide(path) as slide:
        assert slide.route == "direct"
    raw = bytearray(path.read_bytes())
    # The samples' layout (284, one of one sample) becomes the orientation, which then has to be 6; 1 is the default.
    entry = raw.index(struct.pack("<HHI", 284, 3, 1))
    raw[entry : entry + 10] = struct.pack("<HHIH", 274, 3, 1, 6)
    path.write_bytes(raw)
    with pytest.raises(SlideError, match=r"turned by 90 degrees \(its Orientation tag is 6\)"):
        open_slide(path)


@pytest.mark.parametrize(("wide", "high"), [(2**31 - 16, 16), (16, 2**31 - 16), (8192, 8208), (65520, 65520)])
def test_blocks_too_large_for_memory_are_refused_before_openslide_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: int, high: int
) -> None:
    path = write_tiff(tmp_path / "slide.tiff", [directory(COLOUR)])
    raw = bytearray(path.read_bytes())
    for tag, value in ((322, wide), (323, high)):
        entry = raw.index(struct.pack("<HHI", tag, 4, 1))
        raw[entry + 8 : entry + 12] = struct.pack("<I", value)
    path.write_bytes(raw)
    monkeypatch.setattr(openslide, "OpenSlide", Unopened)
    with pytest.raises(SlideError, match=rf"{wide} x {high} pixels, and a block may have {MOST_BLOCK_PIXELS} "):
        open_slide(path)


class Unopened:
    """OpenSlide, which may name the format, but not open."""

    detect_format = staticmethod(openslide.OpenSlide.detect_format)

    def __init__(self, path: Path) -> None:
        raise AssertionError(f"OpenSlide was given {path}")


def test_files_of_other_vendors_are_looked_at_too(odd: Callable[[str], Path], tmp_path: Path) -> None:
    whole = odd("philips.tiff").read_bytes()
    path = tmp_path / "philips.tiff"
    for tag, value, reason in (
        (322, 65535, "65535 x 65535 pixels, and a block may have"),
        (262, 5, "four inks"),
        (277, 1, "says that it is in colour, but has 1 samples"),
    ):
        raw = bytearray(whole)
        entry = raw.index(struct.pack("<HHQ", tag, raw_kind(whole, tag), 1))
        struct.pack_into("<H", raw, entry + 12, value)
        if tag == 322:
            struct.pack_into("<H", raw, raw.index(struct.pack("<HHQ", 323, raw_kind(whole, 323), 1)) + 12, value)
        path.write_bytes(raw)
        assert openslide.OpenSlide.detect_format(path) == "philips"
        with pytest.raises(SlideError, match=reason):
            open_slide(path)


def raw_kind(raw: bytes, tag: int) -> int:
    """Whether the first entry of that tag and of one value is a SHORT (3) or a LONG (4)."""
    return min((3, 4), key=lambda kind: raw.find(struct.pack("<HHQ", tag, kind, 1)) % (len(raw) + 1))


def test_a_vendors_file_whose_directories_go_in_a_circle_is_refused(odd: Callable[[str], Path], tmp_path: Path) -> None:
    raw = bytearray(odd("philips.tiff").read_bytes())
    (first,) = struct.unpack_from("<Q", raw, 8)
    (entries,) = struct.unpack_from("<Q", raw, first)
    struct.pack_into("<Q", raw, first + 8 + 20 * entries, first)
    path = tmp_path / "philips.tiff"
    path.write_bytes(raw)
    with pytest.raises(SlideError, match=r"leads back to an earlier one|OpenSlide cannot"):
        open_slide(path)


@pytest.mark.parametrize(
    "properties",
    [
        {"mirax.GENERAL.SLIDE_TYPE": "SLIDE_TYPE_FLUORESCENCE"},
        {"leica.illumination-source": "fluorescence"},
    ],
)
def test_what_the_scanner_calls_fluorescence_is_refused(properties: dict[str, str]) -> None:
    check_properties(Path("a.mrxs"), {"mirax.GENERAL.SLIDE_TYPE": "SLIDE_TYPE_BRIGHTFIELD"})
    with pytest.raises(SlideError, match="a fluorescence slide"):
        check_properties(Path("a.mrxs"), properties)


def test_what_the_moment_decides_is_told_and_what_cannot_be_read_is_left_to_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tiff").write_bytes(b"II*\0 no directories here")
    check_tiff(tmp_path / "a.tiff")

    def fail(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("cellmix_dali.slides.samples.TiffFile", fail)
    with pytest.raises(OSError, match="Too many open files"):
        check_tiff(tmp_path / "a.tiff")
