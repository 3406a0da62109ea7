"""Kinds of damage to slide files: each takes a whole file and gives a broken one."""
# ruff: noqa: ARG001  # each kind is called alike

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tifffile
from PIL import Image
from slide_files import directory, jpeg, picture, without, write_tiff
from vendor_files import Region, write_leica, write_philips, write_ventana

__all__ = ["KINDS", "Kind", "Layout", "layout_of", "put", "registering", "write_of_vendors", "write_rendered", "zero"]

OFFSETS, COUNTS, TABLES = 324, 325, 347
APERIO = "Aperio Image Library v12\r\n300x200 (64x64) JPEG/RGB Q=90|AppMag = 40|MPP = 0.25"


class Tag(NamedTuple):
    """Where one entry of a directory lies, and its values."""

    entry: int
    values: int
    count: int
    kind: int


@dataclass(frozen=True)
class Layout:
    """What lies where in an undamaged file: its directories in order; tags and blocks of the finest level."""

    big: bool
    jpeg: bool
    directories: list[int]
    tags: dict[int, Tag]
    next_link: int  # of the last directory
    first_link: int  # of the header
    offsets: list[int]
    counts: list[int]
    block: int  # the one that is damaged: column 2, row 1


Damage: TypeAlias = Callable[[bytearray, Any], "bytearray | bytes | None"]


@dataclass(frozen=True)
class Kind:
    """One kind of damage.

    Attributes
    ----------
    name
        For a person.
    damage
        Gives the broken file, or None where the slide has nothing of the kind.
    unseen
        Why wrong pixels may come through without a word; empty: they must not.
    """

    name: str
    damage: Damage
    unseen: str = ""


KINDS: list[Kind] = []


def registering(kinds: list[Kind]) -> Callable[..., Callable[[Damage], Damage]]:
    """Return the decorator of the functions that damage one sort of files."""

    def kind(unseen: str = "") -> Callable[[Damage], Damage]:
        """Register a kind under its function's name."""

        def register(damage: Damage) -> Damage:
            kinds.append(Kind(damage.__name__.strip("_"), damage, unseen))
            return damage

        return register

    return kind


kind = registering(KINDS)


def zero(data: bytearray, start: int, length: int) -> bytearray:
    data[start : start + length] = bytes(min(length, len(data) - start))
    return data


def put(data: bytearray, place: int, value: int, letter: str = "I") -> bytearray:
    struct.pack_into(f"<{letter}", data, place, value)
    return data


