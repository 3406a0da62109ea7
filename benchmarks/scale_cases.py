"""The cases of `scale`: what is done with a collection, one function each.

A case is given a `Collection` and returns figures by name, beside those that are measured of all: seconds, cpu_seconds,
own_mb (the process's own memory at the end) and grown_mb (by how much it grew). To add one, write a function and
decorate it. It runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    return _batches(collection)


@case
def indexing(collection: Collection) -> dict[str, float]:
    """Make the index, tissue and thumbnails with it, in this process; the slides' cost that is paid once."""
    from cellmix_dali.collection import IndexSettings, make_index

    _has_tables(collection)
    settings = IndexSettings(tile_size=224)
    index = make_index(collection.slides, collection.index, settings, workers=0)
    return {"index_mb": collection.index.stat().st_size / 1e6, "slides": float(len(index))}


@case
def indexed_tables(collection: Collection) -> dict[str, float]:
    """Lay the tiles of all slides over a finished index, as `train slides` does; the index is made before."""
    import time

    from cellmix_dali.collection import CollectionIndex
    from cellmix_dali.tables import TileRecipe, read_slide_list, tiles_of_slides

    _has_tables(collection)
    recipe = TileRecipe(224)
    slides = read_slide_list(collection.slide_list)
    tiles_of_slides(slides, recipe, index=collection.index, workers=0)
    wall, cpu = time.perf_counter(), time.process_time()
    table, _ = tiles_of_slides(slides, recipe, index=CollectionIndex(collection.index))
    return {
        "laying_seconds": time.perf_counter() - wall,
        "laying_cpu_seconds": time.process_time() - cpu,
        "rows": float(len(table)),
    }


@case
def indexed_first_batch(collection: Collection) -> dict[str, float]:
    """As `first_batch`, with an index; it is made before, where there is none."""
    _indexed(collection)
    return _batches(collection, index=collection.index)


@case
def eight_ranks(collection: Collection) -> dict[str, float]:
    """Eight processes on this machine, each a rank of one training, with one index."""
    import multiprocessing

    _indexed(collection)
    context = multiprocessing.get_context("spawn")
    meet, answers = context.Barrier(8), context.SimpleQueue()
    ranks = [context.Process(target=_rank, args=(collection, rank, meet, answers)) for rank in range(8)]
    for process in ranks:
        process.start()
    found = [answers.get() for _ in ranks]
    for process in ranks:
        process.join()
    return {
        "own_mb_of_all": sum(of["own_mb"] for of in found),
        "grown_mb_of_all": sum(of["grown_mb"] for of in found),
        "mapped_mb_of_one": max(of["shared_mb"] for of in found),
        "first_batch_seconds": max(of["first_batch_seconds"] for of in found),
    }


def _rank(collection: Collection, rank: int, meet: Any, answers: Any) -> None:
    """What one of eight ranks does; all are there until the last has measured."""
    figures = _batches(collection, index=collection.index, rank=rank, world_size=8)
    meet.wait()
    answers.put(figures)


def _batches(collection: Collection, **options: Any) -> dict[str, float]:
    """Make a source and read 20 batches of 64 tiles in random order."""
    import time

    from scale_memory import own_memory, shared_memory

    from cellmix_dali.plugins import TileSource

    table = table_of(collection)
    before, began, cpu = own_memory(), time.perf_counter(), time.process_time()
    source = TileSource(table, batch_size=_BATCH, num_classes=2, **options)
    source.deliver(0, 0)
    first, first_cpu = time.perf_counter() - began, time.process_time() - cpu
    batches = min(20, len(source.order))
    cpu = time.process_time()
    for number in range(1, batches):
        source.deliver(0, number)
    tiles = _BATCH * max(1, batches - 1)
    steady, steady_cpu = time.perf_counter() - began - first, time.process_time() - cpu
    figures = {
        "first_batch_seconds": first,
        "first_batch_cpu_seconds": first_cpu,
        "tiles_per_second": tiles / steady,
        "cpu_us_per_tile": steady_cpu / tiles * 1e6,
        "own_mb": own_memory(),
        "grown_mb": own_memory() - before,
        "shared_mb": shared_memory(),
    }
    source.close()
    return figures


def _indexed(collection: Collection) -> None:
    """Make an index without tissue, where there is none."""
    from cellmix_dali.collection import IndexSettings, make_index

    if not collection.index.exists():
        make_index(collection.slides, collection.index, IndexSettings(tissue=False, thumbnail=0), workers=0)


def _has_tables(collection: Collection) -> None:
    """Refuse slides whose tables are holes."""
    with collection.slides[-1].open("rb") as file:
        if file.read(2) != b"II":
            raise ValueError("these slides have no tables: give fewer, or a larger --sparse-from")
