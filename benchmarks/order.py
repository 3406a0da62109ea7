"""What the order of an epoch costs: `python benchmarks/order.py --tiles 100_000_000`.

Builds an Arrow tile table in a temporary folder, opens it in this process, and prints the time to the first batch,
memory before and after, and microseconds per batch for each way of shuffling; at last all figures as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cellmix_dali.sampling import EpochOrder
from cellmix_dali.tables import TileTable

AT_ONCE = 10_000_000
COLUMNS = {"slide": np.int32, "level": np.int8, "x": np.int32, "y": np.int32, "size": np.int16, "label": np.int32}
SIDE = 200  # tiles along a slide
SIZE = 224


def build(path: Path, tiles: int) -> None:
    """Write a table of slides of 200 x 200 tiles, column by column through memory maps, then as one Arrow file."""
    random = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    maps = {
        name: np.lib.format.open_memmap(path.with_suffix(f".{name}"), mode="w+", dtype=dtype, shape=(tiles,))
        for name, dtype in COLUMNS.items()
    }
    for first in range(0, tiles, AT_ONCE):
        row = np.arange(first, min(first + AT_ONCE, tiles))
        part = slice(first, first + len(row))
        maps["slide"][part] = row // SIDE**2
        maps["level"][part] = 0
        maps["x"][part] = row % SIDE * SIZE
        maps["y"][part] = row // SIDE % SIDE * SIZE
        maps["size"][part] = SIZE
        # Four classes in patches of a few tiles, the first far more frequent.
        patches = random.choice(4, len(row) // 4 + 1, p=[0.85, 0.1, 0.04, 0.01])
        maps["label"][part] = np.repeat(patches, 4)[: len(row)]
    for name, values in maps.items():
        columns[name] = pa.array(values)
    names = pa.array([f"/slides/{number:06}.svs" for number in range(-(-tiles // SIDE**2))])
    columns["slide"] = pa.DictionaryArray.from_arrays(columns["slide"], names)
    TileTable(pa.table(columns)).save(path)
    with path.open("rb") as file:  # so that opening finds nothing of the file in memory
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for name in COLUMNS:
        path.with_suffix(f".{name}").unlink()


def memory() -> dict[str, float]:
    """Resident memory of this process in MiB: its own, and pages of files that it has touched."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[key].split()[0]) / 1024 for name, key in (("own", "RssAnon"), ("mapped", "RssFile"))}


def microseconds(order: EpochOrder, repeats: int = 7, batches: int = 50) -> float:
    """Median time of one batch."""
    times = []
    for repeat in range(repeats):
        numbers = np.random.default_rng(repeat).integers(0, len(order), batches).tolist()
        start = time.perf_counter()
        for number in numbers:
            order.batch(repeat, number)
        times.append((time.perf_counter() - start) / batches * 1e6)
    return statistics.median(times)


def measure(path: Path, batch_size: int) -> dict[str, Any]:
    """Open the table and draw batches."""
    before = memory()
    start = time.perf_counter()
    table = TileTable.open(path)
    opened = time.perf_counter() - start
    order = EpochOrder(len(table), batch_size)
    rows = order.batch(0, 0)
    assert table.label is not None
    batch = [column[rows] for column in (table.slide, table.level, table.x, table.y, table.size, table.label)]
    first = time.perf_counter() - start
    assert len(batch[0]) == batch_size
    after = memory()
    figures: dict[str, Any] = {
        "tiles": len(table),
        "batch_size": batch_size,
        "file_MiB": path.stat().st_size / 2**20,
        "open_s": opened,
        "first_batch_s": first,
        "own_MiB": after["own"] - before["own"],
        "mapped_MiB": after["mapped"] - before["mapped"],
    }
    kinds: dict[str, dict[str, Any]] = {
        "in_order": {"shuffle": False},
        "shuffled": {"shuffle": True},
        "blocks": {"shuffle": "blocks"},
        "balanced_slides": {"balance": table.slide},
        "balanced_classes": {"balance": table.label},
    }
    for name, kind in kinds.items():
        held, start = memory()["own"], time.perf_counter()
        order = EpochOrder(len(table), batch_size, **kind)
        order.batch(0, 0)
        figures[f"{name}_ready_s"] = time.perf_counter() - start
        figures[f"{name}_own_MiB"] = memory()["own"] - held
        figures[f"{name}_us_a_batch"] = microseconds(order)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=100_000_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; 35 bytes a tile")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "tiles.arrow"
        # In a process of its own, so that this one's memory shows opening alone.
        builder = multiprocessing.get_context("spawn").Process(target=build, args=(path, given.tiles))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit(builder.exitcode)
        figures = measure(path, given.batch_size)
    figures |= {
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }
    for name, value in figures.items():
        print(f"{name:28} {value:,.3f}" if isinstance(value, float) else f"{name:28} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
