"""Slides rendered here: levels, blanks, edges, damage, processes and threads."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openslide
import pytest
from against_openslide import over_white
from PIL import Image
from slide_files import Directory, directory, jpeg, picture, without, write_tiff

from cellmix_dali import TileTable, read_tiles
from cellmix_dali.errors import ArgumentError, MissingDependencyError, SlideError
from cellmix_dali.pipelines import read_table
from cellmix_dali.reading import TileReader
from cellmix_dali.slides import open_slide
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.openslide import OpenSlideFile, bounds_of, mpp_of

FINE = picture(300, 200)
APERIO = "Aperio Image Library v12\r\n300x200 (64x64) JPEG/RGB Q=90|AppMag = 40|MPP = 0.25"


def bare_rgb(pixels):
    return without(jpeg(pixels, rgb=True), 0xEE)


def jpeg2000(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg2000", no_jp2=True)
    return out.getvalue()


def two_levels(path, *, big=False, coarse=None, **tags):
    coarse = FINE[::2, ::2] if coarse is None else coarse
    return write_tiff(path, [directory(FINE, **tags), directory(coarse, **{"subfiletype": 1, **tags})], big=big)


def check_blocks(path, slide, decode):
    """Every block that is there, decoded, is what OpenSlide reads; returns the blank ones' places."""
    blank = set()
    with openslide.OpenSlide(path) as handle:
        assert [(level.width, level.height) for level in slide.levels] == list(handle.level_dimensions)
        assert [level.downsample for level in slide.levels] == list(handle.level_downsamples)
        for number, level in enumerate(slide.levels):
            whole = handle.read_region((0, 0), number, (level.width, level.height)).convert("RGBA")
            white = Image.new("RGBA", whole.size, "white")
            whole = np.asarray(Image.alpha_composite(white, whole).convert("RGB"))
            np.testing.assert_array_equal(slide.read_region(number, 0, 0, level.width, level.height), whole)
            columns, rows = zip(*itertools.product(range(level.columns), range(level.rows)), strict=True)
            streams = slide.blocks(number, columns, rows)
            there = [at for at, stream in enumerate(streams) if stream is not None]
            blank |= {(number, columns[at], rows[at]) for at in set(range(len(streams))) - set(there)}
            wide, high = level.block_width, level.block_height
            for at, shown in zip(there, decode([streams[at] for at in there]), strict=True):
                assert shown.shape == (high, wide, 3)
                expected = whole[rows[at] * high :, columns[at] * wide :][:high, :wide]
                np.testing.assert_array_equal(shown[: expected.shape[0], : expected.shape[1]], expected)
    return blank


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"encode": bare_rgb, "photometric": 2},
        {"encode": bare_rgb, "photometric": 2, "description": APERIO},
        {"encode": jpeg2000, "photometric": 2, "compression": 33005, "description": APERIO},
    ],
    ids=["ycbcr", "rgb", "aperio", "aperio-jpeg2000"],
)
def test_two_levels(tmp_path, decode, big, tags):
    path = two_levels(tmp_path / "slide.tiff", big=big, pixels_per_cm=20000, **tags)
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert len(slide.levels) == 2
        assert (slide.levels[0].columns, slide.levels[0].rows) == (5, 4)
        aperio = "description" in tags
        assert slide.mpp == ((0.25, 0.25) if aperio else (0.5, 0.5))
        assert slide.vendor == ("aperio" if aperio else "generic-tiff")
        assert check_blocks(path, slide, decode) == set()


