"""What is judged of a TIFF's directories, each tag by itself and at its limits: directories that no file need hold."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from slide_files import directory, picture, write_tiff

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.openslide import mpp_of
from cellmix_dali.slides.samples import _channels, _problem, check_block_size, check_byte_counts
from cellmix_dali.slides.tiff import (
    _check_agreement,
    _check_places,
    _obstacle,
    _resolution,
    _subifd_levels,
    compression_name,
    spread_blanks,
    tiff_levels,
)
from cellmix_dali.slides.tiff_directories import check_chain
from cellmix_dali.slides.tiff_pages import TiffFile, TiffPage


@dataclass
class Page(TiffPage):
    """A directory in RGB, of JPEG blocks, that readers show rightly; `tags` are the values of further tags."""

    imagewidth: int = 100  # type: ignore[misc]
    imagelength: int = 80  # type: ignore[misc]
    tilewidth: int = 16  # type: ignore[misc]
    tilelength: int = 32  # type: ignore[misc]
    photometric: int = 2  # type: ignore[misc]
    samplesperpixel: int = 3  # type: ignore[misc]
    bitspersample: int = 8  # type: ignore[misc]
    sampleformat: int = 1  # type: ignore[misc]
    compression: int = 7  # type: ignore[misc]
    planarconfig: int = 1  # type: ignore[misc]
    imagedepth: int = 1  # type: ignore[misc]
    tiledepth: int = 1  # type: ignore[misc]
    subfiletype: int = 0  # type: ignore[misc]
    counts: Any = field(default=None, compare=False)  # type: ignore[misc]
    description: str = ""  # type: ignore[misc]
    tags: Any = None
    index: int = 0
    subifds: Any = ()  # type: ignore[misc]
    pages: Any = ()
    is_tiled: bool = True  # type: ignore[misc]

    def __contains__(self, tag: int) -> bool:
        return tag in self.tags

    def value(self, tag: int, default: Any = None) -> Any:
        return self.tags.get(tag, default)

    def numbers(self, tag: int) -> Any:
        return np.atleast_1d(np.array(self.value(tag, ()), np.int64))

    def subpages(self) -> list[TiffPage]:
        return list(self.pages)


def page(**changed: Any) -> Page:
    """A directory with some attributes changed; names that it has not are tags, by their number (t274)."""
    own = {name: value for name, value in changed.items() if name in Page.__dataclass_fields__}
    others = changed.keys() - own.keys()
    return Page(**own, tags={int(name[1:]): changed[name] for name in others})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"t339": 1}, None),
        ({"t339": 4, "sampleformat": 4}, None),
        ({"sampleformat": 2}, None),  # not said in the file: the default counts for nothing
        ({"t339": 2, "sampleformat": 2}, "signed numbers of 8 bits"),
        ({"t339": 3, "sampleformat": 3, "bitspersample": 32}, "floating-point numbers of 32 bits"),
        ({"t339": 5, "sampleformat": 5}, "complex numbers"),
        ({"bitspersample": 7}, "level 4 has 7 bits per sample$"),
        ({"bitspersample": 9}, "level 4 has 9 bits per sample$"),
        ({"bitspersample": 16}, "has 16 bits per sample, of which readers show the upper 8"),
        ({"bitspersample": 15}, "has 15 bits per sample$"),
        ({"photometric": 1, "samplesperpixel": 1, "bitspersample": 1}, None),
        ({"photometric": 0, "samplesperpixel": 1, "bitspersample": 4}, None),
        ({"photometric": 3, "samplesperpixel": 1, "bitspersample": 4}, None),
        ({"photometric": 1, "samplesperpixel": 1, "bitspersample": 0}, "0 bits per sample"),
        ({"photometric": 6, "bitspersample": 7}, "7 bits per sample"),
        ({"photometric": 5, "samplesperpixel": 4}, "four inks"),
        ({"photometric": 4}, "photometric interpretation 4 MASK, not RGB"),
        ({"photometric": 6}, None),
        ({"samplesperpixel": 2}, "in colour, but has 2 samples"),
        ({"samplesperpixel": 4}, "4 samples per pixel, of which readers show 3"),
        ({"samplesperpixel": 4, "t338": 0, "compression": 8}, "of which readers show 3"),
        ({"samplesperpixel": 4, "t338": 1, "compression": 8}, None),
        ({"samplesperpixel": 4, "t338": (2,), "compression": 8}, None),
        ({"samplesperpixel": 4, "t338": (0, 2), "compression": 8}, "of which readers show 3"),
        ({"samplesperpixel": 5, "t338": (1, 1), "compression": 8}, "5 samples per pixel"),
        ({"samplesperpixel": 4, "t338": 2}, "JPEG of four components"),
        ({"photometric": 1, "samplesperpixel": 2, "t338": 2}, None),
        ({"photometric": 1, "samplesperpixel": 2}, "2 samples per pixel, of which readers show 1"),
        ({"t274": 1}, None),
        ({"t274": 9}, None),
        ({"t274": "2"}, None),
        *(
            ({"t274": number}, f"level 4 is {words} .its Orientation tag is {number}")
            for number, words in enumerate(
                (
                    "mirrored from left to right",
                    "turned by 180 degrees",
                    "mirrored from top to bottom",
                    "mirrored along the diagonal",
                    "turned by 90 degrees",
                    "mirrored along the other diagonal",
                    "turned by 270 degrees",
                ),
                2,
            )
        ),
    ],
)
def test_what_readers_get_wrong_of_a_picture(changed: dict[str, Any], words: str | None) -> None:
    found = _problem(4, page(**changed))
    assert (found is None) == (words is None), found
    if found is not None and words is not None:
        assert re.search(words, found[0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"photometric": 6}, None),
        ({"compression": 33005}, None),
        ({"compression": 34712}, None),
        ({"compression": 33003}, "JPEG 2000 in YCbCr (33003)"),
        ({"compression": 33005, "photometric": 6}, "photometric interpretation 6"),
        ({"compression": 8}, "compressed with ADOBE_DEFLATE (8)"),
        ({"compression": 1}, "compressed with NONE (1)"),
        ({"planarconfig": 2}, "not three interleaved samples"),
        ({"samplesperpixel": 1}, "not three interleaved samples"),
        ({"samplesperpixel": 4}, "not three interleaved samples"),
        ({"bitspersample": 7}, "not three interleaved samples"),
        ({"sampleformat": 2}, "not three interleaved samples"),
        ({"photometric": 1}, "photometric interpretation 1"),
        ({"imagedepth": 2}, "level 3 is a volume"),
        ({"tiledepth": 2}, "level 3 is a volume"),
    ],
)
def test_what_keeps_blocks_from_a_decoder(changed: dict[str, Any], words: str | None) -> None:
    found = _obstacle(3, page(**changed))
    assert (found is None) == (words is None)
    assert words is None or words in (found or "")


def test_tags_that_contradict_each_other() -> None:
    plain = {"compression": 1, "tilewidth": 16, "tilelength": 32}
    _check_agreement(0, page(**plain, counts=np.array((16 * 32 * 3, 0), np.int64)))
    _check_agreement(0, page(**plain, counts=np.array((16 * 32,), np.int64), planarconfig=2))
    _check_agreement(0, page(**plain, counts=np.array((16 * 32 * 3 * 2,), np.int64), bitspersample=16))
    _check_agreement(0, page(counts=np.array((1,), np.int64)))  # compressed
    _check_agreement(0, page(photometric=3, samplesperpixel=1))
    for wrong, words in (
        (page(**plain, counts=np.array((16 * 32 * 3 - 1,), np.int64)), "a block of 1535 bytes instead of 1536"),
        (page(**plain, counts=np.array((16 * 32 - 1,), np.int64), planarconfig=2), "511 bytes instead of 512"),
        (page(photometric=3), "level 2 has a palette and 3 samples"),
    ):
        with pytest.raises(ValueError, match=words):
            _check_agreement(2, wrong)


def test_blocks_and_byte_counts_at_their_limits(tmp_path: Path) -> None:
    check_block_size(tmp_path, 0, 2**13, 2**13)
    check_block_size(tmp_path, 0, 2**26, 1)
    with pytest.raises(SlideError, match=r"level 5 are 67108865 x 1 pixels"):
        check_block_size(tmp_path, 5, 2**26 + 1, 1)
    file = tmp_path / "a.tiff"
    file.write_bytes(bytes(100))
    check_byte_counts(file, 0, page(counts=np.array((3, 100), np.int64)))
    check_byte_counts(file, 0, page(counts=np.array((), np.int64)))
    with pytest.raises(SlideError, match="level 6 takes 101 bytes, and the file has 100"):
        check_byte_counts(file, 6, page(counts=np.array((101, 3), np.int64)))


def test_places_of_blocks_lie_within_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.tiff"
    file.write_bytes(bytes(100))

    def check(offsets: list[int], counts: list[int], blocks: int = 2) -> None:
        _check_places(file, 7, blocks, np.array(offsets), np.array(counts))

    check([1, 90], [1, 10])
    check([0, 500], [0, 0])  # blank, wherever it is said to lie
    for offsets, counts, words in (
        ([1, 91], [1, 10], "1 of the 2 blocks of level 7 .* number 1, takes 10 bytes from byte 91 on, .* has 100"),
        ([0, 91], [1, 10], "2 of the 2 blocks.*the first, number 0"),
        ([1, 5], [-1, 1], "number 0, takes -1 bytes"),
        ([1, 5, 6], [1, 1], "2 blocks, but 3 offsets and 2 byte counts"),
        ([1, 5], [1, 1, 1], "2 blocks, but 2 offsets and 3 byte counts"),
    ):
        with pytest.raises(SlideError, match=words):
            check(offsets, counts)


FRACTION, SHORT, FLOAT = 5, 3, 11


@pytest.mark.parametrize(
    "tags",
    [
        {282: (FRACTION, [20000, 1]), 283: (FRACTION, [40000, 2]), 296: (SHORT, [3])},
        {282: (FRACTION, [39370, 3]), 283: (FRACTION, [40001, 7]), 296: (SHORT, [3])},
        {282: (FRACTION, [50800, 3]), 283: (FRACTION, [25400, 1]), 296: (SHORT, [2])},
        {282: (FRACTION, [50800, 3]), 283: (FRACTION, [25400, 1])},  # inches are the default
        {282: (FRACTION, [50800, 1]), 283: (FRACTION, [25400, 1]), 296: (SHORT, [1])},
        {282: (FRACTION, [0, 1]), 283: (FRACTION, [1, 1]), 296: (SHORT, [3])},
        {282: (FRACTION, [1, 0]), 283: (FRACTION, [1, 1]), 296: (SHORT, [3])},
        {282: (FRACTION, [7, 1]), 296: (SHORT, [3])},
        {282: (FLOAT, [3.7]), 283: (FLOAT, [3.5]), 296: (SHORT, [3])},
        {282: (SHORT, [37]), 283: (SHORT, [35]), 296: (SHORT, [3])},
        {},
    ],
)
def test_resolution_tags_are_read_as_openslide_reads_them(tmp_path: Path, tags: dict[int, Any]) -> None:
    path = write_tiff(tmp_path / "a.tiff", [directory(picture(90, 70), more=tags)])
    with openslide.OpenSlide(path) as other, TiffFile(path) as file:
        assert _resolution(file.pages[0]) == mpp_of(other.properties)


def test_levels_of_a_plain_tiff_are_the_first_and_the_reduced() -> None:
    first, half, mask = (
        page(),
        page(imagewidth=50, imagelength=40, subfiletype=1, index=1),
        page(index=2, subfiletype=4),
    )
    other = page(imagewidth=25, index=3)
    assert tiff_levels([half, first, mask, other]) == ([first, half], 0)
    assert tiff_levels([mask, other]) == ([], 0)


def test_subifds_are_levels_where_they_are_smaller_and_new() -> None:
    def sub(width: int, height: int, **more: Any) -> Page:
        return page(imagewidth=width, imagelength=height, **more)

    good = [sub(50, 80), sub(49, 40)]
    bad = [sub(100, 80), sub(99, 81), sub(50, 40), sub(30, 20), sub(20, 10, is_tiled=False), sub(10, 8, subfiletype=5)]
    first = page(subifds=(1,) * 64, pages=[*good, *bad])
    assert _subifd_levels(first, {100, 30}) == good
    assert _subifd_levels(page(), {100}) == []
    with pytest.raises(ValueError, match="has 65 SubIFDs, and a picture at most 64"):
        _subifd_levels(page(subifds=(1,) * 65, pages=good), set())
    levels, count = tiff_levels([first])
    assert (levels, count) == ([first, good[0], good[1], bad[3]], 3)


def test_channels_are_pictures_of_one_size_and_kind() -> None:
    grey = page(photometric=1, samplesperpixel=1)
    other = replace(grey, imagewidth=99), replace(grey, imagelength=79), replace(grey, photometric=0)
    reduced = replace(grey, subfiletype=1), replace(grey, subfiletype=4)
    assert _channels(grey, [grey, *other, *reduced]) is None
    assert _channels(page(), [page(), page()]) is None
    assert _channels(replace(grey, samplesperpixel=2), [grey, grey]) is None
    assert "2 grey pictures of 100 x 80 pixels" in (_channels(grey, [grey, replace(grey, subfiletype=2)]) or "")

    def ome(channels: int, **more: Any) -> str | None:
        text = f'<OME><Image><Pixels SizeX="100" SizeY="80" SizeC="{channels}"/></Image></OME>'
        of = page(description=text, **more)
        return _channels(of, [of])

    assert ome(3) is None
    assert "speaks of 4 channels, of which the first picture has 3" in (ome(4) or "")
    assert ome(1, photometric=1, samplesperpixel=1) is None
    assert ome(2, photometric=1, samplesperpixel=1) is not None
    assert ome(3, photometric=3, samplesperpixel=1) is None  # a palette's colours
    assert ome(4, photometric=3, samplesperpixel=1) is not None


def blocks_of(columns: int, rows: int, blank: Sequence[tuple[int, int]] = ()) -> BlockTable:
    counts = np.ones(columns * rows, np.int64)
    for column, row in blank:
        counts[row * columns + column] = 0
    return BlockTable(columns * 8, rows * 8, 8, 8, columns, rows, "jpeg", "rgb", None, offsets=counts, counts=counts)


@pytest.mark.parametrize(
    ("finer", "coarser", "blank", "lost"),
    [
        ((8, 4), (4, 2), [(5, 1)], [(2, 0)]),
        ((8, 4), (2, 2), [(5, 3), (3, 0)], [(1, 1), (0, 0)]),
        ((5, 9), (3, 3), [(4, 8), (2, 5)], [(2, 2), (1, 1)]),
        ((4, 3), (4, 3), [(3, 2)], [(3, 2)]),
        ((7, 3), (3, 1), [(6, 2), (6, 0)], []),  # beyond the coarser level's last block
    ],
)
def test_what_lies_above_blank_blocks_is_blank(
    finer: tuple[int, int], coarser: tuple[int, int], blank: list[tuple[int, int]], lost: list[tuple[int, int]]
) -> None:
    above = blocks_of(*coarser)
    spread_blanks(blocks_of(*finer, blank), above)
    np.testing.assert_array_equal(above.counts, blocks_of(*coarser, lost).counts)


def test_compressions_have_a_name_or_their_number() -> None:
    assert (compression_name(7), compression_name(64999)) == ("JPEG (7)", "64999")


def chain(order: str, *, big: bool, directories: int, last: Callable[[list[int]], int] = lambda _: 0) -> bytes:
    """A TIFF of nothing but so many directories of one entry each; `last` says where the last one leads."""
    link, number, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    size = struct.calcsize(order + number) + entry + struct.calcsize(order + link)
    begin = 16 if big else 8
    places = [begin + size * number for number in range(directories)]
    out = mark + head + struct.pack(order + link, places[0] if places else 0)
    for at in range(directories):
        to = places[at + 1] if at + 1 < directories else last(places)
        out += struct.pack(order + number, 1) + bytes(entry) + struct.pack(order + link, to)
    return out


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_chains_of_directories(tmp_path: Path, order: str, big: bool) -> None:
    file = tmp_path / "a.tiff"

    def ends(directories: int, last: Callable[[list[int]], int] = lambda _: 0) -> bool:
        file.write_bytes(chain(order, big=big, directories=directories, last=last))
        return check_chain(file)

    assert ends(0)
    assert ends(1)
    assert ends(1000)
    assert not ends(3, lambda _: 10**6)
    with pytest.raises(ValueError, match="more than 1000 directories"):
        ends(1001)
    with pytest.raises(ValueError, match="directory 2 leads back to an earlier one"):
        ends(3, lambda places: places[1])
    with pytest.raises(ValueError, match="directory 0 leads back"):
        ends(1, lambda places: places[0])
    file.write_bytes(chain(order, big=big, directories=2)[:-1])
    assert not check_chain(file)
