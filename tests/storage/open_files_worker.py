"""Read tiles of more files than may be open, in many threads; for `test_open_files`, in a process of its own.

Arguments: files that the system allows, the way ("direct", "openslide" or "shard"), the folder of the files, and a file
of the tiles as they must be.
"""

from __future__ import annotations

import pickle
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import numpy as np

from cellmix_dali.reading import ShardReader
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.storage.open_file import most_open
from cellmix_dali.tables import TileTable

WORKERS, BATCH, BATCHES = 8, 64, 24


def open_in(folder: Path) -> tuple[int, int]:
    """How many files this process has open, and how many of them in a folder."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except FileNotFoundError:  # closed since
            continue
    return len(links), sum(link.startswith(str(folder)) for link in links)


def main() -> None:
    allowed, way, folder, expected = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    table: TileTable
    table, want = pickle.loads(expected.read_bytes())
    # What is imported and compiled is not to be counted.
    warm = ShardReader(table) if way == "shard" else TileReader(table, slots=1)
    for _ in range(2):
        warm.read(np.arange(3))
    warm.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    reader = ShardReader(table) if way == "shard" else TileReader(table, slots=1)
    done, most = Event(), [(0, 0)]

    def watch() -> None:
        while not done.is_set():
            most.append(open_in(folder))

    watcher = Thread(target=watch)
    watcher.start()
    random = np.random.default_rng(0)
    batches = [random.permutation(len(table))[:BATCH] for _ in range(BATCHES)]
    try:
        with ThreadPoolExecutor(WORKERS) as threads:
            for rows, tiles in zip(batches, threads.map(reader.read, batches), strict=True):
                for row, tile in zip(rows.tolist(), tiles, strict=True):
                    assert isinstance(tile, EncodedTile), tile
                    assert tile.way == way
                    assert (*tile.streams, tile.pixels)[0].tobytes() == want[row]
    finally:
        done.set()
        watcher.join()
    total, own = (max(column) for column in zip(*most, strict=True))
    assert total <= allowed
    assert own <= most_open(), (own, most_open())
    assert own > most_open() // 4, "the files were not kept open"
    reader.close()
    assert open_in(folder)[1] == 0
    print(f"{len(most)} looks, {total} files open at most, {own} of the slides")


if __name__ == "__main__":
    main()
