"""Kinds of damage to DICOM files: as `damage_kinds` has them for tiled TIFFs."""
# ruff: noqa: ARG001  # each kind is called alike

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damage_kinds import Kind, put, registering, zero

__all__ = ["DICOM_KINDS", "dicom_layout"]

ITEM = b"\xfe\xff\x00\xe0"
BLOCK = 5 + 2  # that is damaged: column 2, row 1 of rows of five
WIDTH, HEIGHT, ROWS, COLUMNS, FRAMES = 0x00480006, 0x00480007, 0x00280010, 0x00280011, 0x00280008
PHOTOMETRIC, SAMPLES, BITS, ORGANISATION, SERIES, TYPE = (
    0x00280004, 0x00280002, 0x00280100, 0x00209311, 0x0020000E, 0x00080008
)  # fmt: skip


@dataclass(frozen=True)
class DicomLayout:
    """What lies where in an undamaged file: values of elements by tag, the pixel data, the frames' items."""

    values: dict[int, int]
    pixels: int
    items: list[int]

    @property
    def table(self) -> int:
        """Where the basic offset table begins."""
        return self.pixels + 12 + 8


DICOM_KINDS: list[Kind] = []


kind = registering(DICOM_KINDS)


def dicom_layout(path: Path) -> DicomLayout:
    data = path.read_bytes()
    values = {}
    for tag in (WIDTH, HEIGHT, ROWS, COLUMNS, FRAMES, PHOTOMETRIC, SAMPLES, BITS, ORGANISATION, SERIES, TYPE):
        values[tag] = data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 8
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x10) + b"OB")
    (table,) = struct.unpack_from("<I", data, pixels + 16)
    first = pixels + 20 + table
    items = [first + of for of in struct.unpack_from(f"<{table // 4}I", data, pixels + 20)]
    return DicomLayout(values, pixels, items)


@kind()
def empty(data: bytearray, at: DicomLayout):
    return b""


@kind()
def cut_in_preamble(data: bytearray, at: DicomLayout):
    return data[:130]


@kind()
def cut_in_header(data: bytearray, at: DicomLayout):
    return data[: at.values[ROWS]]


@kind()
def cut_in_offset_table(data: bytearray, at: DicomLayout):
    return data[: at.table + 18]


@kind()
def cut_in_a_frame(data: bytearray, at: DicomLayout):
    return data[: at.items[BLOCK] + 100]


@kind()
def cut_in_the_last_frame(data: bytearray, at: DicomLayout):
    return data[: at.items[-1] + 100]


