"""Kinds of damage to NDPI files, whose pictures are one JPEG each: as `damage_kinds` has them for tiled TIFFs."""
# ruff: noqa: ARG001  # each kind is called alike

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damage_kinds import Kind, put, registering, zero

__all__ = ["NDPI_KINDS", "ndpi_layout"]

WIDTH, HEIGHT, OFFSET, LENGTH, LENS, PLANE, STARTS = 256, 257, 273, 279, 65421, 65424, 65426
INTERVAL = 4 * 9 + 1  # that is damaged: column 1, row 9 of rows of four


@dataclass(frozen=True)
class NdpiLayout:
    """What lies where in an undamaged file, of its first directory: entries by tag, its places, and what they say."""

    directory: int
    entries: dict[int, int]
    number: int
    start: int
    length: int
    places: list[int]  # of the restart intervals in the file
    starts: int  # where McuStarts stands

    @property
    def upper(self) -> int:
        """Where the upper halves begin."""
        return self.directory + 2 + 12 * self.number + 8


NDPI_KINDS: list[Kind] = []


kind = registering(NDPI_KINDS)


def ndpi_layout(path: Path) -> NdpiLayout:
    data = path.read_bytes()
    (directory,) = struct.unpack_from("<Q", data, 4)
    (number,) = struct.unpack_from("<H", data, directory)
    entries = {
        struct.unpack_from("<H", data, at)[0]: at for at in range(directory + 2, directory + 2 + 12 * number, 12)
    }

    def value(tag: int) -> int:
        return int(struct.unpack_from("<I", data, entries[tag] + 8)[0])

    start, starts = value(OFFSET), value(STARTS)
    (count,) = struct.unpack_from("<I", data, entries[STARTS] + 4)
    places = [start + of for of in struct.unpack_from(f"<{count}I", data, starts)]
    return NdpiLayout(directory, entries, number, start, value(LENGTH), places, starts)


@kind()
def cut_in_header(data: bytearray, at: NdpiLayout):
    return data[:9]


@kind()
def cut_in_directory(data: bytearray, at: NdpiLayout):
    return data[: at.directory + 40]


@kind()
def cut_in_upper_halves(data: bytearray, at: NdpiLayout):
    return data[: at.upper + 7]