@pytest.mark.parametrize(("width", "height"), [(2, 200), (300, 2), (2, 2)])
def test_levels_of_one_pixel(tmp_path, decode, width, height):
    fine = FINE[:height, :width]
    path = write_tiff(tmp_path / "slide.tiff", [directory(fine), directory(fine[::2, ::2], subfiletype=1)])
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert [(level.width, level.height) for level in slide.levels] == [
            (width, height),
            (width // 2, height // 2),
        ]
        assert check_blocks(path, slide, decode) == set()


def test_shared_tables(tmp_path, decode):
    whole = jpeg(FINE[:64, :64], rgb=True)
    tables = b"\xff\xd8" + b"".join(
        whole[at : at + 2 + int.from_bytes(whole[at + 2 : at + 4], "big")]
        for marker in (b"\xff\xdb", b"\xff\xc4")
        for at in range(len(whole))
        if whole.startswith(marker, at) and at < whole.index(b"\xff\xda")
    ) + b"\xff\xd9"  # fmt: skip

    def encode(pixels):
        return without(jpeg(pixels, rgb=True), 0xEE, 0xDB, 0xC4)

    path = two_levels(tmp_path / "slide.tiff", encode=encode, photometric=2, tables=tables)
    with open_slide(path) as slide:
        assert check_blocks(path, slide, decode) == set()
    path = two_levels(tmp_path / "no-tables.tiff", encode=encode, photometric=2)
    with pytest.raises(SlideError, match="tables are neither in the block nor in the JPEGTables"):
        open_slide(path)


def test_only_levels_count(tmp_path, decode):
    # Generic: the first directory and reduced tiled ones, by width; a second full-size picture is no level.
    path = write_tiff(
        tmp_path / "slide.tiff",
        [
            directory(FINE),
            directory(FINE[::4, ::4], subfiletype=1),
            directory(FINE[::2, ::2], subfiletype=1),
            directory(picture(310, 210, seed=5), subfiletype=0),
            Directory(100, 60, 0, [jpeg(picture(100, 60))], subfiletype=1, tiled=False),
        ],
    )
    with open_slide(path) as slide:
        assert [level.width for level in slide.levels] == [300, 150, 75]
        assert check_blocks(path, slide, decode) == set()
    # Aperio: all tiled ones; thumbnail, label and macro are not.
    path = write_tiff(
        tmp_path / "slide.svs",
        [
            directory(FINE, description=APERIO),
            Directory(100, 60, 0, [jpeg(picture(100, 60))], description=APERIO, tiled=False),
            directory(FINE[::2, ::2], description=APERIO),
            Directory(
                50,
                60,
                0,
                [jpeg(picture(50, 60))],
                subfiletype=9,
                description="Aperio\r\nmacro 1",
                tiled=False,
            ),
        ],
    )
    with open_slide(path) as slide:
        assert [level.width for level in slide.levels] == [300, 150]
        assert check_blocks(path, slide, decode) == set()


@pytest.mark.parametrize("aperio", [False, True])
def test_blank_blocks(tmp_path, decode, aperio):
    tags = {"description": APERIO} if aperio else {}
    fine = directory(FINE, blank=[(2, 1), (4, 3)], **tags)
    path = write_tiff(tmp_path / "slide.tiff", [fine, directory(FINE[::2, ::2], subfiletype=1, **tags)])
    with open_slide(path) as slide:
        # OpenSlide draws the blocks above a blank one of an Aperio slide from below: they are blank too.
        above = {(1, 1, 0), (1, 2, 1)} if aperio else set()
        assert check_blocks(path, slide, decode) == {(0, 2, 1), (0, 4, 3)} | above
        assert slide.block(0, 2, 1) is None
        assert (slide.read_region(0, 128, 64, 64, 64) == 255).all()
        assert (slide.read_region(0, 0, 0, 64, 64) != 255).any()


@pytest.mark.parametrize("aperio", [False, True])
def test_blocks_with_a_place_but_no_bytes_look_as_in_openslide(tmp_path, decode, aperio):
    path = two_levels(tmp_path / "slide.tiff", **({"description": APERIO} if aperio else {}))
    with open_slide(path) as slide:
        assert "no bytes" not in slide.reason
        counts = [int(slide._blocks.tables[0].counts[4]), int(slide._blocks.tables[1].counts[1])]
    raw = path.read_bytes()
    for count in counts:
        assert raw.count(count.to_bytes(4, "little")) == 1
        raw = raw.replace(count.to_bytes(4, "little"), bytes(4))
    path.write_bytes(raw)
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert "no bytes count as blank: 2." in slide.reason
        above = {(1, 2, 0)} if aperio else set()
        assert check_blocks(path, slide, decode) == {(0, 4, 0), (1, 1, 0)} | above


def test_a_level_that_lost_all_its_byte_counts_is_damaged(tmp_path):
    path = write_tiff(tmp_path / "slide.tiff", [directory(FINE)])
    with open_slide(path) as slide:
        counts = slide._blocks.tables[0].counts.astype("<u4").tobytes()
    raw = path.read_bytes()
    assert raw.count(counts) == 1
    path.write_bytes(raw.replace(counts, bytes(len(counts))))
    with pytest.raises(SlideError, match="have a place in the file, but the byte count 0"):
        open_slide(path)


def test_blocks_with_headers_of_more_than_64_kib(tmp_path):
    def long(pixels):
        block = jpeg(pixels)
        # A colour profile in segments.
        return (
            block[:2] + b"".join(b"\xff\xe2" + (60002).to_bytes(2, "big") + bytes(60000) for _ in range(3)) + block[2:]
        )

    path = write_tiff(tmp_path / "slide.tiff", [directory(FINE, encode=long)])
    same = write_tiff(tmp_path / "same.tiff", [directory(FINE)])
    places = [(0, 0), (64, 64), (30, 40)]
    with open_slide(path) as slide:
        assert slide.route == "direct"
    np.testing.assert_array_equal(read_tiles(path, places, 64), read_tiles(same, places, 64))
    with openslide.OpenSlide(path) as other:
        np.testing.assert_array_equal(
            read_tiles(path, places, 64)[2],
            np.asarray(other.read_region((30, 40), 0, (64, 64)).convert("RGB")),
        )


def test_all_blank_level(tmp_path):
    blank = [(c, r) for c in range(3) for r in range(2)]
    path = write_tiff(tmp_path / "slide.tiff", [directory(FINE), directory(FINE[::2, ::2], blank=blank, subfiletype=1)])
    with open_slide(path) as slide:
        assert slide.blocks(1, [0, 2], [1, 0]) == [None, None]
        assert (slide.read_region(1, 0, 0, 150, 100) == 255).all()


def test_regions(tmp_path):
    path = two_levels(tmp_path / "slide.tiff")
    with open_slide(path) as slide:
        whole = [slide.read_region(i, 0, 0, level.width, level.height) for i, level in enumerate(slide.levels)]
        assert np.abs(whole[0].astype(int) - FINE).mean() < 8
        for number, picture_there in enumerate(whole):
            height, width = picture_there.shape[:2]
            np.testing.assert_array_equal(slide.read_region(number, 31, 17, 90, 50), picture_there[17:67, 31:121])
            outside = slide.read_region(number, -10, height - 20, 60, 40)
            assert outside.shape == (40, 60, 3)
            assert outside.dtype == np.uint8
            assert (outside[:, :10] == 255).all()
            assert (outside[20:] == 255).all()
            np.testing.assert_array_equal(outside[:20, 10:], picture_there[-20:, :50])
            assert (slide.read_region(number, width + 5, 0, 8, 8) == 255).all()


def test_regions_of_an_uneven_level_are_exact(tmp_path):
    # Downsample 2.0167...: OpenSlide would blur nearly everywhere but at the upper left corner.
    coarse = picture(149, 99, seed=3)
    blank = [(1, 1)]
    path = write_tiff(tmp_path / "slide.tiff", [directory(FINE), directory(coarse, subfiletype=1, blank=blank)])
    with open_slide(path) as slide:
        assert slide.levels[1].downsample != 2
        whole = slide.read_region(1, 0, 0, 149, 99)
        np.testing.assert_array_equal(slide.read_region(1, 37, 21, 100, 80)[:78], whole[21:99, 37:137])
        assert (slide.read_region(1, 37, 21, 120, 80)[78:] == 255).all()
        place = round(37 * slide.levels[1].downsample), round(21 * slide.levels[1].downsample)
        with openslide.OpenSlide(path) as handle:
            blurred = np.asarray(handle.read_region(place, 1, (40, 40)))[..., :3]
        assert (blurred != whole[21:61, 37:77]).any()
        for x, y in ((151, 5), (5, 101), (-9, 5), (5, -9)):  # wholly outside
            assert (slide.read_region(1, x, y, 8, 8) == 255).all()


def test_damage_in_an_uneven_level_is_said(tmp_path):
    coarse = directory(picture(149, 99, seed=3), subfiletype=1)
    huge = coarse.blocks[1].replace(b"\x00\x40\x00\x40\x03", b"\x7f\x40\x7f\x40\x03")
    for broken, words in ((huge, "it says it is 32576 x 32576 pixels"), (coarse.blocks[1][:-2], "no end")):
        coarse.blocks[1] = broken
        with open_slide(write_tiff(tmp_path / "slide.tiff", [directory(FINE), coarse])) as slide:
            slide.read_region(1, 1, 1, 63, 40)
            slide.read_region(1, 1, 65, 147, 33)
            with pytest.raises(SlideError, match=rf"Cannot decode block 1, 0 \(column, row\) of level 1 .*{words}"):
                slide.read_region(1, 1, 1, 64, 40)


def test_what_an_open_slide_says_of_itself(tmp_path):
    with open_slide(two_levels(tmp_path / "slide.tiff")) as slide:
        assert repr(slide) == "<Slide slide.tiff: 300x200, 2 levels, direct>"
        assert [slide.file_size(number) for number in range(2)] == [(300, 200), (150, 100)]
        assert slide.file_levels == (0, 1)
        for number in (-1, 2):
            with pytest.raises(ArgumentError, match=f"has levels 0 to 1, not {number}"):
                slide.file_size(number)


@pytest.mark.parametrize("process", [0xC3, 0xC9])
def test_kinds_of_jpeg_that_no_decoder_knows_are_refused(tmp_path, process):
    level = directory(FINE)
    level.blocks[0] = level.blocks[0].replace(b"\xff\xc0", bytes((0xFF, process)))
    with pytest.raises(SlideError, match=r"block 0, 0 .* of level 0: it is a JPEG of a kind .*lossless or arithmetic"):
        open_slide(write_tiff(tmp_path / "slide.tiff", [level]))


def test_blank_blocks_of_an_uneven_level_show_the_level_below(tmp_path):
    """Only in Aperio files; a region between two pixels of the level is put together from the blocks."""
    coarse = picture(149, 99, seed=3)
    for aperio in (True, False):
        tags = {"description": APERIO} if aperio else {}
        levels = [directory(FINE, **tags), directory(coarse, blank=[(1, 0)], **tags)]
        levels[1].subfiletype = None if aperio else 1
        path = write_tiff(tmp_path / f"{aperio}.tiff", levels)
        with open_slide(path) as slide, openslide.OpenSlide(path) as handle:
            assert slide.route == "direct"
            fine = np.asarray(handle.read_region((0, 0), 0, (300, 200)).convert("RGB"))
            region = slide.read_region(1, 71, 7, 40, 50)  # within the blank block, columns 64 to 127
            if aperio:
                want = Image.fromarray(fine).resize((149, 99), Image.Resampling.BOX)
                assert np.abs(region.astype(int) - np.asarray(want)[7:57, 71:111]).mean() < 12
                wrong = np.asarray(want)[7:57, 31:71]
                assert np.abs(region.astype(int) - wrong).mean() > 30
            else:
                assert (region == 255).all()


def test_thumbnails(tmp_path, monkeypatch):
    path = two_levels(tmp_path / "slide.tiff")
    with open_slide(path) as slide:
        assert slide.thumbnail(1000).shape == (200, 300, 3)
        small = slide.thumbnail(60)
        assert small.shape == (40, 60, 3)
        monkeypatch.setattr("cellmix_dali.slides.slide._BAND_PIXELS", 1500)
        np.testing.assert_array_equal(slide.thumbnail(60), small)  # in several bands
        with pytest.raises(ArgumentError, match="positive size, not 0"):
            slide.thumbnail(0)


def test_other_compressions_go_through_openslide(tmp_path):
    raw = {"encode": lambda block: block.tobytes(), "photometric": 2, "compression": 1}
    with open_slide(two_levels(tmp_path / "raw.tiff", **raw)) as slide:
        assert slide.route == "openslide"
        assert "level 0 are compressed with NONE (1)" in slide.reason
        assert slide.levels[0].columns is None
        np.testing.assert_array_equal(slide.read_region(0, 10, 20, 200, 150), FINE[20:170, 10:210])
        np.testing.assert_array_equal(slide.read_region(1, 10, 20, 90, 70), FINE[::2, ::2][20:90, 10:100])
    grey = directory(FINE, encode=lambda block: block[..., 0].tobytes(), photometric=1, compression=1, samples=1)
    with open_slide(write_tiff(tmp_path / "grey.tiff", [grey])) as slide:
        assert slide.route == "openslide"
    aperio = {"encode": jpeg2000, "photometric": 2, "compression": 33003, "description": APERIO}
    with open_slide(two_levels(tmp_path / "ycbcr.svs", **aperio)) as slide:
        assert slide.route == "openslide"
        assert "33003" in slide.reason
        with pytest.raises(SlideError, match=r"no blocks to hand out.*33003"):
            slide.blocks(0, [0], [0])


def test_jpeg2000_that_openslide_refuses_in_levels(tmp_path, decode):
    path = two_levels(
        tmp_path / "slide.tiff", encode=jpeg2000, photometric=2, compression=34712, blank=[(1, 0)],
        pixels_per_cm=40000,
    )  # fmt: skip
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert [level.downsample for level in slide.levels] == [1.0, 2.0]
        assert slide.mpp == pytest.approx((0.25, 0.25))
        region = slide.read_region(1, 10, 10, 140, 90)
        np.testing.assert_array_equal(region[:54, :54], FINE[::2, ::2][10:64, 10:64])  # lossless here
        assert (region[:54, 54:118] == 255).all()
        (shown,) = decode([slide.block(1, 2, 1)])
        np.testing.assert_array_equal(shown[:36, :22], FINE[::2, ::2][64:, 128:])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_cut_files_are_refused(tmp_path, share):
    whole = two_levels(tmp_path / "whole.tiff").read_bytes()
    path = tmp_path / "cut.tiff"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SlideError, match=r"truncated|not a slide"):
        open_slide(path)