@kind()
def second_half_never_written(data: bytearray, at: DicomLayout):
    return zero(data, len(data) // 2, len(data))


@kind()
def zeroed_preamble_mark(data: bytearray, at: DicomLayout):
    return zero(data, 128, 4)


@kind()
def zeroed_in_header(data: bytearray, at: DicomLayout):
    return zero(data, at.values[SAMPLES], 90)


@kind()
def zeroed_offset_table(data: bytearray, at: DicomLayout):
    return zero(data, at.table, 4 * len(at.items))


@kind()
def zeroed_item(data: bytearray, at: DicomLayout):
    return zero(data, at.items[BLOCK], 8)


@kind()
def zeroed_frame(data: bytearray, at: DicomLayout):
    return zero(data, at.items[BLOCK] + 8, at.items[BLOCK + 1] - at.items[BLOCK] - 8)


@kind()
def zeroed_in_scan(data: bytearray, at: DicomLayout):
    return zero(data, scan(data, at) + 100, 80)


@kind()
def zeroed_end_of_frame(data: bytearray, at: DicomLayout):
    return zero(data, at.items[BLOCK + 1] - 3, 3)


@kind()
def frame_of_noise(data: bytearray, at: DicomLayout):
    start, end = at.items[BLOCK] + 8, at.items[BLOCK + 1]
    data[start:end] = np.random.default_rng(1).bytes(end - start)
    return data


@kind()
def item_shorter(data: bytearray, at: DicomLayout):
    return put(data, at.items[BLOCK] + 4, 300)


@kind()
def item_longer(data: bytearray, at: DicomLayout):
    return put(data, at.items[BLOCK] + 4, at.items[BLOCK + 1] - at.items[BLOCK] + 30)


@kind()
def item_huge(data: bytearray, at: DicomLayout):
    return put(data, at.items[BLOCK] + 4, 2**32 - 2)


@kind()
def item_is_a_delimiter(data: bytearray, at: DicomLayout):
    return put(data, at.items[BLOCK] + 2, 0xE0DD, "H")


@kind()
def offset_beyond(data: bytearray, at: DicomLayout):
    return put(data, at.table + 4 * (len(at.items) - 1), 2**31)


@kind()
def offset_one_off(data: bytearray, at: DicomLayout):
    return put(data, at.table + 4 * BLOCK, at.items[BLOCK] - at.items[0] + 2)


@kind()
def offset_of_the_next(data: bytearray, at: DicomLayout):
    return put(data, at.table + 4 * BLOCK, at.items[BLOCK + 1] - at.items[0])


@kind()
def table_of_odd_length(data: bytearray, at: DicomLayout):
    return put(data, at.table - 4, 4 * len(at.items) - 6)


@kind()
def table_huge(data: bytearray, at: DicomLayout):
    return put(data, at.table - 4, 2**32 - 2)


@kind("each frame is whole; nothing in the file says which belongs where")
def frames_exchanged(data: bytearray, at: DicomLayout):
    first, second, end = at.items[BLOCK : BLOCK + 3]
    data[first:end] = data[second:end] + data[first:second]
    return put(data, at.table + 4 * (BLOCK + 1), first + end - second - at.items[0])


@kind("bits flipped in the entropy-coded data decode to other pixels")
def bits_flipped_in_scan(data: bytearray, at: DicomLayout):
    start = scan(data, at)
    for place in range(start + 20, start + 60):
        if 0 < data[place] < 0xFE and data[place - 1] != 0xFF:
            data[place] ^= 1
    return data


@kind("the interpretation alone says what JPEG's samples mean")
def photometric_of_another_kind(data: bytearray, at: DicomLayout):
    data[at.values[PHOTOMETRIC] : at.values[PHOTOMETRIC] + 12] = b"RGB         "
    return data


@kind()
def photometric_of_jpeg_2000(data: bytearray, at: DicomLayout):
    data[at.values[PHOTOMETRIC] : at.values[PHOTOMETRIC] + 12] = b"YBR_ICT     "
    return data


@kind()
def organised_in_no_known_way(data: bytearray, at: DicomLayout):
    data[at.values[ORGANISATION] : at.values[ORGANISATION] + 10] = b"TILED_NONE"
    return data


@kind()
def shows_a_label(data: bytearray, at: DicomLayout):
    place = data.index(b"VOLUME", at.values[TYPE])
    data[place : place + 6] = b"LABEL "
    return data


@kind()
def series_of_noise(data: bytearray, at: DicomLayout):
    return zero(data, at.values[SERIES], 9)


@kind()
def header_of_another_syntax(data: bytearray, at: DicomLayout):
    place = data.index(b"1.2.840.10008.1.2.4.50")
    data[place + 20 : place + 22] = b"91"
    return data


@kind()
def sequence_without_end(data: bytearray, at: DicomLayout):
    return put(data, data.index(b"SQ\0\0") + 4, 2**32 - 1)


@kind()
def sequence_over_the_end(data: bytearray, at: DicomLayout):
    return put(data, data.index(b"SQ\0\0") + 4, 2**31)


@kind()
def element_of_no_kind(data: bytearray, at: DicomLayout):
    return put(data, at.values[BITS] - 4, 0x2020, "H")


@kind()
def frame_is_a_bomb(data: bytearray, at: DicomLayout):
    return sof(data, at, 5, b"\xff\xf0\xff\xf0")


@kind()
def first_frame_is_a_bomb(data: bytearray, at: DicomLayout):
    return sof(data, at, 5, b"\xff\xf0\xff\xf0", 0)


@kind()
def frame_of_half_the_size(data: bytearray, at: DicomLayout):
    return sof(data, at, 5, struct.pack(">HH", 24, 32))


@kind()
def frame_of_one_component(data: bytearray, at: DicomLayout):
    return sof(data, at, 9, b"\x01")


@kind()
def frame_progressive(data: bytearray, at: DicomLayout):
    return sof(data, at, 1, b"\xc2")


@kind()
def scan_with_a_stray_marker(data: bytearray, at: DicomLayout):
    data[scan(data, at) + 30 : scan(data, at) + 32] = b"\xff\xc4"
    return data


def sof(data: bytearray, at: DicomLayout, offset: int, values: bytes, number: int = BLOCK) -> bytearray:
    place = data.index(b"\xff\xc0", at.items[number]) + offset
    data[place : place + len(values)] = values
    return data


def scan(data: bytearray, at: DicomLayout) -> int:
    """Where the scan of the damaged frame begins."""
    place = data.index(b"\xff\xda", at.items[BLOCK])
    return place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _number_kinds() -> None:
    """The kinds that are one number in the header."""
    for name, tag, value, letter in [
        ("width_zero", WIDTH, 0, "I"),
        ("width_one_less_tile", WIDTH, 240, "I"),
        ("width_huge", WIDTH, 2**32 - 1, "I"),
        ("height_zero", HEIGHT, 0, "I"),
        ("height_one_more_tile", HEIGHT, 250, "I"),
        ("height_huge", HEIGHT, 2**32 - 1, "I"),
        ("rows_zero", ROWS, 0, "H"),
        ("rows_half", ROWS, 24, "H"),
        ("rows_huge", ROWS, 65535, "H"),
        ("columns_zero", COLUMNS, 0, "H"),
        ("columns_twice", COLUMNS, 128, "H"),
        ("columns_huge", COLUMNS, 65535, "H"),
        ("samples_one", SAMPLES, 1, "H"),
        ("samples_many", SAMPLES, 4000, "H"),
        ("bits_sixteen", BITS, 16, "H"),
        ("frames_none", FRAMES, 0x2030, "H"),
        ("frames_fewer", FRAMES, 0x3432, "H"),
        ("frames_more", FRAMES, 0x3939, "H"),
        ("frames_not_a_number", FRAMES, 0x4141, "H"),
    ]:

        def damage(data: bytearray, at: DicomLayout, tag=tag, value=value, letter=letter):
            return put(data, at.values[tag], value, letter)

        DICOM_KINDS.append(Kind(name, damage))


_number_kinds()
