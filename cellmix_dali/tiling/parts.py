"""A part of a slide: its tiles, copied or encoded, in shards of their own."""

from __future__ import annotations

import heapq
import json
from collections.abc import Generator
from contextlib import closing
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from .._urls import place_name
from ..collection import CollectionIndex
from ..collection.index import open_with
from ..errors import NotReadError, SlideError, kind_of
from ..shards import Encoding, ShardWriter, can_copy, copy_blocks, tile_rows, write_tiles
from ..slides import Slide
from ..slides.jpeg import parse_header
from ..stain import StainChange
from ..tables.tile_table import TileTable
from .augmented import augmenter_of
from .records import BadTile, PartRecord, PlanRecord, file_stamps
from .settings import TilingSettings
from .slides import JobSlide
from .stains import change_of

__all__ = ["PARTS", "PLANS", "SHARDS", "make_part", "part_file", "part_prefix", "plan_file"]

SHARDS, PARTS, PLANS = "shards", "parts", "plans"
_BLOCKS = 64  # read at once
_BATCH = 64

# Row, what became of it (bytes and extension, or why it is bad), and whether it was copied.
_Made: TypeAlias = "tuple[int, tuple[bytes | memoryview, str] | SlideError, bool]"


def plan_file(folder: Path, slide: JobSlide) -> Path:
    """The table of the tiles to make of a slide."""
    return folder / PLANS / f"{slide.name}.parquet"


def part_prefix(slide: JobSlide, part: int) -> str:
    """What the names of a part's shards, and the keys of its tiles, begin with."""
    return f"{slide.name}-p{part:04d}"


def part_file(folder: Path, slide: JobSlide, part: int) -> Path:
    """The table of the tiles in a part's shards."""
    return folder / PARTS / f"{part_prefix(slide, part)}.parquet"


def make_part(
    slide: JobSlide,
    settings: TilingSettings,
    folder: Path,
    plan: PlanRecord,
    part: int,
    *,
    leave_unread: bool = True,
    index: CollectionIndex | None = None,
) -> PartRecord:
    """Make the tiles of a part of a slide.

    Memory holds some batches of tiles at a time, whatever the size of the slide.

    Parameters
    ----------
    slide : JobSlide
    settings : TilingSettings
    folder : Path
        The job's folder, with its subfolders.
    plan : PlanRecord
        What `plan_slide` gave.
    part : int
        Which part.
    leave_unread : bool, default True
        Whether to leave out, and note, tiles that cannot be read for a reason of the moment.
    index : CollectionIndex, optional
        What is known of the slides.

    Returns
    -------
    PartRecord

    Raises
    ------
    SlideError
        If the slide cannot be read at all.
    NotReadError
        If that is for a reason of the moment, or, unless they are left out, if a tile cannot be read for one.
    WriteError
        If a file cannot be written.
    """
    rows = pq.read_table(plan_file(folder, slide)).slice(part * settings.shard_size, settings.shard_size)
    table = TileTable(rows.combine_chunks())
    tissue = table.arrow["tissue"].to_numpy()
    # Numbers of Python: tile by tile, NumPy's cost more.
    places = (column.tolist() for column in (table.level, table.x, table.y, table.size))
    windows = list(zip(*places, strict=True))
    shares, labels = tissue.tolist(), None if table.label is None else table.label.tolist()
    path_text, mpp_text = json.dumps(place_name(slide.path)), json.dumps(plan.mpp)
    augmented = "" if settings.augment is None else f'"augment":{json.dumps(settings.augmentation)},'
    prefix, good, bad = part_prefix(slide, part), [], []
    copied = 0
    with (
        open_with(index, slide.path) as opened,
        ShardWriter(folder / SHARDS, prefix, max_tiles=settings.shard_size) as out,
    ):
        change = None if settings.stains is None else change_of(settings.stains, settings.stain_target, slide.path)
        for row, made, was_copied in _tiles(opened, table, settings, change):
            level, x, y, size = windows[row]
            if isinstance(made, SlideError):
                if isinstance(made, NotReadError) and not leave_unread:
                    raise made
                bad.append(BadTile(level, x, y, size, str(made), kind_of(made)))
                continue
            # As JSON with sorted keys. Encoding a dict takes as long as all else that is done for a copied tile.
            about = (
                f'{{{augmented}"level":{level},"mpp":{mpp_text},"size":{size},"slide":{path_text},'
                f'"tissue":{round(shares[row], 6)!r},"x":{x},"y":{y}}}'
            )
            out.add(*made, about=about.encode("ascii"), label=None if labels is None else labels[row])
            good.append(row)
            copied += was_copied
        written = out.close()
    names = written["shard"].combine_chunks()
    shards = [f"{SHARDS}/{name}" for name in names.dictionary.to_pylist()]
    written = written.set_column(
        0, "shard", pa.DictionaryArray.from_arrays(names.indices, pa.array(shards, pa.string()))
    )
    chosen = np.array(good, np.int64)
    finished = tile_rows(
        slide.path,
        x=table.x[chosen],
        y=table.y[chosen],
        size=table.size[chosen],
        level=table.level[chosen],
        tile_size=settings.tile_size,
        mpp=plan.mpp,
        tissue=tissue[chosen],
        label=None if table.label is None else table.label[chosen],
        written=written,
    )
    path = write_tiles(part_file(folder, slide, part), [finished], edge=settings.edge)
    shard_files = [folder / name for name in shards]
    files = [path, *shard_files, *(file.with_suffix(".idx") for file in shard_files)]
    return PartRecord(
        slide=slide.number,
        part=part,
        files=file_stamps(folder, files, out.digests),
        copied=copied,
        encoded=len(good) - copied,
        bytes=int(written["bytes"].to_numpy().sum()),
        bad=tuple(bad),
    )