def test_blocks_beyond_the_end_are_refused(tmp_path):
    # The directories lie before the blocks, so that a cut takes blocks only.
    path = two_levels(tmp_path / "slide.tiff")
    with open_slide(path) as slide:
        offset = slide._blocks.tables[1].offsets[3]
    raw = path.read_bytes().replace(int(offset).to_bytes(4, "little"), (10**8).to_bytes(4, "little"))
    path.write_bytes(raw)
    with pytest.raises(SlideError, match=r"truncated or damaged: 1 of the 6 blocks of level 1.*number 3"):
        open_slide(path)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (bytes(500), "block 0, 0 .*no JPEG starts here"),
        (jpeg(picture(32, 64)), "32x64 pixels of 3 components with 8 bits, the TIFF says 64x64"),
    ],
)
def test_a_first_block_that_does_not_fit_is_refused(tmp_path, block, words):
    broken = directory(FINE)
    broken.blocks[0] = block
    with pytest.raises(SlideError, match=words):
        open_slide(write_tiff(tmp_path / "slide.tiff", [broken]))


def test_a_table_of_the_wrong_length_is_refused(tmp_path):
    short = directory(FINE)
    short.blocks.pop()
    with pytest.raises(
        SlideError, match=r"truncated or damaged: level 0 has 20 blocks, but 19 offsets and 19 byte counts"
    ):
        open_slide(write_tiff(tmp_path / "slide.tiff", [short]))


