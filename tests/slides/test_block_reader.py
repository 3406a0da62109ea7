"""Many blocks at once: the same streams and the same damage as block by block, the quick way and the careful one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from slide_files import Directory, directory, jpeg, picture, without, write_tiff

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides import Slide, open_slide, usual_blocks
from cellmix_dali.slides._quick import _without_zeros
from cellmix_dali.slides.damage import BlockCheck
from cellmix_dali.slides.usual_blocks import read_usual

PICTURE = picture(256, 192)


def every_block(slide: Slide) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    level = slide.levels[0]
    places = np.arange(level.columns * level.rows)
    return places % level.columns, places // level.columns


def careful(slide: Slide, column: int, row: int) -> bytes | str | None:
    """What the way in Python gives."""
    try:
        stream = slide.block(0, column, row)
    except SlideError as error:
        return str(error)
    level = slide.levels[0]
    return stream if stream is None else BlockCheck(level.block_width, level.block_height).damage(stream) or stream


def compare(slide: Slide) -> int:
    """Read all blocks twice, the second time with the header known; give how many are damaged."""
    columns, rows = every_block(slide)
    reader, damaged = slide.block_reader(0), 0
    for _ in range(2):
        blocks = reader.read(columns, rows)
        for column, row, block in zip(columns.tolist(), rows.tolist(), blocks, strict=True):
            want = careful(slide, column, row)
            if isinstance(block, np.ndarray):
                assert block.tobytes() == want
            elif block is None:
                assert want is None
            else:
                assert isinstance(want, str)
                assert want in str(block)
                assert str(slide.path) in str(block)
                assert f"{column}, {row}" in str(block)
                damaged += 1
    return damaged // 2


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff", "CMU-1-Small-Region.jp2.tiff"]
)
def test_real_slides(real, name: str) -> None:
    with open_slide(real(name)) as slide:
        assert compare(slide) == 0


def tiff(folder: Path, **options: object) -> Path:
    return write_tiff(folder / "a.tiff", [directory(PICTURE, **options)])


@pytest.mark.parametrize("kind", ["plain", "rgb", "blank", "restarts", "progressive", "optimised"])
def test_kinds_of_blocks(tmp_path: Path, kind: str) -> None:
    import io

    from PIL import Image

    def encode(**options: object):
        def make(pixels: NDArray[np.uint8]) -> bytes:
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "jpeg", quality=85, **options)
            return out.getvalue()

        return make

    path = {
        "plain": lambda: tiff(tmp_path),
        "rgb": lambda: tiff(tmp_path, encode=lambda pixels: without(jpeg(pixels, rgb=True), 0xEE), photometric=2),
        "blank": lambda: tiff(tmp_path, blank=[(0, 0), (2, 1)]),
        "restarts": lambda: tiff(tmp_path, encode=encode(restart_marker_blocks=2)),
        "progressive": lambda: tiff(tmp_path, encode=encode(progressive=True)),
        "optimised": lambda: tiff(tmp_path, encode=encode(optimize=True)),
    }[kind]()
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert compare(slide) == 0


def broken(block: bytes, how: str) -> bytes:
    scan = len(block) - 300
    return {
        "zeros": block[:scan] + bytes(100) + block[scan + 100 :],
        "marker": block[:scan] + b"\xff\xc4" + block[scan + 2 :],
        "restart": block[:scan] + b"\xff\xd0" + block[scan + 2 :],
        "no end": block[:-2] + b"ab",
        "an early end": block[:scan] + b"\xff\xd9" + block[scan + 2 :],
        "cut": block[: len(block) // 2],
        "another header": block[:4] + b"\x00" * 8 + block[12:],
        "no JPEG": bytes(range(256)) * 4,
    }[how]


@pytest.mark.parametrize(
    "how", ["zeros", "marker", "restart", "no end", "an early end", "cut", "another header", "no JPEG"]
)
def test_damage_is_seen_among_sound_blocks(tmp_path: Path, how: str) -> None:
    sound = directory(PICTURE, encode=lambda pixels: jpeg(pixels, subsampling=0))
    blocks = list(sound.blocks)
    assert blocks[5] is not None
    blocks[5] = broken(blocks[5], how)
    path = write_tiff(tmp_path / "a.tiff", [Directory(sound.width, sound.height, sound.side, blocks)])
    with open_slide(path) as slide:
        assert compare(slide) == 1
        # Known from sound blocks alone, the header does not hide the damage either.
        reader = slide.block_reader(0)
        reader.read(np.array([0]), np.array([0]))
        one, other = reader.read(np.array([1, 2]), np.array([1, 1]))
        assert isinstance(one, SlideError)
        assert isinstance(other, np.ndarray)


@pytest.mark.parametrize("warm", [False, True])
def test_scans_are_followed_where_that_is_asked(tmp_path: Path, warm: bool) -> None:
    """A scan that is cut off, with an end behind it, shows in its codes only."""
    sound = directory(PICTURE, encode=lambda pixels: jpeg(pixels, subsampling=0))
    blocks = list(sound.blocks)
    assert blocks[5] is not None
    blocks[5] = blocks[5][:-200].rstrip(b"\xff") + b"\xff\xd9"
    path = write_tiff(tmp_path / "a.tiff", [Directory(sound.width, sound.height, sound.side, blocks)])
    with open_slide(path) as slide:
        for scans in (False, True):
            reader = slide.block_reader(0, scans=scans)
            if warm:  # the usual header is known then, and compiled code reads
                reader.read(np.array([0]), np.array([0]))
            one, other = reader.read(np.array([1, 2]), np.array([1, 1]))
            assert isinstance(one, SlideError if scans else np.ndarray)
            assert isinstance(other, np.ndarray)


def test_memory_is_what_the_blocks_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code needs a place for every block and for the header that it gets; none for one that is not sound."""
    taken: list[int] = []
    pool = usual_blocks._BUFFERS.take
    monkeypatch.setattr(usual_blocks._BUFFERS, "take", lambda size: taken.append(size) or pool(size))
    with open_slide(tiff(tmp_path)) as slide:
        columns, rows = every_block(slide)
        reader = slide.block_reader(0)
        reader.read(columns[:1], rows[:1])
        assert taken == []
        file, header = reader._usual()
        counts = slide._blocks.table(0).counts
        for longer in (-3, 0, 5):
            header.longer = longer
            most = usual_blocks._MOST_BYTES
            of = np.concatenate([counts, [most, most + 1, -1, 1 << 40]])
            which = np.zeros(of.size, np.int64)
            which[1] = -1
            read_usual([file], [header], which, np.zeros(of.size, np.int64), of)
            want = int(counts.sum() - counts[1]) + most + of.size * max(longer, 0)
            assert taken.pop() == want


