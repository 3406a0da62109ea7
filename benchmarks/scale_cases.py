"""The cases of `scale`: what is done with a collection, one function each.

A case is given a `Collection` and returns figures by name, beside those that are measured of all: seconds, cpu_seconds,
own_mb (the process's own memory at the end) and grown_mb (by how much it grew). To add one, write a function and
decorate it. It runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from scale_material import Collection, tile_rows

from cellmix_dali import TileTable

__all__ = ["CASES", "case", "table_of"]

CASES: dict[str, Callable[[Collection], dict[str, float]]] = {}
_BATCH = 64


def case(of: Callable[[Collection], dict[str, float]]) -> Callable[[Collection], dict[str, float]]:
    """Enter a case under the name of its function."""
    CASES[of.__name__] = of
    return of


def table_of(collection: Collection, label: bool = True) -> TileTable:
    """Return a tile table over all slides of a collection, of whole blocks."""
    import pyarrow as pa

    rows = tile_rows(collection)
    slides = pa.DictionaryArray.from_arrays(pa.array(rows["slide"]), [str(path) for path in collection.slides])
    columns = {"slide": slides, "level": pa.array([0] * len(rows["x"]), pa.int32())}
    columns |= {name: pa.array(rows[name], pa.int64()) for name in ("x", "y")}
    columns["size"] = pa.array([256] * len(rows["x"]), pa.int32())
    if label:
        columns["label"] = pa.array(rows["slide"] % 2, pa.int32())
    return TileTable(pa.table(columns))


@case
def opening(collection: Collection) -> dict[str, float]:
    """Open every slide once, and keep what a loader keeps."""
    from cellmix_dali.slides.pool import OpenSlides

    slides = OpenSlides([str(path) for path in collection.slides])
    for number in range(len(collection.slides)):
        _ = slides[number].levels
    return {"kept_slides": float(len(slides)), "table_mb": slides.nbytes / 1e6}


@case
def first_batch(collection: Collection) -> dict[str, float]:
    """Make a source of tiles in random order, and read 20 batches of 64."""
    import time

    from cellmix_dali.plugins import TileSource

    table = table_of(collection)
    began = time.perf_counter()
    source = TileSource(table, batch_size=_BATCH, num_classes=2)
    source.deliver(0, 0)
    first = time.perf_counter() - began
    batches = min(20, len(table) // _BATCH)
    for number in range(1, batches):
        source.deliver(0, number)
    steady = (time.perf_counter() - began - first) / max(1, batches - 1)
    source.close()
    return {"first_batch_seconds": first, "tiles_per_second": _BATCH / steady}
