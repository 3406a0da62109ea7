"""Runs kinds of damage over slides, each in a process of its own under bounds: python run_kinds.py FOLDER SLIDE...

One line of JSON a (slide, kind) on standard output: what came of it. Apart from the tests' process, so that a crash, a
hang or a bomb ends one child and is seen.
"""

from __future__ import annotations

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
sys.path.append(str(Path(__file__).parent))

import logging

import numpy as np
from damage_kinds import KINDS, Kind, Layout, layout_of
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image  # noqa: F401  # loaded before the children fork

from cellmix_dali.errors import SlideError
from cellmix_dali.reading import EncodedTile, TileReader
from cellmix_dali.slides import Slide, open_slide
from cellmix_dali.tiles import TileTable

SECONDS = 20  # an alarm ends the child
ADDRESSES = 2 << 30  # bytes of address space beyond the parent's
TABLE_SIDE = 4  # tiles looked at along each side


def table_of(path: Path, slide: Slide) -> TileTable:
    """Up to 8 x 8 tiles of level 0, on its blocks; then all of them a half further on, of four blocks each."""
    level = slide.levels[0]
    side = level.block_width or 64
    xs = np.arange(0, max(level.width - 2 * side, side), side)[:TABLE_SIDE]
    ys = np.arange(0, max(level.height - 2 * side, side), side)[:TABLE_SIDE]
    x, y = (each.ravel() for each in np.meshgrid(xs, ys))
    return TileTable.from_columns(
        path, x=np.concatenate([x, x + side // 2]), y=np.concatenate([y, y + side // 2]), size=side
    )


def digest(tile: EncodedTile) -> tuple[Any, ...]:
    return tuple(stream.tobytes() for stream in tile.streams), tile.in_anchors.tobytes(), tile.out_anchors.tobytes()


def constant(array: Any) -> Callable[[], list[Any]]:
    return lambda: [array]


def pixels(tile: EncodedTile) -> Any:
    """As the graph makes them."""
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        images = [
            fn.decoders.image(
                fn.external_source(constant(s), batch=True, dtype=types.UINT8, ndim=1),
                device="cpu",
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,
            )
            for s in tile.streams
        ]
        anchors = {
            name: fn.external_source(constant(getattr(tile, name)), batch=True, dtype=types.INT32, ndim=2)
            for name in ("in_anchors", "out_anchors", "shapes")
        }
        size = [int(v) for v in (tile.out_anchors + tile.shapes).max(axis=0)]
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
        reader.slots = whole[0].shapes.shape[0] if slide.route == "direct" else reader.slots
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
    for row, tile in differing:
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


def peak() -> int:
    """Most memory ever resident in this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(path: Path, kind: Kind, at: Layout, folder: Path, table: TileTable, whole: list[EncodedTile]) -> dict[str, Any]:
    """One kind on one slide, in a child."""
    broken = kind.damage(bytearray(path.read_bytes()), at)
    if broken is None:
        return {"skipped": "the slide has nothing of the kind"}
    target = folder / f"{kind.name}-{path.name}"
    target.write_bytes(broken)
    del broken
    read_end, write_end = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if not child:
        os.close(read_end)
        try:
            signal.alarm(SECONDS)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
            before = peak()
            try:
                found = outcome(target, table, whole)
            except BaseException as error:
                found = {"raised": f"{type(error).__name__}: {error}"}
            found["memory"] = peak() - before
            with os.fdopen(write_end, "w") as out:
                json.dump(found, out)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as out:
        text = out.read()
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - start
    target.unlink()
    if os.WIFSIGNALED(status) or not text:
        return {
            "died": f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "said nothing",
            "seconds": seconds,
        }
    return {**json.loads(text), "seconds": seconds}


def main(folder: str, *paths: str) -> None:
    logging.disable()
    only = os.environ.get("KINDS", "")
    for path in map(Path, paths):
        at = layout_of(path)
        with open_slide(path) as slide:
            table = table_of(path, slide)
        reader = TileReader(table)
        reader.whole = False
        whole = reader.read(np.arange(len(table)))
        assert all(isinstance(tile, EncodedTile) and tile.way == "direct" for tile in whole)
        reader.close()
        for kind in KINDS:
            if only and kind.name not in only.split(","):
                continue
            found = run(path, kind, at, Path(folder), table, whole)
            print(json.dumps({"slide": path.name, "kind": kind.name, **found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