def test_a_file_that_is_cut_or_gone_while_it_is_read(tmp_path: Path) -> None:
    path = tiff(tmp_path)
    with open_slide(path) as slide:
        columns, rows = every_block(slide)
        reader = slide.block_reader(0)
        whole = reader.read(columns, rows)
        assert all(isinstance(block, np.ndarray) for block in whole)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        cut = reader.read(columns, rows)
        assert any(isinstance(block, SlideError) for block in cut)
        for block, before in zip(cut, whole, strict=True):
            assert isinstance(block, SlideError) or np.array_equal(block, before)
        slide.close()
        path.unlink()
        assert all(isinstance(block, SlideError) for block in reader.read(columns, rows))


def test_threads(tmp_path: Path) -> None:
    with open_slide(tiff(tmp_path)) as slide:
        columns, rows = every_block(slide)
        reader = slide.block_reader(0)
        want = [slide.block(0, *place) for place in zip(columns.tolist(), rows.tolist(), strict=True)]

        def read(_: int) -> bool:
            blocks = reader.read(columns, rows)
            return all(
                isinstance(got, np.ndarray) and got.tobytes() == each for got, each in zip(blocks, want, strict=True)
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(40)))


def test_a_block_that_is_not_there(tmp_path: Path) -> None:
    with open_slide(tiff(tmp_path)) as slide:
        columns, rows = every_block(slide)
        reader = slide.block_reader(0)
        reader.read(columns, rows)
        for place in ((columns.max() + 1, 0), (0, rows.max() + 1), (-1, 0), (0, -1)):
            with pytest.raises(ArgumentError, match="there is none at column"):
                reader.read(*(np.array([0, number]) for number in place))


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff"])
def test_usual_blocks_are_read_by_compiled_code(real, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(real(name)) as slide:
        columns, rows = every_block(slide)
        reader = slide.block_reader(0)
        reader.read(columns[:1], rows[:1])
        monkeypatch.setattr(reader, "_block", None)  # the way block by block
        assert all(isinstance(block, np.ndarray) for block in reader.read(columns, rows))


def test_a_run_of_zeros_is_found_wherever_it_lies() -> None:
    memory = np.full(400, 7, np.uint8)
    for first in range(16):  # in memory, words begin elsewhere in each
        scan = memory[first : first + 300]
        assert _without_zeros(scan)
        for start in range(300 - 64 + 1):
            scan[start : start + 64] = 0
            assert not _without_zeros(scan), (first, start)
            scan[start : start + 64] = 7
        scan[100:124] = 0  # holds words of zeros, but no run
        assert _without_zeros(scan)
        scan[100:124] = 7
