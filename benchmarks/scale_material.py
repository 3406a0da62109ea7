"""Collections of slides that take next to no room: BigTIFFs whose blocks share a few payloads."""

from __future__ import annotations

import csv
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["Collection", "make_collection", "tile_rows"]

_BLOCK = 256
_PAYLOADS = 64
_LEVELS = (1, 4, 16)
_LONG, _LONG8, _SHORT, _UNDEFINED, _ASCII, _RATIONAL = 4, 16, 3, 7, 2, 5
_SIZES = {_LONG: "I", _LONG8: "Q", _SHORT: "H"}


@dataclass(frozen=True)
class Collection:
    """Slides of one size.

    Attributes
    ----------
    folder : Path
        Where the slides lie, ``00000.tiff`` and so on; room for a case's own files, in a folder of its name.
    slides : tuple of Path
    slide_list : Path
        A CSV with the columns slide, label and patient.
    columns, rows : int
        Blocks of a slide's first level, across and down.
    tiles : int
        Rows for each slide of `tile_rows`.
    """

    folder: Path
    slides: tuple[Path, ...]
    slide_list: Path
    columns: int
    rows: int
    tiles: int

    @property
    def index(self) -> Path:
        """An index of the slides, where a case has made it, or `make_collection`."""
        return self.folder / "collection.index"


def make_collection(folder: Path, slides: int, blocks: int, tiles: int, *, sparse: bool = False) -> Collection:
    """Write slides of so many blocks, with a pyramid; each differs from the others in where its tissue lies.

    Tables are written in full, as in a scanner's file: 12 bytes for each block. What blocks show is shared by all
    blocks of a kind: tissue, or background. With `sparse`, only the first slide has tables: of the others they are
    holes of the same size, and an index says where their blocks lie, of each other places, as large as a real one.
    """
    folder.mkdir(parents=True)
    columns = max(_LEVELS[-1], round(blocks**0.5))
    rows = max(_LEVELS[-1], round(blocks / columns))
    payloads = [_payload(number) for number in range(_PAYLOADS)]
    paths = tuple(folder / f"{number:05}.tiff" for number in range(slides))
    for number, path in enumerate(paths):
        if sparse and number:
            with path.open("wb") as file:
                file.write(bytes(16) + b"".join(payloads))
                file.truncate(paths[0].stat().st_size)
        else:
            _write(path, columns, rows, payloads, np.random.default_rng(number))
    listed = folder / "slides.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("slide", "label", "patient"))
        writer.writerows((path.name, ("a", "b")[number % 2], f"p{number // 2}") for number, path in enumerate(paths))
    made = Collection(folder, paths, listed, columns, rows, tiles)
    if sparse:
        _index_by_hand(made)
    return made


def _index_by_hand(collection: Collection) -> None:
    """Write an index that says of every slide what the first one's look gave, of tables that are turned round."""
    from cellmix_dali.collection.entry import Look, packed_entry
    from cellmix_dali.collection.file import finish_index, hash_of
    from cellmix_dali.collection.states import location_of, states_of
    from cellmix_dali.slides.found_record import record_of
    from cellmix_dali.slides.opening import look_at

    tables: list[np.ndarray] = []

    def keep(table: np.ndarray) -> int:
        tables.append(table)
        return len(tables) - 1

    record, places = record_of(look_at(collection.slides[0]), keep), {}
    with collection.index.open("wb") as file:
        for number, path in enumerate(collection.slides):
            location = location_of(path)
            said = {"location": location, "identity": [], "states": states_of([path]), "asked": [], "fault": None}
            own = [np.roll(table, number) for table in tables]
            entry = packed_entry(said | {"slide": record | {"path": location}}, own, Look({}))
            places[hash_of(location)] = file.tell(), len(entry)
            file.write(entry)
        finish_index(file, places, {})


def tile_rows(collection: Collection) -> dict[str, np.ndarray]:
    """Return the columns slide, x, y of a tile table: places of blocks, drawn at random, of all slides."""
    random = np.random.default_rng(7)
    count = len(collection.slides) * collection.tiles
    return {
        "slide": np.repeat(np.arange(len(collection.slides), dtype=np.int32), collection.tiles),
        "x": random.integers(0, collection.columns, count) * _BLOCK,
        "y": random.integers(0, collection.rows, count) * _BLOCK,
    }


def _payload(number: int) -> bytes:
    """A JPEG: half of them tissue, the others background."""
    random = np.random.default_rng(number)
    tissue = number < _PAYLOADS // 2
    colour, noise = ((190, 110, 170), 40) if tissue else ((243, 241, 244), 3)
    coarse = random.normal(0, noise, (16, 16, 3)) + colour
    pixels = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((_BLOCK, _BLOCK), Image.Resampling.BICUBIC)
    file = BytesIO()
    pixels.save(file, "JPEG", quality=80, subsampling="4:2:0")
    return file.getvalue()


def _write(path: Path, columns: int, rows: int, payloads: list[bytes], random: np.random.Generator) -> None:
    """Write a BigTIFF: payloads, the tables of each level, and a directory for each."""
    half, size = len(payloads) // 2, np.array([len(of) for of in payloads])
    starts = 16 + np.concatenate([[0], size.cumsum()[:-1]])
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)) + b"".join(payloads)
    cx, cy, radius = random.uniform(0.3, 0.7), random.uniform(0.3, 0.7), random.uniform(0.15, 0.3)
    link = 8
    for number, scale in enumerate(_LEVELS):
        across, down = -(-columns // scale), -(-rows // scale)
        x, y = (np.arange(across) + 0.5) / across, (np.arange(down) + 0.5) / down
        tissue = ((x - cx) ** 2)[None] + ((y - cy) ** 2)[:, None] < radius**2
        which = (random.integers(0, half, tissue.shape) + np.where(tissue, 0, half)).ravel()
        data += bytes(-len(data) % 8)
        places, counts = len(data), len(data) + 8 * which.size
        data += starts[which].astype("<u8").tobytes() + size[which].astype("<u4").tobytes()
        data += bytes(-len(data) % 8)
        tags = [
            (254, _LONG, 1, int(number > 0)),
            (256, _LONG, 1, columns * _BLOCK // scale),
            (257, _LONG, 1, rows * _BLOCK // scale),
            (258, _SHORT, 3, struct.pack("<3H", 8, 8, 8)),
            (259, _SHORT, 1, 7),
            (262, _SHORT, 1, 6),
            (277, _SHORT, 1, 3),
            (282, _RATIONAL, 1, struct.pack("<2I", 40000, 1)),
            (283, _RATIONAL, 1, struct.pack("<2I", 40000, 1)),
            (296, _SHORT, 1, 3),
            (322, _LONG, 1, _BLOCK),
            (323, _LONG, 1, _BLOCK),
            (324, _LONG8, which.size, places if which.size > 1 else int(starts[which[0]])),
            (325, _LONG, which.size, counts if which.size > 2 else size[which].astype("<u4").tobytes()),
        ]
        data[link : link + 8] = struct.pack("<Q", len(data))
        data += struct.pack("<Q", len(tags))
        for tag, kind, count, value in tags:
            content = value if isinstance(value, bytes) else struct.pack("<Q", value)
            data += struct.pack("<HHQ", tag, kind, count) + content.ljust(8, b"\0")
        link = len(data)
        data += bytes(8)
    path.write_bytes(data)
