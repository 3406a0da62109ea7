"""Reads windows of slides in a store as people do by s3fs, tifffile and zarr; needs them and imagecodecs, no more.

``python benchmarks/stores_peer.py file|references ENDPOINT TILE THREADS COUNT s3://...``: the grid of each slide in a
random order, at most COUNT windows. Prints how long it took to open all slides, and windows per second after that.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def main() -> None:
    """Read, and print one line of JSON."""
    import s3fs
    import tifffile
    import zarr

    way, endpoint, tile, threads, count, *urls = sys.argv[1:]
    side = int(tile)
    files = s3fs.S3FileSystem(
        anon=True, endpoint_url=endpoint, default_block_size=1 << 16, default_cache_type="readahead"
    )
    began = time.perf_counter()
    levels = []
    for url in urls:
        opened = tifffile.imread(files.open(url), aszarr=True, level=0)
        if way == "references":
            opened = _by_references(opened, endpoint, url)
        levels.append(zarr.open(opened, mode="r"))
    opened_after = time.perf_counter() - began
    places = [
        (level, x, y)
        for level in levels
        for y in range(0, level.shape[0] - side + 1, side)
        for x in range(0, level.shape[1] - side + 1, side)
    ]
    random.Random(0).shuffle(places)
    places = places[: int(count)]

    def read(place: tuple[object, int, int]) -> float:
        level, x, y = place
        return float(level[y : y + side, x : x + side].mean())  # type: ignore[index]

    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(int(threads)) as pool:
        mean = sum(pool.map(read, places)) / len(places)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "opened": opened_after,
                "tiles": len(places),
                "rate": len(places) / seconds,
                "cpu": (time.process_time() - cpu) / len(places) * 1e3,
                "mean": mean,
            }
        )
    )


def _by_references(level: Any, endpoint: str, url: str) -> Any:
    """The same level by kerchunk's references, whose blocks zarr asks for itself, many at once."""
    import fsspec
    import zarr
    from imagecodecs.numcodecs import register_codecs

    register_codecs(verbose=False)
    file = io.StringIO()
    level.write_fsspec(file, url.rpartition("/")[0] + "/")
    options = {"anon": True, "endpoint_url": endpoint, "asynchronous": True}
    references = fsspec.filesystem(
        "reference", fo=json.loads(file.getvalue()), remote_protocol="s3", remote_options=options, asynchronous=True
    )
    return zarr.storage.FsspecStore(references, read_only=True, path="")


if __name__ == "__main__":
    main()