def test_files_that_are_no_slides(tmp_path):
    empty = tmp_path / "empty.svs"
    empty.touch()
    with pytest.raises(SlideError, match="is empty"):
        open_slide(empty)
    with pytest.raises(SlideError, match="is a folder"):
        open_slide(tmp_path)
    with pytest.raises(SlideError, match="There is no slide at"):
        open_slide(tmp_path / "missing.svs")
    flat = Directory(100, 60, 0, [jpeg(picture(100, 60))], tiled=False)
    with pytest.raises(SlideError, match="not tiled"):
        open_slide(write_tiff(tmp_path / "flat.tiff", [flat]))


def test_a_damaged_block_is_named_and_the_rest_stays_readable(tmp_path):
    broken = directory(FINE)
    broken.blocks[7] = bytes(400)
    path = write_tiff(tmp_path / "slide.tiff", [broken])
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"block 2, 1 \(column, row\) of level 0 of .*no JPEG starts here"):
            slide.blocks(0, [0, 2], [0, 1])
        assert slide.block(0, 0, 0) == broken.blocks[0]
        before = slide.read_region(0, 0, 0, 60, 60)
        handle = slide._pixels.handle()
        with pytest.raises(SlideError, match=r"cannot read 10x10 pixels of level 0 at \(140, 70\)"):
            slide.read_region(0, 140, 70, 10, 10)
        np.testing.assert_array_equal(slide.read_region(0, 0, 0, 60, 60), before)
        assert slide._pixels.handle() is not handle  # the failed one fails ever after
        with pytest.raises(openslide.OpenSlideError):
            handle.read_region((0, 0), 0, (60, 60))


