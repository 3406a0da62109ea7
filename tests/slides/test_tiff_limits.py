"""What is judged of a TIFF's directories, each tag by itself and at its limits: directories that no file need hold."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.block_table import BlockTable
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


@dataclass(frozen=True)
class Tags:
    values: dict[int | str, Any]

    def valueof(self, tag: int | str, default: Any = None) -> Any:
        return self.values.get(tag, default)


@dataclass
class Page(tifffile.TiffPage):  # type: ignore[misc]
    """A directory in RGB, of JPEG blocks, that readers show rightly."""

    imagewidth: int = 100
    imagelength: int = 80
    tilewidth: int = 16
    tilelength: int = 32
    photometric: int = 2
    samplesperpixel: int = 3
    bitspersample: int = 8
    sampleformat: int = 1
    compression: int = 7
    planarconfig: int = 1
    imagedepth: int = 1
    tiledepth: int = 1
    subfiletype: int = 0
    databytecounts: tuple[int, ...] = (5, 0, 7)
    description: str = ""
    tags: Any = field(default_factory=lambda: Tags({}))
    index: int = 0
    subifds: Any = None
    pages: Any = None
    is_tiled: bool = True


def page(**changed: Any) -> Page:
    """A directory with some attributes changed; names that it has not are tags, by their number (t274) or name."""
    own = {name: value for name, value in changed.items() if name in Page.__dataclass_fields__}
    others = changed.keys() - own.keys()
    return Page(**own, tags=Tags({int(name[1:]) if name[1:].isdigit() else name: changed[name] for name in others}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"t339": 1}, None),
        ({"t339": 4, "sampleformat": 4}, None),
        ({"sampleformat": 2}, None),  # not said in the file: tifffile's default counts for nothing
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
        ({"photometric": 4}, "photometric interpretation 4, not RGB"),
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
    _check_agreement(0, page(**plain, databytecounts=(16 * 32 * 3, 0)))
    _check_agreement(0, page(**plain, databytecounts=(16 * 32,), planarconfig=2))
    _check_agreement(0, page(**plain, databytecounts=(16 * 32 * 3 * 2,), bitspersample=16))
    _check_agreement(0, page(databytecounts=(1,)))  # compressed
    _check_agreement(0, page(photometric=3, samplesperpixel=1))
    for wrong, words in (
        (page(**plain, databytecounts=(16 * 32 * 3 - 1,)), "a block of 1535 bytes instead of 1536"),
        (page(**plain, databytecounts=(16 * 32 - 1,), planarconfig=2), "511 bytes instead of 512"),
        (page(photometric=3), "level 2 has a palette and 3 samples"),
    ):
        with pytest.raises(ValueError, match=words):
            _check_agreement(2, wrong)


def test_blocks_and_byte_counts_at_their_limits(tmp_path: Path) -> None:
    check_block_size(tmp_path, 0, page(tilewidth=2**13, tilelength=2**13))
    check_block_size(tmp_path, 0, page(tilewidth=2**26, tilelength=1))
    with pytest.raises(SlideError, match=r"level 5 are 67108865 x 1 pixels"):
        check_block_size(tmp_path, 5, page(tilewidth=2**26 + 1, tilelength=1))
    file = tmp_path / "a.tiff"
    file.write_bytes(bytes(100))
    check_byte_counts(file, 0, page(databytecounts=(3, 100)))
    check_byte_counts(file, 0, page(databytecounts=()))
    with pytest.raises(SlideError, match="level 6 takes 101 bytes, and the file has 100"):
        check_byte_counts(file, 6, page(databytecounts=(101, 3)))


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


@pytest.mark.parametrize(
    ("tags", "mpp"),
    [
        ({"XResolution": (20000, 1), "YResolution": (40000, 2), "ResolutionUnit": 3}, (0.5, 0.5)),
        ({"XResolution": (50800, 1), "YResolution": (25400, 1), "ResolutionUnit": 2}, (0.5, 1.0)),
        ({"XResolution": (50800, 3), "YResolution": (25400, 1)}, (1.5, 1.0)),  # inches are the default
        ({"XResolution": (50800, 1), "YResolution": (25400, 1), "ResolutionUnit": 1}, None),
        ({"XResolution": (0, 1), "YResolution": (1, 1)}, None),
        ({"XResolution": (1, 0), "YResolution": (1, 1)}, None),
        ({"XResolution": (1, 1), "YResolution": (1, 0)}, None),
        ({"XResolution": (1, 1)}, None),
        ({"XResolution": 3.5, "YResolution": 3.5}, None),
    ],
)
def test_resolution_tags(tags: dict[str, Any], mpp: tuple[float, float] | None) -> None:
    assert _resolution(page(**tags)) == mpp


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
