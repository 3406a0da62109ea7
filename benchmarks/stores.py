"""Measures training from a store whose answers are late against files: ``python benchmarks/stores.py``.

Figures are for people: no test reads them. See docs/stores.md. A pass over the tiles of rendered slides, from files and
from the store, alternately; the store's pages are forgotten before each pass, the index is warm. Requests and bytes are
counted by the server.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

_SIDE, _TILE, _BATCH = 3072, 256, 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.02, help="Seconds that each answer is late.")
    parser.add_argument("--slides", type=int, default=8)
    parser.add_argument("--many", type=int, default=1000, help="Slides of the case that waits for a first batch.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, nargs="*", default=[64], help="Requests in flight of a process.")
    parser.add_argument("--bandwidth", type=float, help="Megabytes per second that the store sends in all.")
    parser.add_argument("--peer", help="A Python that has s3fs, tifffile, zarr and imagecodecs, to measure them, too.")
    parser.add_argument("--wait", action="store_true", help="Keep the store until Enter, to ask it with other tools.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stores-") as folder:
        _measure(Path(folder), arguments)


def _measure(folder: Path, arguments: argparse.Namespace) -> None:
    from cellmix_dali.synthetic import render_slides

    slides = [of.path for of in render_slides(folder / "slides", count=arguments.slides, side=_SIDE)]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    script = Path(__file__).with_name("slow_store.py")
    given = [str(port), str(arguments.latency), str(arguments.bandwidth or 0)]
    server = subprocess.Popen([sys.executable, script, folder / "slides", *given])
    address = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "us-east-1",
        "CELLMIX_DALI_STORE_CACHE": str(folder / "kept 0"),
    }
    try:
        while True:
            try:
                _counted(address)
                break
            except OSError:
                time.sleep(0.1)
        urls = [f"s3://archive/{path.name}" for path in slides]
        _index([*slides, *urls], folder / "a.index")
        _alone("pass", slides, folder / "a.index")  # compiles, and reads the files
        local, count = [], 0
        found: dict[int, list[dict[str, Any]]] = {each: [] for each in arguments.requests}
        for _ in range(arguments.repeats):
            local.append(_alone("pass", slides, folder / "a.index"))
            for requests in arguments.requests:
                count += 1
                os.environ["CELLMIX_DALI_STORE_CACHE"] = str(folder / f"kept {count}")
                os.environ["CELLMIX_DALI_STORE_REQUESTS"] = str(requests)
                _counted(address)
                one_pass = _alone("pass", urls, folder / "a.index")
                found[requests].append(one_pass | _counted(address))
                shutil.rmtree(folder / f"kept {count}")
        best = max(of["rate"] for of in local)
        soonest = min(of["first"] for of in local)
        print(
            f"files: {_rates(local)} tiles/s, {_cpu(local)} ms of processor time per tile, first batch {soonest:.2f} s"
        )
        for requests, passes in found.items():
            tiles = passes[0]["tiles"]
            ratios = [stored["rate"] / file["rate"] for stored, file in zip(passes, local, strict=True)]
            first = passes[0]
            print(
                f"store, {requests} requests at most ({max(of['in_flight'] for of in passes)} were in flight): "
                f"{_rates(passes)} tiles/s, {statistics.median(ratios):.2f} of files; {_cpu(passes)} ms of processor "
                f"time per tile; {first['requests'] / tiles:.2f} requests and {first['bytes'] / tiles / 1e3:.1f} kB "
                f"per tile; first batch after {min(of['first'] for of in passes):.2f} s"
            )
        if arguments.peer:
            _peer(address, urls, arguments.peer)
        _many(folder, address, urls, arguments)
        _copied(folder, address, slides, best)
        if arguments.wait:
            input(f"The store is at {address}, its slides: {' '.join(path.name for path in slides)}. Enter ends it.")
    finally:
        server.kill()
        server.wait()


def _peer(address: str, urls: list[str], python: str) -> None:
    """The usual way, without a training: what its reading alone reaches."""
    script = Path(__file__).with_name("stores_peer.py")
    for way, threads, count in (("file", 1, 200), ("file", 16, 200), ("references", 16, 800), ("references", 64, 800)):
        _counted(address)
        given = [way, address, str(_TILE), str(threads), str(count), *urls]
        done = subprocess.run([python, script, *given], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found, asked = json.loads(done.stdout.splitlines()[-1]), _counted(address)
        print(
            f"s3fs + tifffile + zarr by {way}, {threads} threads: {found['rate']:.0f} tiles/s, "
            f"{found['cpu']:.2f} ms of processor time per tile; slides open after {found['opened']:.2f} s; "
            f"{asked['requests'] / found['tiles']:.2f} requests and "
            f"{asked['bytes'] / found['tiles'] / 1e3:.1f} kB per tile"
        )


def _many(folder: Path, address: str, urls: list[str], arguments: argparse.Namespace) -> None:
    """How long a first batch of many slides takes."""
    os.environ["CELLMIX_DALI_STORE_CACHE"] = str(folder / "kept many")
    os.environ.pop("CELLMIX_DALI_STORE_REQUESTS", None)
    names = [f"{urls[number % len(urls)]}@{number}.tiff" for number in range(arguments.many)]
    _index(names, folder / "many.index", workers=2)
    shutil.rmtree(folder / "kept many")
    _counted(address)
    found = _alone("first", names, folder / "many.index")
    print(f"{arguments.many} slides with an index: first batch after {found['first']:.2f} s ({_counted(address)})")


def _copied(folder: Path, address: str, slides: list[Path], rate: float) -> None:
    """How long a copy of all takes, before the first tile, and with a pass after it."""
    began, total = time.perf_counter(), 0
    for path in slides:
        with urlopen(f"{address}/archive/{path.name}") as answer, (folder / "copy").open("wb") as file:
            shutil.copyfileobj(answer, file)
        total += (folder / "copy").stat().st_size
    print(f"copied first: {total / 1e6:.0f} MB in {time.perf_counter() - began:.2f} s before the first tile")
    print(f"(a pass from files then goes at {rate:.0f} tiles/s)")


def _index(slides: list[Any], path: Path, workers: int = 0) -> None:
    from cellmix_dali.collection import IndexSettings, make_index

    make_index(slides, path, IndexSettings(tissue=False, thumbnail=0), workers=workers)


def _counted(address: str) -> dict[str, int]:
    with urlopen(f"{address}/~counted") as answer:
        found: dict[str, int] = json.loads(answer.read())
    return found


def _alone(what: str, slides: list[Any], index: Path) -> dict[str, Any]:
    """Measure in a process of its own."""
    given = json.dumps([what, [str(each) for each in slides], str(index)])
    done = subprocess.run([sys.executable, __file__, "--case", given], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _case(what: str, slides: list[str], index: str) -> None:
    import numpy as np
    import pyarrow as pa

    from cellmix_dali import TileTable
    from cellmix_dali.pipelines import train_loader

    each = (_SIDE // _TILE) ** 2
    number = np.repeat(np.arange(len(slides)), each)
    place = np.tile(np.arange(each), len(slides))
    columns = {
        "slide": pa.DictionaryArray.from_arrays(pa.array(number, pa.int32()), slides),
        "level": pa.array(np.zeros(len(number)), pa.int32()),
        "x": pa.array(place % (_SIDE // _TILE) * _TILE, pa.int64()),
        "y": pa.array(place // (_SIDE // _TILE) * _TILE, pa.int64()),
        "size": pa.array(np.full(len(number), _TILE), pa.int32()),
        "label": pa.array(number % 2, pa.int32()),
    }
    began, cpu = time.perf_counter(), time.process_time()
    loader = train_loader(
        TileTable(pa.table(columns)),
        num_classes=2,
        batch_size=_BATCH,
        tile_size=224,
        index=index,
        device="cpu",
        patch_size=32,
        fix_ratio=0.5,
    )
    tiles, first = 0, 0.0
    for _ in loader:
        if not tiles:
            first, begun, cpu = time.perf_counter() - began, time.perf_counter(), time.process_time()
        tiles += _BATCH
        if what == "first":
            break
    seconds = time.perf_counter() - begun
    rest = max(tiles - _BATCH, 1)
    print(
        json.dumps(
            {
                "first": first,
                "tiles": tiles,
                "rate": rest / seconds if tiles > _BATCH else 0.0,
                "cpu": (time.process_time() - cpu) / rest * 1e3,
            }
        )
    )


def _rates(passes: list[dict[str, Any]]) -> str:
    return " ".join(f"{of['rate']:.0f}" for of in passes)


def _cpu(passes: list[dict[str, Any]]) -> str:
    return f"{statistics.median(of['cpu'] for of in passes):.2f}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        _case(*json.loads(sys.argv[2]))
    else:
        main()
