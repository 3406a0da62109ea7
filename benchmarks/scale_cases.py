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
def archive(collection: Collection) -> dict[str, float]:
    """A mapped table of coordinates of as many rows a slide as --tiles says, and an index: 20 batches, and 400 more.

    The first batches meet slides that were not opened before; the last hundred find most of them open.
    """
    import time

    import numpy as np
    from scale_memory import own_memory, shared_memory

    from cellmix_dali.plugins import TileSource
    from cellmix_dali.shards import open_tiles, tile_rows as finished_rows, write_tiles

    _indexed(collection)
    folder, random = collection.folder / "archive", np.random.default_rng(7)
    if not folder.exists():
        folder.mkdir()

        def rows() -> Any:
            for number, path in enumerate(collection.slides):
                x, y = (random.integers(0, of, collection.tiles) * 256 for of in (collection.columns, collection.rows))
                yield finished_rows(path, x=x, y=y, size=256, level=0, tile_size=256, label=number % 2)

        write_tiles(folder, rows(), classes=("a", "b"))
        open_tiles(folder, mapped=True)  # makes the Arrow file
    before, began, cpu = own_memory(), time.perf_counter(), time.process_time()
    source = TileSource(
        open_tiles(folder, columns=("label",), mapped=True), batch_size=_BATCH, num_classes=2, index=collection.index
    )
    opened = time.perf_counter() - began
    source.deliver(0, 0)
    figures = {
        "opening_seconds": opened,
        "first_batch_seconds": time.perf_counter() - began,
        "first_batch_cpu_seconds": time.process_time() - cpu,
    }
    for what, batches in {"new": range(1, 21), "next": range(21, 321), "last": range(321, 421)}.items():
        wall, cpu = time.perf_counter(), time.process_time()
        for number in batches:
            source.deliver(number // len(source.order), number % len(source.order))
        figures[f"{what}_cpu_us_per_tile"] = (time.process_time() - cpu) / (_BATCH * len(batches)) * 1e6
        figures[f"{what}_tiles_per_second"] = _BATCH * len(batches) / (time.perf_counter() - wall)
    figures |= {"own_mb": own_memory(), "grown_mb": own_memory() - before, "shared_mb": shared_memory()}
    source.close()
    return figures


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


@case
def tables(collection: Collection) -> dict[str, float]:
    """Write the table of finished tiles of all slides, as many rows each as --tiles says; open it in each way."""
    import time

    import numpy as np
    import pyarrow as pa
    from scale_memory import own_memory

    from cellmix_dali.shards import open_tiles, tile_rows as finished_rows, write_tiles

    folder = collection.folder / "tables"
    folder.mkdir(exist_ok=True)
    numbers = np.arange(collection.tiles)

    def rows() -> Any:
        for slide, path in enumerate(collection.slides):
            shard = pa.DictionaryArray.from_arrays(np.zeros_like(numbers, np.int32), [f"shards/{slide:06}.tar"])
            digests = pa.array([f"{number * 7919 + slide:064x}" for number in numbers.tolist()])
            written = pa.table(
                {"shard": shard, "offset": numbers * 20_000, "bytes": numbers + 15_000, "sha256": digests}
            )
            yield finished_rows(
                path, x=256 * numbers, y=256 * numbers, size=256, level=0, tile_size=256, label=0, written=written
            )

    before, cpu = own_memory(), time.process_time()
    write_tiles(folder, rows())
    count = len(collection.slides) * collection.tiles
    figures = {
        "rows": float(count),
        "writing_cpu_seconds": time.process_time() - cpu,
        "writing_mb": own_memory() - before,
        "parquet_bytes_per_row": (folder / "tiles.parquet").stat().st_size / count,
    }
    open_tiles(folder, mapped=True)
    for name, options in {"mapped": {"mapped": True}, "least": {"columns": ()}, "all": {}}.items():
        before, cpu = own_memory(), time.process_time()
        table = open_tiles(folder, **options)  # type: ignore[arg-type]
        figures[f"open_{name}_cpu_seconds"] = time.process_time() - cpu
        figures[f"open_{name}_bytes_per_row"] = max(own_memory() - before, 0) * 1e6 / count
        del table
    return figures


@case
def job(collection: Collection) -> dict[str, float]:
    """Tile the coarsest level in this process, coordinates alone, twenty names for all slides; then go on with it."""
    import os
    import time

    from cellmix_dali.tiling import TilingSettings, tile_slides

    _has_tables(collection)
    folder = collection.folder / "job"
    named = folder / "slides"
    for number, slide in enumerate(collection.slides):  # equal stems are numbered
        (named / str(number)).mkdir(parents=True)
        os.link(slide, named / str(number) / f"slide{number % 20}.tiff")
    settings = TilingSettings(tile_size=256, tissue=0, level=2, coords_only=True)
    figures = {}
    for what, options in {"job": {}, "resume": {"resume": True}, "verify": {"resume": True, "verify": True}}.items():
        wall, cpu = time.perf_counter(), time.process_time()
        result = tile_slides(
            str(named / "*" / "*.tiff"), folder / "out", settings, workers=0, mixed_resolutions=True, **options
        )
        figures |= {f"{what}_seconds": time.perf_counter() - wall, f"{what}_cpu_seconds": time.process_time() - cpu}
    for name in ("manifest.json", "slides.jsonl", "report.html", "report.json"):
        figures[f"{name}_kb_per_slide"] = (folder / "out" / name).stat().st_size / 1e3 / len(collection.slides)
    return figures | {"tiles": float(result.tiles)}


@case
def bookkeeping(collection: Collection) -> dict[str, float]:
    """A hundred times as many slides, in words alone: their names, their parts by slide, their report."""
    import time
    from pathlib import Path

    import numpy as np
    from PIL import Image

    from cellmix_dali.tiling.manifest import Done
    from cellmix_dali.tiling.records import PartRecord
    from cellmix_dali.tiling.report import JobReport, SlideResult, Timing, write_report
    from cellmix_dali.tiling.slides import _names

    folder, slides = collection.folder / "bookkeeping", 100 * len(collection.slides)
    (folder / "overviews").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    Image.fromarray(noise).save(folder / "overviews" / "a.jpg")
    figures, cpu = {"slides": float(slides)}, time.process_time()
    _names([Path(f"{number}/slide.svs") for number in range(slides)])
    figures["names_cpu_seconds"], cpu = time.process_time() - cpu, time.process_time()
    done = Done()
    for slide in range(slides):
        for part in range(4):
            done.add(PartRecord(slide=slide, part=part, files=(), copied=1, encoded=0, bytes=1))
    for slide in range(slides):
        done.parts_of(slide)
    figures["parts_cpu_seconds"], cpu = time.process_time() - cpu, time.process_time()
    results = [
        SlideResult(slide=f"/{number}.svs", status="done", tiles=100, overview="overviews/a.jpg")
        for number in range(slides)
    ]
    write_report(folder, JobReport(settings={}, slides=results, timing=Timing(started="", seconds=1.0)))
    figures["report_cpu_seconds"] = time.process_time() - cpu
    figures["report_kb_per_slide"] = (folder / "report.html").stat().st_size / 1e3 / slides
    return figures


@case
def plans(collection: Collection) -> dict[str, float]:
    """Draw plans of batches of four times as many tiles as there are slides, and mix their labels; tiles of 224 px."""
    import time

    import numpy as np

    from cellmix_dali.mixing import METHODS, CellMix, make_mixer
    from cellmix_dali.plugins import PlanSource
    from cellmix_dali.plugins.source import mixed_labels

    batch = min(4 * len(collection.slides), 8192)
    labels = np.arange(batch) % 5
    figures = {"batch": float(batch)}
    for method in METHODS.names():
        mixer = make_mixer(method)
        steering = {"patch_size": 32, "fix_ratio": 0.5} if isinstance(mixer, CellMix) else {}
        source = PlanSource(mixer, tile_size=224, batch_size=batch, **steering)
        times = []
        for number in range(6):  # the first one compiles
            cpu = time.process_time()
            mixed_labels(labels, 5, source.draw(0, number))
            times.append(time.process_time() - cpu)
        figures[f"{method}_ms"] = 1000 * min(times[1:])
    return figures