def _tiles(
    slide: Slide, table: TileTable, settings: TilingSettings, change: StainChange | None
) -> Generator[_Made, None, None]:
    """All tiles of a table, in order."""
    if not len(table):
        return
    level = int(table.level[0])
    copying = np.zeros(len(table), bool)
    as_it_is = change is None and settings.augment is None
    if settings.format == "auto" and as_it_is and int(table.size[0]) == settings.tile_size:
        copying = can_copy(slide, level, table.x, table.y, table.size)
    copied = _copied(slide, level, table, np.flatnonzero(copying), settings.encoding)
    encoded = _encoded(slide, table, np.flatnonzero(~copying), settings, change)
    with closing(copied), closing(encoded):
        # Both go through the slide row by row, so their merger holds a batch of each at most.
        yield from heapq.merge(copied, encoded, key=itemgetter(0))


def _copied(
    slide: Slide, level: int, table: TileTable, rows: NDArray[np.int64], encoding: Encoding
) -> Generator[_Made, None, None]:
    """Tiles that are blocks of the file, as the file has them."""
    heads = _Heads()
    for first in range(0, len(rows), _BLOCKS):
        own = rows[first : first + _BLOCKS]
        x, y = table.x[own], table.y[own]
        for place, (row, block) in enumerate(zip(own.tolist(), copy_blocks(slide, level, x, y), strict=True)):
            if isinstance(block, SlideError):
                yield row, block, False
            elif block is None:
                # A blank block has no bytes; it looks as the format says, white as a rule, so it is right like this.
                size = int(table.size[row])
                try:
                    pixels = slide.read_region(level, int(x[place]), int(y[place]), size, size)
                except SlideError as error:
                    yield row, error, False
                else:
                    yield row, (encoding.encode(pixels), encoding.extension), False
            elif wrong := heads.damage(block):
                yield row, SlideError(f"{wrong} ({table.describe(row)})."), False
            else:
                yield row, (block, "jpg"), True


def _encoded(
    slide: Slide,
    table: TileTable,
    rows: NDArray[np.int64],
    settings: TilingSettings,
    change: StainChange | None,
) -> Generator[_Made, None, None]:
    """Tiles that are decoded, resized, normalised and augmented if need be, and encoded."""
    if not len(rows):
        return
    # Here, since it brings numba, which copying does not need.
    from ..pipelines.tile import decoded_tiles

    if settings.augment is not None:
        from ..plugins.tile_draw import TileKey
    encoding, augment = settings.encoding, settings.augment
    augmenter = None if augment is None else augmenter_of(augment, settings.tile_size, settings.augment_seed)
    batches = decoded_tiles(
        table.select(rows),
        tile_size=settings.tile_size,
        edge=settings.edge,
        device=settings.device,
        num_threads=1,  # there is one worker a core
        tissue=False,  # the plan has it
        batch_size=_BATCH,
        slide=slide,
    )
    for batch in batches:
        images = batch.images
        if change is not None and len(images):
            images = np.stack([change.apply(image) for image in images])
        if augmenter is not None:
            places = (column[rows[batch.rows]].tolist() for column in (table.level, table.x, table.y))
            images = augmenter(images, [TileKey.of(slide.path, *place) for place in zip(*places, strict=True)])
        made: list[_Made] = [
            (int(rows[row]), (encoding.encode(image), encoding.extension), False)
            for row, image in zip(batch.rows.tolist(), images, strict=True)
        ]
        made += [(int(rows[row]), reason, False) for row, reason in batch.faults]
        yield from sorted(made, key=itemgetter(0))


class _Heads:
    """Whether blocks that are copied without being decoded have headers that a decoder takes.

    All blocks of a level have the same header as a rule, so one of them is decoded; what is wrong in the Huffman tables
    shows in each.
    """

    def __init__(self) -> None:
        self._good: list[bytes] = []

    def damage(self, block: memoryview) -> str | None:
        """Say what is wrong with a block, or None."""
        if any(block[: len(head)].tobytes() == head for head in self._good):
            return None
        try:
            stream = block.tobytes()
            head = stream[: parse_header(stream).length]
            with Image.open(BytesIO(stream)) as image:
                image.load()
        except Exception as error:  # Pillow raises nearly anything on garbage
            return f"A block cannot be decoded: {error}"
        if len(self._good) < _BLOCKS:
            self._good.append(head)
        return None
