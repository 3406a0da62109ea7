"""Measures the GPU's paths and writes bench-gpu.json: ``make bench-gpu``. Ends with an error where there is no GPU.

``--device cpu`` tries the benchmark itself, on a few tiles: its figures mean nothing. A group that fails takes no other
with it: its error is written among the figures, and the exit code is 1.

Ratios: `kernel_over_copy`, the CUDA kernel alone against a copy on the device that moves as many bytes;
`mix_over_normalise` and `pipeline_over_decode`, whole pipelines from encoded blocks to tensors on the GPU;
`host_us_per_tile`, the Python side of a batch. Contestants of a group run alternately in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import settings
import torch
from host import host_times
from machine import machine, versions
from material import Material, material
from measure import Contestant, Series, alternate, quotients, rounds_of
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from settings import BLOCK, CLASSES, FIX_RATIO, METHOD, PATCH

from cellmix_dali import CellMix, TileTable, open_slide
from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.pipelines import GraphOptions, Loader, train_loader
from cellmix_dali.pipelines.device import device_id
from cellmix_dali.pipelines.loader import loader_over
from cellmix_dali.pipelines.routes import routes_taken
from cellmix_dali.plugins import PlanSource, TileSource
from cellmix_dali.plugins.engines.cell_table import cell_tables
from cellmix_dali.plugins.engines.cuda_launch import launch
from cellmix_dali.plugins.engines.engine import Normalisation
from cellmix_dali.plugins.engines.registry import ENGINES, default_engine
from cellmix_dali.plugins.normalise import MEAN, STD


@dataclass(frozen=True)
class Where:
    """Where everything runs.

    Attributes
    ----------
    device : {"gpu", "cpu"}
        "cpu" tries the benchmark itself.
    """

    device: str = "gpu"

    @property
    def gpu(self) -> bool:
        """Whether figures mean anything."""
        return self.device == "gpu"

    @property
    def batch(self) -> int:
        """Tiles per batch."""
        return 256 if self.gpu else 8

    @property
    def tiles(self) -> int:
        """Tiles of a round."""
        return 8192 if self.gpu else 128

    def wait(self) -> None:
        """Wait until the GPU has done what it was asked."""
        if self.gpu:
            torch.cuda.synchronize()


THREADS, WORKERS = 8, 4
LOADS = (0.0, 0.65, 1.0)
# Batch, tile and patch in pixels.
KERNELS = [(batch, *size) for batch in (256, 1024) for size in ((224, 16), (224, 32), (224, 112), (512, 16), (512, 64))]
HEADLINE = (256, 224, 32, "float32")
LAUNCHES = 20


def moved_bytes(batch: int, tile: int, dtype: str) -> int:
    """Bytes that the kernel must read and write: 8-bit pixels in, numbers out."""
    return batch * tile * tile * 3 * (1 + np.dtype(dtype).itemsize)


def tables_of(batch: int, tile: int, patch: int) -> np.ndarray:
    """The tables of a drawn plan, (batch, T)."""
    plans = PlanSource(CellMix(METHOD), tile_size=tile, batch_size=batch, patch_size=patch, fix_ratio=FIX_RATIO)
    plan = plans.draw(0, 0)
    regions = np.concatenate([plan.in_ids[..., None], plan.in_anchors, plan.out_anchors, plan.shapes], axis=-1)
    return cell_tables(regions, tile, tile)


def kernel_over_copy(rounds: int) -> dict[str, dict[str, Any]]:
    """The kernel alone, by CUDA events, alternately with a copy on the device that moves the same number of bytes."""
    found = {}
    stream = torch.cuda.current_stream().cuda_stream
    numbers = Normalisation(MEAN, STD).constants()
    for batch, tile, patch in KERNELS:
        images = torch.randint(0, 256, (batch, tile, tile, 3), dtype=torch.uint8, device="cuda")
        tables = torch.from_numpy(tables_of(batch, tile, patch)).cuda()
        places = torch.tensor([each.data_ptr() for whole in (images, tables) for each in whole], device="cuda")
        for dtype in ("float32", "float16"):
            target = torch.empty((batch, 3, tile, tile), dtype=getattr(torch, dtype), device="cuda")
            moved = moved_bytes(batch, tile, dtype)
            one, other = (torch.empty(moved // 2, dtype=torch.uint8, device="cuda") for _ in range(2))
            ways: dict[str, Callable[[], object]] = {
                "mixing": partial(launch, target, places, numbers, dtype, mixing=True, stream=stream),
                "no plan": partial(launch, target, places, numbers, dtype, mixing=False, stream=stream),
                "copy": partial(other.copy_, one),
            }
            times = _alternate_ms(ways, rounds)
            found[f"batch {batch}, {tile} px, patches of {patch}, {dtype}"] = {
                "over_copy": statistics.median(quotients(times["copy"], times["mixing"])),
                **{f"{way}, GB/s": round(moved / statistics.median(ms) / 1e6, 1) for way, ms in times.items()},
                **{f"{way}, ms": [round(value, 4) for value in ms] for way, ms in times.items()},
            }
            del target, one, other, ways
    return found


def _alternate_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds a call, a round each; the first round warms up."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, call in ways.items() if number % 2 else reversed(ways.items()):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(LAUNCHES):
                call()
            end.record()
            end.synchronize()
            if number:
                times[way].append(start.elapsed_time(end) / LAUNCHES)
    return times


def decoder(table: TileTable, load: float, where: Where) -> Contestant:
    """DALI's decoder on the very streams, prepared beforehand: no reading, no checks, nothing but the decoder."""
    with open_slide(table.slides[0]) as slide:
        encoded = slide.blocks(0, (table.x // BLOCK).tolist(), (table.y // BLOCK).tolist())
    streams = [np.frombuffer(block, np.uint8) for block in encoded if block is not None]
    size = where.batch
    batches = [streams[first : first + size] for first in range(0, len(streams) // size * size, size)]

    def source(info: types.BatchInfo) -> list[np.ndarray]:
        if info.iteration >= len(batches):
            raise StopIteration
        return batches[info.iteration]

    pipeline = Pipeline(batch_size=size, num_threads=THREADS, device_id=device_id(where.device), prefetch_queue_depth=2)
    with pipeline:
        node = fn.external_source(source, batch=True, batch_info=True, dtype=types.UINT8, ndim=1)
        options = {"output_type": types.RGB, "jpeg_fancy_upsampling": True, "hw_decoder_load": load}
        pipeline.set_outputs(fn.decoders.image(node, device="mixed" if where.gpu else "cpu", **options))
    pipeline.build()

    def run() -> int:
        count = 0
        while True:
            try:
                count += len(pipeline.run()[0])
            except StopIteration:
                pipeline.reset()
                where.wait()
                return count

    return Contestant(f"bare DALI decoder, hw_decoder_load {load}", run)


def normalised(table: TileTable, engine: str, where: Where) -> Contestant:
    """Decode and normalise."""
    source = TileSource(table, batch_size=where.batch, num_workers=WORKERS)
    options = GraphOptions(where.device, engine, num_threads=THREADS)
    return _loader(f"read + normalise ({engine})", loader_over(source, options), where)


def mixed(table: TileTable, engine: str, where: Where) -> Contestant:
    """Decode, mix every batch and normalise."""
    loader = train_loader(
        table,
        num_classes=CLASSES,
        batch_size=where.batch,
        patch_size=PATCH,
        fix_ratio=FIX_RATIO,
        method=METHOD,
        p=1.0,
        flips=False,
        engine=engine,
        device=where.device,
        num_threads=THREADS,
        num_workers=WORKERS,
    )
    return _loader(f"read + CellMix ({engine}) + normalise", loader, where)


def _loader(name: str, loader: Loader[TileSource], where: Where) -> Contestant:
    def run() -> int:
        count = sum(len(batch["images"]) for batch in loader)
        where.wait()
        return count

    return Contestant(name, run, loader.close)


def pipelines(kind: str, slide: Path, slides: Material, rounds: int, report: dict[str, Any], where: Where) -> None:
    """Blocks of one kind, all ways alternately."""
    table = slides.blocks(slide, where.tiles)
    contestants = [decoder(table, load, where) for load in LOADS]
    contestants += [make(table, engine, where) for make in (normalised, mixed) for engine in ENGINES]
    series = alternate(contestants, rounds)
    report["series"][f"blocks of {BLOCK} px, {kind}, batches of {where.batch}"] = {
        name: each.as_dict() for name, each in series.items()
    }
    suffix = "" if kind.startswith("YCbCr") else "_svs"
    add_ratios(report, {key + suffix: rounds for key, rounds in ratios_of(series, where).items()})


def add_ratios(report: dict[str, Any], rounds: dict[str, list[float]]) -> None:
    """Note ratios by each round's figure."""
    report["rounds"] |= rounds
    report["ratios"] |= {key: round(statistics.median(each), 4) for key, each in rounds.items()}


def ratios_of(series: dict[str, Series], where: Where) -> dict[str, list[float]]:
    """The ratios of one slide's contestants; `pipeline_over_decode` is over the fastest bare decoder."""
    fastest = max((name for name in series if name.startswith("bare")), key=lambda name: series[name].median)
    found: dict[str, list[float]] = {}
    wholes = {engine: f"read + CellMix ({engine}) + normalise" for engine in ENGINES}
    for engine, whole in wholes.items():
        found[f"mix_over_normalise_{engine}"] = rounds_of(series, whole, f"read + normalise ({engine})")
        found[f"pipeline_over_decode_{engine}"] = rounds_of(series, whole, fastest)
    found["numba_over_native"] = rounds_of(series, wholes["numba"], wholes["native"])
    for key in ("mix_over_normalise", "pipeline_over_decode"):
        found[key] = found[f"{key}_{default_engine(where.device)}"]
    return found


def kernels(rounds: int, report: dict[str, Any]) -> None:
    """The kernel alone, and its ratios."""
    found = report["other"]["kernel alone"] = kernel_over_copy(rounds)
    batch, tile, patch, dtype = HEADLINE
    headline = found[f"batch {batch}, {tile} px, patches of {patch}, {dtype}"]
    add_ratios(report, {"kernel_over_copy": quotients(headline["copy, ms"], headline["mixing, ms"])})
    report["ratios"]["kernel_over_copy_least"] = min(each["over_copy"] for each in found.values())


def host(slides: Material, rounds: int, report: dict[str, Any], where: Where) -> None:
    """The Python side of a batch."""
    found = report["other"]["host, us per tile"] = host_times(slides.blocks(slides.tiff, where.tiles), rounds)
    add_ratios(report, {"host_us_per_tile": found["TileSource.__call__, 2 reading threads"]["us"]})


def about(where: Where) -> dict[str, Any]:
    """Machine, versions and settings."""
    gpu: dict[str, Any] | str = "none"
    if where.gpu:
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        gpu = {
            "name": device.name,
            "memory_gib": round(device.total_memory / 2**30, 1),
            "multiprocessors": device.multi_processor_count,
            "capability": f"{device.major}.{device.minor}",
            "cuda_of_torch": torch.version.cuda,
        }
    used = {"batch": where.batch, "tiles": where.tiles, "threads": THREADS, "workers": WORKERS, "patch": PATCH}
    return {
        "machine": machine()
        | {"gpu": gpu, "decoder_routes": {kind: route._asdict() for kind, route in routes_taken(where.device).items()}},
        "versions": versions(),
        "settings": used
        | {"method": METHOD, "fix_ratio": settings.FIX_RATIO, "block": BLOCK}
        | {"device": where.device, "default_engine": default_engine(where.device)},
    }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each group")
    parser.add_argument("--side", type=int, default=24576, help="side of the slides in pixels")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: try the benchmark itself")
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"), help="where the figures go")
    arguments = parser.parse_args()
    rounds, where = arguments.rounds, Where(arguments.device)
    try:
        device_id(where.device)
    except MissingDependencyError as error:
        print(f"Nothing was measured. {error} --device cpu tries the benchmark itself.", file=sys.stderr)
        return 2
    report: dict[str, Any] = {**about(where), "ratios": {}, "rounds": {}, "series": {}, "other": {}, "failed": {}}

    def measure(group: str, run: Callable[[], None]) -> None:
        """Run a group, and write what there is; its error is a figure, too."""
        try:
            run()
        except Exception as error:
            traceback.print_exc()
            report["failed"][group] = f"{type(error).__name__}: {error}"
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    if where.gpu:
        measure("kernel alone", partial(kernels, rounds, report))
    with material(arguments.side) as slides:
        for kind, slide in (("YCbCr 4:2:0 TIFF", slides.tiff), ("RGB SVS", slides.svs)):
            measure(kind, partial(pipelines, kind, slide, slides, rounds, report, where))
        measure("host", partial(host, slides, rounds, report, where))
    print(json.dumps(report["ratios"], indent=1))
    for group, why in report["failed"].items():
        print(f"{group} FAILED: {why}", file=sys.stderr)
    print(f"Written: {arguments.out}")
    return int(bool(report["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