def test_a_file_that_shrinks_while_open(tmp_path):
    path = two_levels(tmp_path / "slide.tiff")
    with open_slide(path) as slide:
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(SlideError, match=r"block 1, 0 .*only \d+ of its \d+ bytes are in the file"):
            slide.block(0, 1, 0)


def test_levels_that_openslide_does_not_find(tmp_path, monkeypatch):
    two_levels(tmp_path / "slide.tiff")
    read = TiledTiff.blocks

    def fewer(self, file):
        found = read(self, file)
        return dataclasses.replace(found, levels=found.levels[:1], sizes=found.sizes[:1])

    monkeypatch.setattr(TiledTiff, "blocks", fewer)
    with open_slide(tmp_path / "slide.tiff") as slide:
        assert [level.width for level in slide.levels] == [300]
        assert slide.block(0, 0, 0)
        for ask in (lambda: slide.read_region(0, 0, 0, 9, 9), lambda: dict(slide.properties)):
            with pytest.raises(
                SlideError, match=r"OpenSlide finds levels of 300 x 200, 150 x 100 pixels in .*slide.tiff"
            ):
                ask()
    monkeypatch.setattr(TiledTiff, "known", frozenset())
    with open_slide(tmp_path / "slide.tiff") as slide:
        assert slide.route == "openslide"
        assert "finds other levels" in slide.reason
        assert [level.width for level in slide.levels] == [300, 150]