def layout_of(path: Path) -> Layout:
    with tifffile.TiffFile(path) as file:
        page = max(file.pages, key=lambda page: page.imagewidth)  # a macro may come first
        pages = [each.offset for each in file.pages]
        big = file.is_bigtiff
        tags = {tag.code: Tag(tag.offset, tag.valueoffset, tag.count, int(tag.dtype)) for tag in page.tags}
        offsets, counts, is_jpeg = list(page.dataoffsets), list(page.databytecounts), int(page.compression) == 7
        columns = -(-page.imagewidth // page.tilewidth)
    content = path.read_bytes()
    (entries,) = struct.unpack_from("<Q" if big else "<H", content, pages[-1])
    link = pages[-1] + (8 + 20 * entries if big else 2 + 12 * entries)
    return Layout(big, is_jpeg, pages, tags, link, 8 if big else 4, offsets, counts, columns + 2)


def write_rendered(folder: Path) -> list[Path]:
    """Small slides of each sort: an SVS with shared tables, a TIFF and a BigTIFF in YCbCr, an SVS in JPEG 2000."""
    fine, coarse = picture(300, 200, seed=3), picture(150, 100, seed=4)

    def bare(pixels: np.ndarray) -> bytes:
        return without(jpeg(pixels, rgb=True), 0xEE, 0xDB, 0xC4)

    def jpeg2000(pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "jpeg2000", no_jp2=True)
        return out.getvalue()

    full = jpeg(fine[:64, :64], rgb=True)
    tables = b"\xff\xd8" + b"".join(part for marker, part in segments(full) if marker in (0xDB, 0xC4)) + b"\xff\xd9"

    def both(**tags: object) -> list:
        return [directory(fine, **tags), directory(coarse, **{"subfiletype": 1, **tags})]

    svs = {"photometric": 2, "description": APERIO}
    return [
        write_tiff(folder / "tables.svs", both(encode=bare, tables=tables, **svs)),
        write_tiff(folder / "ycbcr.tiff", both(pixels_per_cm=20000)),
        write_tiff(folder / "big.tiff", both(pixels_per_cm=20000), big=True),
        write_tiff(folder / "jpeg2000.svs", both(encode=jpeg2000, compression=33005, **svs)),
    ]


def write_of_vendors(folder: Path) -> list[Path]:
    """Small slides of scanners' layouts."""
    return [
        write_philips(folder / "philips.tiff", blank=()),
        write_leica(folder / "leica.scn", [Region(100, 80, picture(320, 240, seed=6))]),
        write_ventana(folder / "ventana.bif"),
    ]


def segments(stream: bytes) -> list[tuple[int, bytes]]:
    """The segments of a JPEG header with their markers, SOS the last; APP and COM among them."""
    found, place = [], 2
    while stream[place + 1] != 0xD9:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        found.append((stream[place + 1], stream[place:end]))
        if stream[place + 1] == 0xDA:
            break
        place = end
    return found


# -- Truncation ----------------------------------------------------------------------------------------------------


@kind()
def empty(data: bytearray, at: Layout):
    return b""


@kind()
def cut_in_header(data: bytearray, at: Layout):
    return data[:6]


@kind()
def cut_after_header(data: bytearray, at: Layout):
    return data[: 16 if at.big else 8]


@kind()
def cut_in_directory(data: bytearray, at: Layout):
    return data[: at.directories[0] + 60]


@kind()
def cut_in_offsets(data: bytearray, at: Layout):
    return data[: at.tags[OFFSETS].values + 10]


@kind()
def cut_in_first_block(data: bytearray, at: Layout):
    return data[: at.offsets[0] + at.counts[0] // 2]


@kind()
def cut_in_last_block(data: bytearray, at: Layout):
    return data[: at.offsets[-1] + at.counts[-1] // 2]


@kind()
def cut_in_half(data: bytearray, at: Layout):
    return data[: len(data) // 2]


@kind()
def cut_one_byte(data: bytearray, at: Layout):
    return data[:-1]


@kind()
def second_half_never_written(data: bytearray, at: Layout):
    half = len(data) // 2
    data[half:] = bytes(len(data) - half)
    return data


# -- Zeroed spans --------------------------------------------------------------------------------------------------


@kind()
def zeroed_header(data: bytearray, at: Layout):
    return zero(data, 0, 8)


@kind()
def zeroed_in_directory(data: bytearray, at: Layout):
    return zero(data, at.directories[0] + 32, 48)


@kind()
def zeroed_offsets(data: bytearray, at: Layout):
    return zero(data, at.tags[OFFSETS].values, 4 * at.tags[OFFSETS].count)


@kind("a block of byte count 0 is blank, in OpenSlide too; `inspect` counts them")
def zeroed_byte_counts(data: bytearray, at: Layout):
    return zero(data, at.tags[COUNTS].values, 40)


@kind()
def zeroed_tables(data: bytearray, at: Layout):
    return zero(data, at.tags[TABLES].values, at.tags[TABLES].count) if TABLES in at.tags else None


@kind()
def zeroed_quantisation_values(data: bytearray, at: Layout):
    place = data.find(b"\xff\xdb", at.tags[TABLES].values if TABLES in at.tags else at.offsets[0])
    return zero(data, place + 8, 40) if at.jpeg else None


@kind()
def zeroed_start_of_block(data: bytearray, at: Layout):
    return zero(data, at.offsets[at.block], 64)


@kind()
def zeroed_middle_of_block(data: bytearray, at: Layout):
    third = at.counts[at.block] // 3
    return zero(data, at.offsets[at.block] + third, third)


@kind()
def zeroed_end_of_block(data: bytearray, at: Layout):
    return zero(data, at.offsets[at.block] + at.counts[at.block] - 300, 300)


@kind()
def zeroed_block(data: bytearray, at: Layout):
    return zero(data, at.offsets[at.block], at.counts[at.block])


@kind()
def zeroed_page_of_disk(data: bytearray, at: Layout):
    return zero(data, (at.offsets[3] // 4096 + 1) * 4096, 4096)


# -- Header ---------------------------------------------------------------------------------------------------------


@kind()
def byte_order_flipped(data: bytearray, at: Layout):
    data[:2] = b"MM"
    return data


@kind()
def version_flipped(data: bytearray, at: Layout):
    data[2] ^= 1
    return data


@kind()
def link_flipped(data: bytearray, at: Layout):
    data[at.first_link + 2] ^= 0x40
    return data


@kind()
def link_one_off(data: bytearray, at: Layout):
    data[at.first_link] ^= 1
    return data


@kind()
def link_into_a_block(data: bytearray, at: Layout):
    struct.pack_into("<I", data, at.first_link, at.offsets[2] + 100)
    return data


@kind()
def link_of_ones(data: bytearray, at: Layout):
    data[at.first_link : at.first_link + 4] = b"\xff" * 4
    return data


def link(data: bytearray, at: Layout, place: int, to: int) -> bytearray:
    struct.pack_into("<Q" if at.big else "<I", data, place, to)
    return data


@kind()
def last_directory_links_to_itself(data: bytearray, at: Layout):
    return link(data, at, at.next_link, at.directories[-1])


@kind()
def last_directory_links_to_the_first(data: bytearray, at: Layout):
    return link(data, at, at.next_link, at.directories[0])


@kind()
def last_directory_links_beyond(data: bytearray, at: Layout):
    return link(data, at, at.next_link, len(data) + 1000)


@kind()
def hundred_thousand_directories(data: bytearray, at: Layout):
    # Each of one entry, the width.
    data += bytes(-len(data) % 16)
    start, step = len(data), 48
    link(data, at, at.next_link, start)
    number = 100_000
    for i in range(number):
        after = 0 if i == number - 1 else start + step * (i + 1)
        if at.big:
            data += struct.pack("<QHHQQQ", 1, 256, 4, 1, 64, after) + bytes(12)
        else:
            data += struct.pack("<HHHIII", 1, 256, 4, 1, 64, after) + bytes(30)
    return data


@kind()
def two_thousand_copies_of_the_directory(data: bytearray, at: Layout):
    # Each a level of its own over the same blocks.
    (entries,) = struct.unpack_from("<Q" if at.big else "<H", data, at.directories[0])
    length = 8 + 20 * entries if at.big else 2 + 12 * entries
    body = bytes(data[at.directories[0] : at.directories[0] + length])
    place = at.next_link
    for _ in range(2000):
        data += bytes(-len(data) % 8)
        link(data, at, place, len(data))
        place = len(data) + length
        data += body + bytes(8)
    return data


def entries(data: bytearray, at: Layout, number: int) -> bytearray:
    struct.pack_into("<Q" if at.big else "<H", data, at.directories[0], number)
    return data


@kind()
def no_entries(data: bytearray, at: Layout):
    return entries(data, at, 0)


@kind()
def too_many_entries(data: bytearray, at: Layout):
    return entries(data, at, 0xFFFF)


@kind()
def endless_directory(data: bytearray, at: Layout):
    return entries(data, at, 2**60 if at.big else 0xFFFE)


# -- Tags -----------------------------------------------------------------------------------------------------------


def tag_kind(data: bytearray, at: Layout, code: int, value: int) -> bytearray | None:
    if code not in at.tags:
        return None
    struct.pack_into("<H", data, at.tags[code].entry + 2, value)
    return data


def tag_count(data: bytearray, at: Layout, code: int, value: int) -> bytearray | None:
    if code not in at.tags:
        return None
    struct.pack_into("<Q" if at.big else "<I", data, at.tags[code].entry + 4, value)
    return data


def tag_value(data: bytearray, at: Layout, code: int, value: int, index: int = 0) -> bytearray | None:
    if code not in at.tags:
        return None
    tag = at.tags[code]
    letter = {3: "H", 4: "I", 16: "Q"}[tag.kind]
    top = 256 ** struct.calcsize(letter) - 1
    struct.pack_into(f"<{letter}", data, tag.values + index * struct.calcsize(letter), min(value, top))
    return data


def tag_place(data: bytearray, at: Layout, code: int, value: int) -> bytearray:
    struct.pack_into("<Q" if at.big else "<I", data, at.tags[code].entry + (12 if at.big else 8), value)
    return data


def _tag_kinds() -> None:
    """The kinds that are one number in one place."""
    unknown_colour = (
        "the photometric tag alone says what the samples are: OpenSlide and every other reader believe it too"
    )
    for name, change, code, value, unseen in [
        ("kind_of_offsets_is_text", tag_kind, OFFSETS, 2, ""),
        ("kind_of_offsets_is_short", tag_kind, OFFSETS, 3, ""),
        ("kind_of_offsets_is_unknown", tag_kind, OFFSETS, 0, ""),
        ("kind_of_width_is_rational", tag_kind, 256, 5, ""),
        ("kind_of_width_is_unknown", tag_kind, 256, 99, ""),
        ("kind_of_byte_counts_is_double", tag_kind, COUNTS, 12, ""),
        ("kind_of_compression_is_text", tag_kind, 259, 2, ""),
        ("count_of_offsets_huge", tag_count, OFFSETS, 0x7FFFFFFF, ""),
        ("count_of_offsets_small", tag_count, OFFSETS, 3, ""),
        ("count_of_offsets_none", tag_count, OFFSETS, 0, ""),
        ("count_of_byte_counts_small", tag_count, COUNTS, 3, ""),
        ("count_of_description_huge", tag_count, 270, 0xFFFFFFF0, ""),
        ("count_of_tables_half", tag_count, TABLES, 140, ""),
        ("count_of_tables_none", tag_count, TABLES, 0, ""),
        ("count_of_tables_huge", tag_count, TABLES, 0x10000000, ""),
        ("count_of_width_two", tag_count, 256, 2, ""),
        ("width_huge", tag_value, 256, 2**31, ""),
        ("width_zero", tag_value, 256, 0, ""),
        ("height_huge", tag_value, 257, 2**32 - 1, ""),
        ("height_zero", tag_value, 257, 0, ""),
        ("tile_width_zero", tag_value, 322, 0, ""),
        ("tile_height_zero", tag_value, 323, 0, ""),
        ("tile_width_one", tag_value, 322, 1, ""),
        ("tile_width_huge", tag_value, 322, 65535, ""),
        ("tile_height_huge", tag_value, 323, 2**32 - 1, ""),
        ("tile_width_flipped", tag_value, 322, 64 ^ 256, ""),
        ("compression_none", tag_value, 259, 1, ""),
        ("compression_lzw", tag_value, 259, 5, ""),
        ("compression_old_jpeg", tag_value, 259, 6, ""),
        ("compression_unknown", tag_value, 259, 12345, ""),
        ("compression_jpeg2000", tag_value, 259, 33005, ""),
        ("compression_aperio_ycbcr", tag_value, 259, 33003, unknown_colour),
        ("compression_jpeg", tag_value, 259, 7, ""),
        ("photometric_rgb", tag_value, 262, 2, unknown_colour),
        ("photometric_ycbcr", tag_value, 262, 6, unknown_colour),
        ("photometric_palette", tag_value, 262, 3, ""),
        ("photometric_unknown", tag_value, 262, 7777, ""),
        ("samples_four", tag_value, 277, 4, ""),
        ("samples_none", tag_value, 277, 0, ""),
        ("samples_many", tag_value, 277, 65535, ""),
        ("bits_sixteen", tag_value, 258, 16, ""),
        ("planes_apart", tag_value, 284, 2, ""),
        ("byte_count_one", lambda d, a, c, v: tag_value(d, a, c, v, a.block), COUNTS, 1, ""),
        (
            "byte_count_none",
            lambda d, a, c, v: tag_value(d, a, c, v, a.block),
            COUNTS,
            0,
            "it is blank, in OpenSlide too",
        ),
        ("byte_count_huge", lambda d, a, c, v: tag_value(d, a, c, v, a.block), COUNTS, 0x7FFFFFFF, ""),
        ("block_beyond_the_file", lambda d, a, c, v: tag_value(d, a, c, v, a.block), OFFSETS, 0xFFFFFF00, ""),
        ("block_at_the_header", lambda d, a, c, v: tag_value(d, a, c, v, a.block), OFFSETS, 2, ""),
    ]:

        def damage(data: bytearray, at: Layout, change=change, code=code, value=value):
            return change(data, at, code, value)

        KINDS.append(Kind(name, damage, unseen))


_tag_kinds()


@kind()
def byte_count_short(data: bytearray, at: Layout):
    return tag_value(data, at, COUNTS, at.counts[at.block] // 2, at.block)


@kind()
def byte_count_long(data: bytearray, at: Layout):
    return tag_value(data, at, COUNTS, at.counts[at.block] + 200, at.block)


@kind()
def last_byte_count_over_the_end(data: bytearray, at: Layout):
    return tag_value(data, at, COUNTS, len(data) - at.offsets[-1] + 1, len(at.counts) - 1)


@kind()
def offset_flipped(data: bytearray, at: Layout):
    return tag_value(data, at, OFFSETS, at.offsets[at.block] ^ 0x10, at.block)


@kind()
def blocks_overlap(data: bytearray, at: Layout):
    return tag_value(data, at, OFFSETS, at.offsets[at.block - 1] + at.counts[at.block - 1] // 2, at.block)


@kind()
def block_begins_at_another(data: bytearray, at: Layout):
    return tag_value(data, at, OFFSETS, at.offsets[3], at.block) if at.counts[3] != at.counts[at.block] else None


@kind("each block is whole; nothing in the file says which belongs where")
def two_blocks_exchanged(data: bytearray, at: Layout):
    for one, other in ((at.block, 3), (3, at.block)):
        tag_value(data, at, OFFSETS, at.offsets[one], other)
        tag_value(data, at, COUNTS, at.counts[one], other)
    return data


@kind()
def tables_elsewhere(data: bytearray, at: Layout):
    return tag_place(data, at, TABLES, at.offsets[0]) if TABLES in at.tags else None


@kind()
def resolution_without_denominator(data: bytearray, at: Layout):
    return zero(data, at.tags[282].values, 8) if 282 in at.tags else None


@kind()
def resolution_huge(data: bytearray, at: Layout):
    if 282 not in at.tags:
        return None
    struct.pack_into("<II", data, at.tags[282].values, 0xFFFFFFFF, 1)
    return data


@kind()
def description_of_noise(data: bytearray, at: Layout):
    if 270 not in at.tags:
        return None
    tag = at.tags[270]
    data[tag.values : tag.values + tag.count] = np.random.default_rng(1).bytes(tag.count)
    return data


# -- Tables and blocks --------------------------------------------------------------------------------------------


def in_block(data: bytearray, at: Layout, find: bytes, put: bytes, number: int | None = None) -> bytearray | None:
    """Bytes of one block replaced by as many others."""
    number = at.block if number is None else number
    start, end = at.offsets[number], at.offsets[number] + at.counts[number]
    place = data.find(find, start, end)
    if place < 0:
        return None
    data[place : place + len(put)] = put
    return data


def scan_of(data: bytearray, at: Layout, number: int | None = None) -> tuple[int, int]:
    """Where the entropy-coded data of a block begin and end."""
    number = at.block if number is None else number
    start, end = at.offsets[number], at.offsets[number] + at.counts[number]
    sos = data.find(b"\xff\xda", start, end)
    return sos + 2 + int.from_bytes(data[sos + 2 : sos + 4], "big"), end - 2


def replace_tables(data: bytearray, at: Layout, change: Callable[[list[tuple[int, bytes]]], list[bytes]]):
    """The level's JPEG tables (in the tag, or in one block's header) written anew, in as many bytes or fewer."""
    if not at.jpeg:
        return None
    if TABLES in at.tags:
        start, length = at.tags[TABLES].values, at.tags[TABLES].count
        new = b"\xff\xd8" + b"".join(change(segments(bytes(data[start : start + length])))) + b"\xff\xd9"
    else:
        start, _ = at.offsets[at.block], 0
        length = scan_of(data, at)[0] - start
        new = b"\xff\xd8" + b"".join(change(segments(bytes(data[start : start + length]))))
    # A comment fills up what is left over, so that nothing else moves.
    left = length - len(new)
    if left:
        new = new[:2] + b"\xff\xfe" + (left - 2).to_bytes(2, "big") + bytes(left - 4) + new[2:]
    data[start : start + length] = new
    return data


@kind()
def no_quantisation_table(data: bytearray, at: Layout):
    return replace_tables(data, at, lambda parts: [part for marker, part in parts if marker != 0xDB])


@kind()
def no_huffman_table(data: bytearray, at: Layout):
    return replace_tables(data, at, lambda parts: [part for marker, part in parts if marker != 0xC4])


@kind("the tables are whole; nothing says that their values are others than the encoder's")
def quantisation_reversed(data: bytearray, at: Layout):
    return replace_tables(data, at, lambda parts: [p[:5] + p[5:][::-1] if marker == 0xDB else p for marker, p in parts])


@kind()
def quantisation_under_another_number(data: bytearray, at: Layout):
    return replace_tables(
        data, at, lambda parts: [p[:4] + bytes([p[4] | 2]) + p[5:] if marker == 0xDB else p for marker, p in parts]
    )


@kind()
def huffman_classes_exchanged(data: bytearray, at: Layout):
    return replace_tables(
        data, at, lambda parts: [p[:4] + bytes([p[4] ^ 0x10]) + p[5:] if marker == 0xC4 else p for marker, p in parts]
    )


@kind()
def huffman_nonsense(data: bytearray, at: Layout):
    return replace_tables(
        data, at, lambda parts: [p[:4] + b"\xff" * (len(p) - 4) if marker == 0xC4 else p for marker, p in parts]
    )


@kind()
def huffman_too_many_codes(data: bytearray, at: Layout):
    return replace_tables(
        data, at, lambda parts: [p[:5] + b"\x05" + p[6:] if marker == 0xC4 else p for marker, p in parts]
    )


def sof(data: bytearray, at: Layout, offset: int, put: bytes, number: int | None = None) -> bytearray | None:
    if not at.jpeg:
        return None
    place = data.find(b"\xff\xc0", at.offsets[at.block if number is None else number])
    data[place + offset : place + offset + len(put)] = put
    return data


@kind()
def frame_of_half_the_size(data: bytearray, at: Layout):
    return sof(data, at, 5, (32).to_bytes(2, "big"))


@kind()
def frame_is_a_bomb(data: bytearray, at: Layout):
    return sof(data, at, 5, (60000).to_bytes(2, "big") * 2)


@kind()
def first_frame_is_a_bomb(data: bytearray, at: Layout):
    return sof(data, at, 5, (60000).to_bytes(2, "big") * 2, number=0)


@kind()
def frame_of_no_size(data: bytearray, at: Layout):
    return sof(data, at, 5, bytes(4))


@kind()
def frame_of_one_component(data: bytearray, at: Layout):
    return sof(data, at, 9, b"\x01")


@kind()
def frame_of_twelve_bits(data: bytearray, at: Layout):
    return sof(data, at, 4, b"\x0c")


@kind()
def frame_sampled_too_often(data: bytearray, at: Layout):
    return sof(data, at, 11, b"\xff")


@kind()
def frame_not_sampled(data: bytearray, at: Layout):
    return sof(data, at, 11, b"\x00")


@kind("both samplings are legal, and the scan is decoded as if it were the other")
def frame_sampled_otherwise(data: bytearray, at: Layout):
    return sof(data, at, 11, b"\x12")


@kind()
def frame_with_a_table_that_is_not_there(data: bytearray, at: Layout):
    return sof(data, at, 12, b"\x03")


@kind()
def frame_progressive(data: bytearray, at: Layout):
    return sof(data, at, 1, b"\xc2")


@kind()
def frame_lossless(data: bytearray, at: Layout):
    return sof(data, at, 1, b"\xc3")


@kind()
def frame_arithmetic(data: bytearray, at: Layout):
    return sof(data, at, 1, b"\xc9")


@kind()
def scan_with_a_table_that_is_not_there(data: bytearray, at: Layout):
    return in_block(data, at, b"\xff\xda\x00\x0c\x03\x01\x00", b"\xff\xda\x00\x0c\x03\x01\x33") or (
        in_block(data, at, b"\xff\xda\x00\x0c\x03\x52\x00", b"\xff\xda\x00\x0c\x03\x52\x33")
    )


@kind()
def scan_ends_early(data: bytearray, at: Layout):
    if not at.jpeg:
        return None
    start, end = scan_of(data, at)
    data[(start + end) // 2 : (start + end) // 2 + 2] = b"\xff\xd9"
    return data


@kind()
def scan_with_a_stray_marker(data: bytearray, at: Layout):
    start, end = (
        scan_of(data, at) if at.jpeg else (at.offsets[at.block] + 300, at.offsets[at.block] + at.counts[at.block])
    )
    data[(start + end) // 2 : (start + end) // 2 + 2] = b"\xff\xc4" if at.jpeg else b"\xff\x93"
    return data


@kind()
def scan_with_a_stray_restart(data: bytearray, at: Layout):
    if not at.jpeg:
        return None
    start, end = scan_of(data, at)
    data[(start + end) // 2 : (start + end) // 2 + 2] = b"\xff\xd3"
    return data


@kind()
def no_end_of_image(data: bytearray, at: Layout):
    end = at.offsets[at.block] + at.counts[at.block]
    data[end - 2 : end] = b"\x5a\x5a"
    return data


@kind("bits flipped in the entropy-coded data decode to other pixels")
def bits_flipped_in_scan(data: bytearray, at: Layout):
    start, end = (
        scan_of(data, at) if at.jpeg else (at.offsets[at.block] + 300, at.offsets[at.block] + at.counts[at.block])
    )
    for place in np.random.default_rng(2).integers(start, end, 5).tolist():
        data[place] ^= 0x11 if data[place] not in (0, 0xFF, 0xEE) and data[place - 1] != 0xFF else 0
    return data


@kind("entropy-coded noise decodes to noise")
def scan_of_noise(data: bytearray, at: Layout):
    start, end = (
        scan_of(data, at) if at.jpeg else (at.offsets[at.block] + 300, at.offsets[at.block] + at.counts[at.block] - 2)
    )
    noise = np.random.default_rng(3).integers(1, 255, end - start, np.uint8)
    noise[noise >= 0x90] = 0x41
    data[start:end] = noise.tobytes()
    return data


def siz(data: bytearray, at: Layout, offset: int, put: bytes, number: int | None = None) -> bytearray | None:
    if at.jpeg:
        return None
    place = data.find(b"\xff\x4f\xff\x51", at.offsets[at.block if number is None else number]) + 4
    data[place + offset : place + offset + len(put)] = put
    return data


@kind()
def codestream_is_a_bomb(data: bytearray, at: Layout):
    return siz(data, at, 4, struct.pack(">II", 60000, 60000))


@kind()
def first_codestream_is_a_bomb(data: bytearray, at: Layout):
    return siz(data, at, 4, struct.pack(">II", 2**31, 2**31), number=0)


@kind()
def codestream_of_tiny_tiles(data: bytearray, at: Layout):
    return siz(data, at, 20, struct.pack(">II", 1, 1))


@kind()
def codestream_of_tiles_without_size(data: bytearray, at: Layout):
    return siz(data, at, 20, struct.pack(">II", 0, 0))


@kind()
def codestream_far_from_the_origin(data: bytearray, at: Layout):
    if at.jpeg:
        return None
    place = data.find(b"\xff\x4f\xff\x51", at.offsets[at.block]) + 8
    right, bottom = struct.unpack_from(">II", data, place)
    far = 2**31
    struct.pack_into(">IIII", data, place, right + far, bottom + far, far, far)
    return data


@kind()
def codestream_of_many_components(data: bytearray, at: Layout):
    return siz(data, at, 36, struct.pack(">H", 16384))


@kind()
def codestream_of_thirty_eight_bits(data: bytearray, at: Layout):
    return siz(data, at, 38, b"\x25")


@kind()
def codestream_sampled_otherwise(data: bytearray, at: Layout):
    return siz(data, at, 39, b"\x02\x02")


@kind()
def codestream_without_sampling(data: bytearray, at: Layout):
    return siz(data, at, 39, b"\x00\x00")


@kind()
def codestream_of_many_decompositions(data: bytearray, at: Layout):
    return in_block(data, at, b"\xff\x52\x00\x0c", b"\xff\x52\x00\x0c\x00\x00\xff\xff\x01\x21") or in_block(
        data, at, b"\xff\x52\x00\x12", b"\xff\x52\x00\x12\x01\x02\xff\xff\x01\x21"
    )


@kind()
def tile_part_of_a_wrong_length(data: bytearray, at: Layout):
    if at.jpeg:
        return None
    place = data.find(b"\xff\x90\x00\x0a", at.offsets[at.block])
    struct.pack_into(">I", data, place + 6, struct.unpack_from(">I", data, place + 6)[0] // 2)
    return data


# -- Other files ----------------------------------------------------------------------------------------------------


@kind()
def noise(data: bytearray, at: Layout):
    return np.random.default_rng(4).bytes(50_000)


@kind()
def noise_that_begins_as_a_tiff(data: bytearray, at: Layout):
    return bytes(data[:16]) + np.random.default_rng(5).bytes(len(data))


@kind()
def text(data: bytearray, at: Layout):
    return b"<html><body>404 Not Found</body></html>\n" * 20


@kind()
def a_png(data: bytearray, at: Layout):
    out = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(out, "png")
    return out.getvalue()


@kind()
def a_jpeg(data: bytearray, at: Layout):
    return jpeg(picture(64, 64))


@kind()
def a_line_feed_made_two_bytes(data: bytearray, at: Layout):
    return bytes(data).replace(b"\n", b"\r\n")


@kind()
def the_first_kilobyte_missing(data: bytearray, at: Layout):
    return data[1024:]


@kind()
def a_hole_cut_out(data: bytearray, at: Layout):
    del data[at.offsets[2] + 10 : at.offsets[2] + 30]
    return data
