"""JP2 boxes never reach DALI, whose decoder dies of damaged ones; what they alone say is not lost without a word."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slide_files import Directory, write_tiff

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines import train_image_loader, train_loader, unreadable_images
from cellmix_dali.slides.jp2 import JP2_SIGNATURE, bare_codestream, strange_colours
from cellmix_dali.slides.jpeg2000 import parse_codestream

SIDE = 64
PICTURE = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def encoded(**options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(PICTURE).save(out, "jpeg2000", **options)
    return out.getvalue()


BARE, BOXED = encoded(no_jp2=True), encoded()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


IHDR = struct.pack(">IIHBBBB", SIDE, SIDE, 3, 7, 7, 0, 0)
SRGB = struct.pack(">BBBI", 1, 0, 0, 16)
PLAIN_CHANNELS = struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3)


def jp2(*header: tuple[bytes, bytes], code: bytes = BARE) -> bytes:
    """A JP2 file of those boxes in its header box."""
    boxes = b"".join(box(kind, content) for kind, content in header)
    return JP2_SIGNATURE + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", boxes) + box(b"jp2c", code)


def test_boxes_come_off() -> None:
    assert BOXED.startswith(JP2_SIGNATURE)
    assert BARE == bare_codestream(BARE) == bare_codestream(BOXED)
    profile = bytes(16) + b"RGB " + bytes(108)
    for header in (
        [(b"ihdr", IHDR), (b"colr", SRGB)],
        [(b"ihdr", IHDR), (b"colr", SRGB), (b"cdef", PLAIN_CHANNELS)],
        [(b"ihdr", IHDR), (b"colr", b"\2\0\0" + profile)],
        [(b"ihdr", IHDR[:10] + b"\xff" + IHDR[11:]), (b"bpcc", b"\7\7\7"), (b"colr", SRGB), (b"res ", b"")],
        [(b"ihdr", IHDR), (b"colr", SRGB), (b"colr", struct.pack(">BBBI", 1, 0, 0, 18))],  # the first one counts
    ):
        assert bare_codestream(jp2(*header)) == BARE
        assert strange_colours(jp2(*header)) is None
    long = jp2((b"ihdr", IHDR), (b"colr", SRGB))
    long = long[: -len(BARE) - 8] + struct.pack(">I4sQ", 1, b"jp2c", 16 + len(BARE)) + BARE
    assert bare_codestream(long) == BARE
    assert bare_codestream(jp2((b"ihdr", IHDR), (b"colr", SRGB))[: -len(BARE) - 8] + b"\0\0\0\0jp2c" + BARE) == BARE


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([(b"colr", struct.pack(">BBBI", 1, 0, 0, 18))], "colours are sYCC"),
        ([(b"colr", struct.pack(">BBBI", 1, 0, 0, 17))], "colours are grey"),
        ([(b"colr", struct.pack(">BBBI", 1, 0, 0, 12))], "of the space 12"),
        ([(b"colr", b"\2\0\0" + bytes(16) + b"CMYK" + bytes(108))], "ICC profile for b'CMYK'"),
        ([(b"colr", b"\4\0\0" + bytes(16))], "a vendor's own"),
        ([(b"colr", SRGB), (b"pclr", b"\0\1\1\7\0")], "numbers of a palette"),
        ([(b"colr", SRGB), (b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))], "not red, green and blue"),
        ([(b"colr", SRGB), (b"cdef", struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 1, 0))], "not red, green and blue"),
    ],
)
def test_what_a_bare_code_stream_cannot_say(header: list[tuple[bytes, bytes]], words: str, tmp_path: Path) -> None:
    """The level goes another way: through OpenSlide, which refuses these, so the slide is."""
    stream = jp2((b"ihdr", IHDR), *header)
    assert words in str(strange_colours(stream[:2000]))
    with pytest.raises(ValueError, match=words):
        bare_codestream(stream)
    slide = write(tmp_path, [stream] * 4)
    with pytest.raises(SlideError, match=rf"JP2 boxes say .*{words}.*OpenSlide refuses it too.*Convert it"):
        open_slide(slide)


@pytest.mark.parametrize(
    "stream",
    [
        jp2((b"colr", SRGB)),
        jp2((b"ihdr", IHDR)),
        jp2((b"ihdr", IHDR[:9]), (b"colr", SRGB)),
        jp2((b"ihdr", struct.pack(">IIHBBBB", SIDE, SIDE, 4, 7, 7, 0, 0)), (b"colr", SRGB)),
        jp2((b"ihdr", struct.pack(">IIHBBBB", 65, SIDE, 3, 7, 7, 0, 0)), (b"colr", SRGB)),
        jp2((b"ihdr", struct.pack(">IIHBBBB", SIDE, SIDE, 3, 255, 7, 0, 0)), (b"colr", SRGB)),
        jp2((b"ihdr", IHDR), (b"colr", b"\1\0")),
        jp2((b"ihdr", IHDR), (b"colr", b"\x09\0\0" + SRGB[3:])),
        jp2((b"ihdr", IHDR), (b"colr", SRGB), code=b"\xff\xd8\xff"),
        JP2_SIGNATURE,
        JP2_SIGNATURE + box(b"jp2c", BARE),
        BOXED[:40],
        BOXED[:-20],
        BOXED.replace(b"jp2h", b"jp2x"),
        BOXED.replace(struct.pack(">I4s", 45, b"jp2h"), struct.pack(">I4s", 4, b"jp2h")),
        BOXED.replace(struct.pack(">I4s", 15, b"colr"), struct.pack(">I4s", 0xFFFF, b"colr")),
    ],
)
def test_damaged_boxes(stream: bytes) -> None:
    with pytest.raises(ValueError, match="JP2"):
        bare_codestream(stream)


def test_every_byte_of_the_boxes() -> None:
    """Whatever is changed, what comes out begins as a code stream, or it is refused."""
    begin = BOXED.index(b"\xff\x4f\xff\x51")
    refused = 0
    for place in range(len(JP2_SIGNATURE), begin + 44):
        for bit in (1, 0x80):
            broken = bytearray(BOXED)
            broken[place] ^= bit
            try:
                assert bare_codestream(bytes(broken)).startswith(b"\xff\x4f\xff\x51")
            except ValueError:
                refused += 1
    assert refused > 100


def write(folder: Path, blocks: list[bytes]) -> Path:
    """A tiled TIFF of one column of blocks, JPEG 2000 (34712)."""
    level = Directory(SIDE, SIDE * len(blocks), SIDE, list(blocks), compression=34712, photometric=2)
    return write_tiff(folder / "slide.tiff", [level])


def test_a_slide_hands_out_bare_code_streams(tmp_path: Path) -> None:
    broken = BOXED.replace(b"colr", b"cola")
    other = jp2((b"ihdr", IHDR), (b"colr", struct.pack(">BBBI", 1, 0, 0, 18)))  # in another block than the first
    with open_slide(write(tmp_path, [BOXED, BARE, broken, other])) as slide:
        assert slide.route == "direct"
        assert slide.blocks(0, [0, 0], [0, 1]) == [BARE, BARE]
        found = slide.block_reader(0).read(np.zeros(4, np.int64), np.arange(4))
        whole = [isinstance(block, np.ndarray) and block.tobytes() == BARE for block in found]
        assert whole == [True, True, False, False]
        assert "does not say its colours" in str(found[2])
        assert "sYCC" in str(found[3])
        for row, words in ((2, "does not say its colours"), (3, "sYCC")):
            with pytest.raises(SlideError, match=words):
                slide.block(0, 0, row)
            with pytest.raises(SlideError, match=words):
                slide.read_region(0, 0, row * SIDE, SIDE, SIDE)


def test_real_blocks_lose_their_boxes_and_keep_their_pixels(real: Callable[[str], Path]) -> None:
    with open_slide(real("CMU-1-Small-Region.jp2.tiff")) as slide:
        level = slide.levels[0]
        for number in range(0, level.columns * level.rows, 17):
            stream = slide.block(0, number % level.columns, number // level.columns)
            assert stream is not None
            header = parse_codestream(stream)
            assert stream.startswith(b"\xff\x4f\xff\x51")
            assert (header.width, header.height, header.bits) == (level.block_width, level.block_height, (8, 8, 8))


@pytest.mark.slow
def test_damaged_headers_do_not_end_the_process(odd: Callable[[str], Path]) -> None:
    """In a process of its own, by 25 loaders; bad tiles are replaced, good ones are those of the code streams."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("train_on_jp2.py")), str(odd("jp2-damaged-headers.tiff")), "25"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaders, tiles, replaced = map(int, done.stdout.split())
    assert loaders == 25
    assert tiles >= 25 * 40
    assert 8 <= replaced <= 16