@pytest.mark.parametrize(
    "mpp", ["0.25", " 0.2498 ", "0,5", "0.5|MPP = 0.3", "1e-1", "x", "0.3 um", "", ".5", "+0.5", "5.", "-1", "0.3|MPP"]
)
def test_opening_an_svs_says_what_openslide_says_without_opening_it(tmp_path, monkeypatch, mpp):
    text = f"Aperio Image Library v12\r\n300x200 (64x64) JPEG/RGB Q=90|AppMag = 40|MPP = {mpp}"
    encode = functools.partial(jpeg, rgb=True)
    tags = {"photometric": 2, "description": text, "encode": encode}
    path = write_tiff(
        tmp_path / "a.svs", [directory(FINE, blank=[(1, 1)], **tags), directory(picture(150, 100, seed=2), **tags)]
    )
    check_lazily(path, monkeypatch)


@pytest.mark.parametrize("big", [False, True])
def test_opening_a_tiff_says_what_openslide_says_without_opening_it(tmp_path, monkeypatch, big):
    levels = [directory(picture(150, 100, seed=2), subfiletype=1), directory(FINE[:64, :64], tiled=False)]
    check_lazily(write_tiff(tmp_path / "a.tiff", [directory(FINE, pixels_per_cm=39371), *levels], big=big), monkeypatch)
    check_lazily(write_tiff(tmp_path / "b.tiff", [directory(FINE), *levels], big=big), monkeypatch)


