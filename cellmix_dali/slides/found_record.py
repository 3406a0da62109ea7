"""What there is to know of a slide as plain values and arrays, so that it can be kept in a file and shared."""

from __future__ import annotations

import functools
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import path_of
from cellmix_dali._urls import place_name
from cellmix_dali.slides.block_places import BlockPlaces
from cellmix_dali.slides.block_table import BlockGrid, PlacedBlocks
from cellmix_dali.slides.dicom_streams import FrameStreams
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.jpeg import BlockStreams, Colour
from cellmix_dali.slides.levels import Box, Level
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.slides.scales import ScaledLevel
from cellmix_dali.slides.stored_slide import StoredSlide
from cellmix_dali.storage.mirror import enter
from cellmix_dali.storage.stores import StoredObject

__all__ = ["NotKeptError", "found_of", "record_of"]

Keep = Callable[[NDArray[Any]], int]
_AS_THEY_ARE = ("reason", "vendor", "notes", "mpp", "blanks_from_finer", "format")


@functools.lru_cache(maxsize=256)
def _block_streams(colour: Colour, tables: str | None, example: str) -> BlockStreams:
    """What makes streams; all slides of a scanner share it, as nothing of it changes."""
    return BlockStreams(colour, _bytes(tables), _bytes(example) or b"")


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "blocks": lambda said: _block_streams(said["colour"], said["tables"], said["example"]),
    "intervals": lambda said: IntervalStreams(_bytes(said["header"]) or b"").sized(*said["size"]),
    "frames": lambda said: FrameStreams(_streams_of(said["colours"])),
}


class NotKeptError(ValueError):
    """A slide of a format that makes its streams in a way that is not known here: it is opened by its file."""


def record_of(found: Found, keep: Keep) -> dict[str, Any]:
    """Return what is known of a slide as JSON values.

    Parameters
    ----------
    found : Found
        Of the slide.
    keep : callable
        Takes an array, uint64 or uint16, and returns the number under which it is found again.

    Raises
    ------
    NotKeptError
        If that is not possible.
    """
    return {
        **{name: getattr(found, name) for name in _AS_THEY_ARE},
        "path": place_name(found.path),
        "bounds": asdict(found.bounds),
        "properties": dict(found.properties),
        "levels": [asdict(of) for of in found.levels],
        "scaled": [asdict(of) for of in found.scaled],
        "tables": [None if of is None else _blocks(of, keep) for of in found.tables],
        "pixels": None if found.pixels is None else [found.pixels.vendor, found.pixels.sizes],
        "stored": None if found.stored is None else _stored(found.stored, keep),
    }


def found_of(record: Mapping[str, Any], arrays: Callable[[int], NDArray[Any]]) -> Found:
    """Return what is known of a slide, from what `record_of` returned and the arrays by their numbers."""
    path_of_slide = functools.cache(_path)  # the same one stands in each of its tables
    path, mpp, pixels = path_of_slide(record["path"]), record["mpp"], record["pixels"]
    stored = record.get("stored")
    return Found(
        **{name: record[name] for name in _AS_THEY_ARE if name not in ("mpp", "notes")},
        mpp=None if mpp is None else (mpp[0], mpp[1]),
        notes=tuple(record["notes"]),
        path=path,
        bounds=Box(**record["bounds"]),
        properties=record["properties"],
        levels=tuple(Level(**of | {"covered": _box(of["covered"])}) for of in record["levels"]),
        scaled=tuple(ScaledLevel(**of) for of in record["scaled"]),
        tables=tuple(None if of is None else _placed(of, arrays, path_of_slide) for of in record["tables"]),
        pixels=None if pixels is None else OpenSlideFile(path, pixels[0], _sizes(pixels[1])),
        stored=None if stored is None else _stored_slide(record["path"], stored, arrays),
    )


def _path(name: str) -> Path:
    return path_of("A slide", name)


def _stored(of: StoredSlide, keep: Keep) -> dict[str, Any]:
    """Which version of an object it is, and what of it is always needed."""
    if of.is_copied:
        raise NotKeptError("it is copied from its store before it is read")
    spans = np.concatenate([np.stack(ranges, 1) for _, *ranges in of.always]).astype(np.uint64)
    return {"size": of.mirror.of.size, "version": of.mirror.of.version, "always": keep(spans.ravel())}


def _stored_slide(url: str, said: Mapping[str, Any], arrays: Callable[[int], NDArray[Any]]) -> StoredSlide:
    """The slide of that version; nothing is asked of the store, which refuses ranges of another one."""
    mirror = enter(_path(url), StoredObject(url, said["size"], said["version"]))
    starts, ends = arrays(said["always"]).reshape(-1, 2).T.astype(np.int64)
    return StoredSlide(mirror, ((mirror, starts, ends),), is_copied=False)


def _blocks(table: PlacedBlocks, keep: Keep) -> dict[str, Any]:
    grid = {of.name: getattr(table, of.name) for of in fields(BlockGrid)}
    return grid | {
        "streams": _streams(table.streams),
        "path": None if table.path is None else place_name(table.path),
        "files": [place_name(path) for path in table.files],
        "file": None if table.file is None else keep(table.file),
        "covered": None if table.covered is None else asdict(table.covered),
        "places": keep(table.places.packed),
        "elsewhere": [[number, *place] for number, place in table.places.elsewhere.items()],
    }


def _placed(
    said: Mapping[str, Any], arrays: Callable[[int], NDArray[Any]], path: Callable[[str], Path]
) -> PlacedBlocks:
    grid = {of.name: said[of.name] for of in fields(BlockGrid)}
    packed: NDArray[np.uint64] = arrays(said["places"])
    grid |= {
        "streams": _streams_of(said["streams"]),
        "path": None if said["path"] is None else path(said["path"]),
        "files": tuple(map(path, said["files"])),
        "file": None if said["file"] is None else arrays(said["file"]),
        "covered": _box(said["covered"]),
    }
    places = BlockPlaces(packed, {number: (offset, count) for number, offset, count in said["elsewhere"]})
    return PlacedBlocks(**grid, places=places)


def _sizes(said: Sequence[Sequence[int]] | None) -> tuple[tuple[int, int], ...] | None:
    return None if said is None else tuple((width, height) for width, height in said)


def _box(said: Mapping[str, int] | None) -> Box | None:
    return None if said is None else Box(**said)


def _streams(streams: object) -> dict[str, Any] | None:
    """What makes streams, as JSON values."""
    if streams is None:
        return None
    if type(streams) is BlockStreams:
        colour, tables, example = streams.made_of
        return {"kind": "blocks", "colour": colour, "tables": _text(tables), "example": _text(example)}
    if type(streams) is IntervalStreams:
        return {"kind": "intervals", "header": _text(streams.made_of), "size": list(streams.size)}
    if type(streams) is FrameStreams:
        return {"kind": "frames", "colours": _streams(streams.colours)}
    raise NotKeptError(f"its blocks are made streams by {type(streams).__name__}, which no index knows")


def _streams_of(said: Mapping[str, Any] | None) -> Any:
    return None if said is None else _KINDS[said["kind"]](said)


def _text(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