def test_image_files_in_boxes_are_refused(tmp_path: Path) -> None:
    for name, content in (("boxed.jp2", BOXED), ("named.jpg", BOXED), ("bare.j2k", BARE)):
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in ("bare.j2k", "boxed.jp2", "named.jpg")]
    bad = unreadable_images(files)
    assert set(bad) == {1, 2}
    assert "convert it to PNG" in bad[1]
    with pytest.raises(ArgumentError, match=r"2 of 3 image files cannot be read, the first is .*boxed\.jp2"):
        train_image_loader(files, [0, 1, 0], num_classes=2, batch_size=1, image_size=SIDE, method=None)
    loader = train_image_loader(files[:1], [0], num_classes=2, batch_size=1, image_size=SIDE, method=None, flips=False)
    assert len(list(loader)) == 1


def test_training_sees_the_pixels(tmp_path: Path) -> None:
    path = write(tmp_path, [BOXED] * 4)
    with open_slide(path) as slide:
        table = grid_tiles(slide, SIDE)
    assert isinstance(table, TileTable)
    labelled = table.with_labels(np.arange(4) % 2)
    options = {"num_classes": 2, "batch_size": 4, "method": None, "flips": False, "mean": (0, 0, 0), "std": (1, 1, 1)}
    with train_loader(labelled, **options) as loader:
        images = next(iter(loader))["images"].numpy()
    np.testing.assert_array_equal(np.rint(images * 255).astype(np.uint8), np.stack([PICTURE.transpose(2, 0, 1)] * 4))