def check_lazily(path, monkeypatch):
    opened = []
    plain = OpenSlideFile._open
    monkeypatch.setattr(OpenSlideFile, "_open", lambda self: opened.append(self.path) or plain(self))
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.block(0, 0, 0)
        assert (slide.route, slide.vendor) == ("direct", other.properties["openslide.vendor"])
        assert [(level.width, level.height) for level in slide.levels] == list(other.level_dimensions)
        assert [level.downsample for level in slide.levels] == list(other.level_downsamples)
        assert slide.file_levels == (0, 1)
        assert slide.mpp == mpp_of(other.properties)
        bounds = bounds_of(other.properties, *other.dimensions)
        assert (slide.bounds.x, slide.bounds.y, slide.bounds.width, slide.bounds.height) == bounds
        assert not opened
        assert slide.properties == dict(other.properties)
        assert opened == [path]
        for number, level in enumerate(slide.levels):
            want = over_white(other.read_region((0, 0), number, (level.width + 9, level.height + 9)))
            got = slide.read_region(number, 0, 0, level.width + 9, level.height + 9)
            np.testing.assert_array_equal(got, want)
    monkeypatch.undo()


def test_errors_of_one_thread_do_not_reach_another(tmp_path):
    broken = directory(FINE)
    broken.blocks[7] = bytes(400)
    path = write_tiff(tmp_path / "slide.tiff", [broken])
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        expected = slide.read_region(0, 0, 0, 60, 60)

        def read(number):
            if number % 3:
                return (slide.read_region(0, 0, 0, 60, 60) == expected).all()
            try:
                slide.read_region(0, 140, 70, 10, 10)
            except SlideError:
                return True
            return False

        assert all(pool.map(read, range(90)))


def test_bad_arguments(tmp_path):
    with open_slide(two_levels(tmp_path / "slide.tiff")) as slide:
        for call, words in (
            (lambda: slide.block(2, 0, 0), "levels 0 to 1, not 2"),
            (lambda: slide.block(-1, 0, 0), "levels 0 to 1, not -1"),
            (lambda: slide.block(0, 5, 0), "5x4 blocks; there is none at column 5, row 0"),
            (lambda: slide.block(0, 0, -1), "none at column 0, row -1"),
            (lambda: slide.blocks(0, [0, 1], [0]), "as many columns as rows"),
            (lambda: slide.read_region(0, 0, 0, 0, 5), "positive width and height, not 0x5"),
            (lambda: slide.read_region(7, 0, 0, 5, 5), "levels 0 to 1, not 7"),
        ):
            with pytest.raises(ArgumentError, match=words):
                call()
        assert slide.blocks(0, [], []) == []


def test_pickling(tmp_path, monkeypatch):
    path = two_levels(tmp_path / "slide.tiff")
    monkeypatch.chdir(tmp_path)
    with open_slide("slide.tiff") as slide:
        data = pickle.dumps(slide)
        assert len(data) < 500
        assert b"slide.tiff" in data
        monkeypatch.chdir("/")
        other = pickle.loads(data)
        assert (other.path, other.levels, other.mpp, other.route) == (path, slide.levels, slide.mpp, "direct")
        assert other.block(1, 1, 1) == slide.block(1, 1, 1)