@kind()
def cut_in_picture(data: bytearray, at: NdpiLayout):
    return data[: at.start + at.length // 2]


@kind()
def cut_one_byte(data: bytearray, at: NdpiLayout):
    return data[:-1]


@kind()
def zeroed_directory(data: bytearray, at: NdpiLayout):
    return zero(data, at.directory + 26, 60)


@kind()
def zeroed_starts(data: bytearray, at: NdpiLayout):
    return zero(data, at.starts, 4 * len(at.places))


@kind()
def zeroed_interval(data: bytearray, at: NdpiLayout):
    return zero(data, at.places[INTERVAL], at.places[INTERVAL + 1] - at.places[INTERVAL])


@kind()
def zeroed_in_interval(data: bytearray, at: NdpiLayout):
    return zero(data, at.places[INTERVAL] + 40, 70)


@kind()
def zeroed_jpeg_header(data: bytearray, at: NdpiLayout):
    return zero(data, at.start + 30, 300)


@kind()
def directory_leads_to_itself(data: bytearray, at: NdpiLayout):
    return put(data, at.directory + 2 + 12 * at.number, at.directory, "Q")


@kind()
def directory_leads_beyond(data: bytearray, at: NdpiLayout):
    return put(data, at.directory + 2 + 12 * at.number, len(data) + 1000, "Q")


@kind()
def directory_beyond_4_gib(data: bytearray, at: NdpiLayout):
    return put(data, 8, 1)


@kind()
def upper_half_of_the_picture(data: bytearray, at: NdpiLayout):
    order = sorted(at.entries, key=lambda tag: at.entries[tag])
    return put(data, at.upper + 4 * order.index(OFFSET), 1)


@kind()
def upper_half_of_the_starts(data: bytearray, at: NdpiLayout):
    order = sorted(at.entries, key=lambda tag: at.entries[tag])
    return put(data, at.upper + 4 * order.index(STARTS), 7)


@kind()
def no_entries(data: bytearray, at: NdpiLayout):
    return put(data, at.directory, 0, "H")


@kind()
def too_many_entries(data: bytearray, at: NdpiLayout):
    return put(data, at.directory, 0xFFFF, "H")


def _tag_kinds() -> None:
    """The kinds that are one number in one entry: at which byte of it, and of which kind."""
    for name, tag, byte, value, letter in [
        ("width_zero", WIDTH, 8, 0, "I"),
        ("width_huge", WIDTH, 8, 2**31, "I"),
        ("width_odd", WIDTH, 8, 391, "I"),
        ("height_zero", HEIGHT, 8, 0, "I"),
        ("height_huge", HEIGHT, 8, 2**31 - 8, "I"),
        ("offset_beyond", OFFSET, 8, 2**32 - 1, "I"),
        ("offset_zero", OFFSET, 8, 0, "I"),
        ("offset_one_off", OFFSET, 8, 13, "I"),
        ("length_zero", LENGTH, 8, 0, "I"),
        ("length_short", LENGTH, 8, 5000, "I"),
        ("length_huge", LENGTH, 8, 2**32 - 1, "I"),
        ("lens_not_a_number", LENS, 8, 0x7FC00000, "I"),
        ("lens_infinite", LENS, 8, 0x7F800000, "I"),
        ("lens_zero", LENS, 8, 0, "I"),
        ("plane_beside", PLANE, 8, 1, "I"),
        ("kind_of_starts_is_text", STARTS, 2, 2, "H"),
        ("kind_of_starts_is_short", STARTS, 2, 3, "H"),
        ("kind_of_starts_is_double", STARTS, 2, 12, "H"),
        ("kind_of_width_is_unknown", WIDTH, 2, 99, "H"),
        ("count_of_starts_small", STARTS, 4, 3, "I"),
        ("count_of_starts_none", STARTS, 4, 0, "I"),
        ("count_of_starts_huge", STARTS, 4, 2**31, "I"),
        ("place_of_starts_beyond", STARTS, 8, 2**32 - 1, "I"),
        ("place_of_starts_in_the_picture", STARTS, 8, 700, "I"),
    ]:

        def damage(data: bytearray, at: NdpiLayout, tag=tag, byte=byte, value=value, letter=letter):
            return put(data, at.entries[tag] + byte, value, letter)

        NDPI_KINDS.append(Kind(name, damage))


_tag_kinds()


def start(data: bytearray, at: NdpiLayout, change: int, number: int = INTERVAL) -> bytearray:
    return put(data, at.starts + 4 * number, at.places[number] - at.start + change)


@kind()
def start_late(data: bytearray, at: NdpiLayout):
    return start(data, at, 5)


@kind()
def start_early(data: bytearray, at: NdpiLayout):
    return start(data, at, -2)


@kind()
def start_at_another_interval(data: bytearray, at: NdpiLayout):
    return start(data, at, at.places[INTERVAL + 2] - at.places[INTERVAL])


@kind()
def start_huge(data: bytearray, at: NdpiLayout):
    return start(data, at, 2**31)


@kind("each interval is whole; nothing in the file says which belongs where")
def intervals_exchanged(data: bytearray, at: NdpiLayout):
    parts = [bytes(data[at.places[n] : at.places[n + 1]]) for n in (INTERVAL, INTERVAL + 1)]
    data[at.places[INTERVAL] : at.places[INTERVAL + 2]] = parts[1] + parts[0]
    return start(data, at, len(parts[1]) - len(parts[0]), INTERVAL + 1)


@kind()
def marker_in_interval(data: bytearray, at: NdpiLayout):
    data[at.places[INTERVAL] + 30 : at.places[INTERVAL] + 32] = b"\xff\xc4"
    return data


@kind()
def restart_in_interval(data: bytearray, at: NdpiLayout):
    data[at.places[INTERVAL] + 30 : at.places[INTERVAL] + 32] = b"\xff\xd1"
    return data


@kind()
def no_restart_marker(data: bytearray, at: NdpiLayout):
    return zero(data, at.places[INTERVAL] - 2, 2)


def header(data: bytearray, at: NdpiLayout, marker: int, offset: int, values: bytes) -> bytearray:
    place = data.index(bytes((0xFF, marker)), at.start) + offset
    data[place : place + len(values)] = values
    return data


@kind()
def interval_of_other_units(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xDD, 4, (12).to_bytes(2, "big"))


@kind()
def interval_of_no_units(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xDD, 4, bytes(2))


@kind()
def frame_of_another_size(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xC0, 5, (264).to_bytes(2, "big"))


@kind()
def frame_of_other_sampling(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xC0, 11, b"\x11")


@kind()
def frame_is_progressive(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xC0, 1, b"\xc2")


@kind()
def quantisation_of_zeros(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xDB, 5, bytes(20))


@kind()
def huffman_noise(data: bytearray, at: NdpiLayout):
    return header(data, at, 0xC4, 5, np.random.default_rng(2).bytes(16))
