"""Runs kinds of damage over slides, in children under bounds: python run_kinds.py FOLDER SLIDE...

One line of JSON a (slide, kind) on standard output: what came of it. Apart from the tests' process, so that a crash, a
hang or a bomb ends one child and is seen.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "slides"))
sys.path.append(str(Path(__file__).parents[1] / "slides" / "formats"))
sys.path.append(str(Path(__file__).parent))

import logging

import numpy as np
from damage_dicom import DICOM_KINDS, dicom_layout
from damage_kinds import KINDS, Kind, layout_of
from damage_ndpi import NDPI_KINDS, ndpi_layout
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.errors import SlideError
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.slides import Slide, open_slide
from cellmix_dali.tables import TileTable

OTHER_KINDS = {".ndpi": (NDPI_KINDS, ndpi_layout), ".dcm": (DICOM_KINDS, dicom_layout)}  # by suffix
SECONDS = 20  # an alarm ends the child
LOOKED_AT = 6  # tiles decoded of those that are not what they were
ADDRESSES = 2 << 30  # bytes of address space beyond the parent's
TABLE_SIDE = 4  # tiles looked at along each side


def table_of(path: Path, slide: Slide) -> TileTable:
    """Up to 8 x 8 tiles of level 0, on its blocks; then all of them a half further on, of four blocks each."""
    level = slide.levels[0]
    side = level.block_width or 64
    part = level.shown
    xs = part.x + np.arange(0, max(part.width - 2 * side, side), side)[:TABLE_SIDE]
    ys = part.y + np.arange(0, max(part.height - 2 * side, side), side)[:TABLE_SIDE]
    x, y = (each.ravel() for each in np.meshgrid(xs, ys))
    return TileTable.from_columns(
        path, x=np.concatenate([x, x + side // 2]), y=np.concatenate([y, y + side // 2]), size=side
    )


def digest(tile: EncodedTile) -> tuple[Any, ...]:
    drawn = None if tile.pixels is None else tile.pixels.tobytes()
    return tuple(stream.tobytes() for stream in tile.streams), tile.geometry.tobytes(), drawn


def constant(array: Any) -> Callable[[], list[Any]]:
    return lambda: [array]


def pixels(tile: EncodedTile) -> Any:
    """As the graph makes them."""
    if tile.pixels is not None:
        return tile.pixels
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        images = [
            fn.decoders.image_slice(
                fn.external_source(constant(stream), batch=True, dtype=types.UINT8, ndim=1),
                [int(v) for v in geometry[3]],
                [int(v) for v in geometry[4]],
                axes=[0, 1],
                normalized_anchor=False,
                device="cpu",
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,
            )
            for stream, geometry in zip(tile.streams, tile.geometry, strict=True)
        ]
        used, placed, shapes, decoded, _ = np.moveaxis(tile.geometry, 1, 0)
        anchors = {
            name: fn.external_source(constant(np.ascontiguousarray(value)), batch=True, dtype=types.INT32, ndim=2)
            for name, value in (("in_anchors", used - decoded), ("out_anchors", placed), ("shapes", shapes))
        }
        size = [int(v) for v in (placed + shapes).max(axis=0)]
        pipeline.set_outputs(fn.multi_paste(*images, output_size=size, **anchors))
    pipeline.build()
    return np.array(pipeline.run()[0][0])


def outcome(path: Path, table: TileTable, whole: list[EncodedTile]) -> dict[str, Any]:
    """What reading the damaged file gives; the undamaged tiles are `whole`."""
    try:
        with open_slide(path) as slide:
            route = slide.route
        reader = TileReader(TileTable.from_columns(path, x=table.x, y=table.y, size=table.size))
    except SlideError as error:
        return {"refused": str(error), "names": str(path) in str(error)}
    found: dict[str, Any] = {"route": route, "same": 0, "refused_tiles": [], "undecodable": [], "wrong": []}
    differing: list[tuple[int, EncodedTile]] = []
    with open_slide(path) as slide:
        reader.slots = max(len(tile.streams) for tile in whole) if slide.route == "direct" else reader.slots
        reader._blocks = reader.slots
        reader.whole = False
    for row, (tile, right) in enumerate(zip(reader.read(np.arange(len(table))), whole, strict=True)):
        if isinstance(tile, SlideError):
            found["refused_tiles"].append((row, str(tile)))
            found.setdefault("names", True)
            found["names"] &= str(path) in str(tile)
        elif digest(tile) == digest(right):
            found["same"] += 1
        else:
            differing.append((row, tile))
    reader.close()
    for row, tile in differing[:LOOKED_AT]:
        try:
            got = pixels(tile)
        except RuntimeError as error:
            found["undecodable"].append((row, str(error)[-300:]))
        else:
            same = np.array_equal(got, pixels(whole[row]))
            if same:
                found["same"] += 1
            else:
                found["wrong"].append(row)
    return found


def memory(line: str) -> int:
    """A line of this process's status, in bytes: VmRSS, or VmHWM, the most there was since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{line}:")[1].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def try_kinds(path: Path, kinds: list[Kind], at: Any, folder: Path, table: TileTable, whole: list[Any]) -> None:
    """Go through kinds in this process, a child; say a line before and after each."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    for kind in kinds:
        say(kind=kind.name, slide=path.name)
        broken = kind.damage(bytearray(path.read_bytes()), at)
        if broken is None:
            say(skipped="the slide has nothing of the kind")
            continue
        target = folder / f"{kind.name}-{path.name}"
        target.write_bytes(broken)
        del broken
        signal.alarm(SECONDS)
        forget_peak()
        before, start = memory("VmRSS"), time.perf_counter()
        try:
            found = outcome(target, table, whole)
        except BaseException as error:
            found = {"raised": f"{type(error).__name__}: {error}"}
        say(**found, seconds=time.perf_counter() - start, memory=memory("VmHWM") - before)
        signal.alarm(0)
        target.unlink()


def say(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def main(folder: str, *paths: str) -> None:
    logging.disable()
    for path in map(Path, paths):
        kinds, layout = OTHER_KINDS.get(path.suffix, (KINDS, layout_of))
        at = layout(path)
        with open_slide(path) as slide:
            table = table_of(path, slide)
        reader = TileReader(table)
        reader.whole = False
        whole = reader.read(np.arange(len(table)))
        assert all(isinstance(tile, EncodedTile) and tile.way == "direct" for tile in whole)
        reader.close()
        left = list(kinds)
        while left:
            # One child goes on until it dies of a kind; the next begins after that one.
            progress, child = Path(folder, "progress"), os.fork()
            if not child:
                out = os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(out, 1)
                code = 1
                try:
                    try_kinds(path, left, at, Path(folder), table, whole)
                    code = 0
                finally:
                    os._exit(code)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            lines = [json.loads(line) for line in progress.read_text().splitlines()]
            for kind, found in itertools.zip_longest(lines[::2], lines[1::2]):
                died = {"died": f"exit status {status}"}
                print(json.dumps({**kind, **(found or died)}), flush=True)
            if status == 0:
                break
            left = left[(len(lines) + 1) // 2 :]


if __name__ == "__main__":
    main(*sys.argv[1:])