def test_closing(tmp_path):
    slide = open_slide(two_levels(tmp_path / "slide.tiff"))
    block, region = slide.block(0, 1, 1), slide.read_region(0, 5, 5, 20, 20)
    slide.close()
    slide.close()
    assert slide.block(0, 1, 1) == block
    np.testing.assert_array_equal(slide.read_region(0, 5, 5, 20, 20), region)
    slide.close()
    slide.path.unlink()
    with pytest.raises(SlideError, match="Check that the slide is still there"):
        slide.block(0, 0, 0)
    with pytest.raises(SlideError, match="OpenSlide cannot open"):
        slide.read_region(0, 0, 0, 5, 5)


def _in_child(slide, file, answers):
    own = slide._pixels.handle()
    answers.put((id(own), slide._blocks._file(0) is not file, slide.block(0, 2, 2), slide.read_region(1, 7, 7, 30, 30)))


def test_a_forked_child_opens_its_own_handles(tmp_path):
    slide = open_slide(two_levels(tmp_path / "slide.tiff"))
    block, region = slide.block(0, 2, 2), slide.read_region(1, 7, 7, 30, 30)
    handle, file = slide._pixels.handle(), slide._blocks._file(0)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(slide, file, answers))
    child.start()
    assert answers._reader.poll(60), "the child ended without an answer"
    child_handle, opened_anew, child_block, child_region = answers.get()
    child.join(20)
    assert child.exitcode == 0
    assert child_handle != id(handle)
    assert opened_anew
    assert child_block == block
    np.testing.assert_array_equal(child_region, region)
    slide.close()


def test_many_threads(tmp_path):
    path = two_levels(tmp_path / "slide.tiff")
    with open_slide(path) as slide, ThreadPoolExecutor(8) as pool:
        expected = slide.blocks(0, range(5), [1] * 5)
        whole = slide.read_region(0, 0, 0, 300, 200)
        slide.close()

        def read(number):
            x = number * 7 % 250
            same = slide.blocks(0, range(5), [1] * 5) == expected
            return same and (slide.read_region(0, x, 9, 50, 60) == whole[9:69, x : x + 50]).all()

        assert all(pool.map(read, range(200)))


def test_properties_that_are_missing_or_wrong():
    assert mpp_of({}) is None
    assert mpp_of({"openslide.mpp-x": "0.25", "openslide.mpp-y": "none"}) is None
    assert mpp_of({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}) == (0.25, 0.5)
    assert bounds_of({}, 70, 50) == (0, 0, 70, 50)
    names = dict(zip(("x", "y", "width", "height"), "1234", strict=True))
    assert bounds_of({f"openslide.bounds-{k}": v for k, v in names.items()}, 70, 50) == (1, 2, 3, 4)


def test_without_openslide(tmp_path, monkeypatch):
    path = two_levels(tmp_path / "slide.tiff")
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(MissingDependencyError, match="pip install openslide-python openslide-bin"):
        open_slide(path)


@pytest.mark.parametrize(("side", "slots"), [(130, 5), (200, 7)])
def test_windows_of_an_odd_number_of_blocks(tmp_path, side, slots):
    path = write_tiff(tmp_path / "slide.tiff", [directory(picture(256, 256, seed=3), 256, down=32)])
    table = TileTable.from_columns(str(path), x=[3, 9, 40], y=[2, 3, 50], size=side, level=0)
    reader = TileReader(table)
    assert reader.slots == slots
    reader.close()
    with openslide.OpenSlide(path) as other:
        for x, y, tile in zip(table.x.tolist(), table.y.tolist(), read_table(table), strict=True):
            np.testing.assert_array_equal(tile, over_white(other.read_region((x, y), 0, (side, side))))
