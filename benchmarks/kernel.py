"""The compiled pass that mixes, normalises, casts and transposes, against copying its result with NumPy."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from material import Material
from measure import quotients
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from settings import FIX_RATIO, METHOD, THREADS

from cellmix_dali import CellMix
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.normalise import normalise

if TYPE_CHECKING:
    from groups import Report

__all__ = ["kernel"]

_PASSES = 10
# Batch, tile and patch in pixels.
_SIZES = ((64, 224, 16), (64, 224, 32), (64, 224, 112), (64, 256, 32), (64, 512, 32), (256, 224, 32))
_HEADLINE = (64, 256, 32)


def kernel(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001
    """Pixels are in memory, plans are drawn beforehand: what is timed is DALI's pipeline with this operator alone."""
    found: dict[str, Any] = {}
    for size in _SIZES:
        pipeline, result = _pipeline(*size)
        source, target = np.empty_like(result), np.empty_like(result)
        times: dict[str, list[float]] = {"mixing": [], "copy": []}
        for number in range(rounds + 1):  # the first warms up
            mixed = _milliseconds(pipeline.run)
            copied = _milliseconds(lambda target=target, source=source: np.copyto(target, source))
            if number:
                times["mixing"].append(mixed)
                times["copy"].append(copied)
        ratios = quotients(times["copy"], times["mixing"])
        batch, tile, patch = size
        found[f"batch {batch}, {tile} px, patches of {patch}, float32"] = {
            "over_copy": statistics.median(ratios),
            **{f"{way}, GB/s": round(result.nbytes / statistics.median(ms) / 1e6, 2) for way, ms in times.items()},
            **{f"{way}, ms": [round(value, 4) for value in ms] for way, ms in times.items()},
        }
        if size == _HEADLINE:
            report.rounds["kernel_over_copy"] = ratios
    report.other["kernel alone"] = found


def _pipeline(batch: int, tile: int, patch: int) -> tuple[Pipeline, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (batch, tile, tile, 3), dtype=np.uint8)
    plans = PlanSource(CellMix(METHOD), tile_size=tile, batch_size=batch, patch_size=patch, fix_ratio=FIX_RATIO)
    drawn = plans.draw(0, 0)
    pipeline = Pipeline(batch_size=batch, num_threads=THREADS, device_id=None, prefetch_queue_depth=2)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC", no_copy=True)
        plans.draw = lambda *_: drawn  # type: ignore[method-assign]
        plan = plans.nodes()
        normalised = normalise(node, plan=plan, engine="numba", sizes_checked=True)
        pipeline.set_outputs(normalised, plan.weights, plan.parameters)
    pipeline.build()
    return pipeline, pipeline.run()[0].as_array()


def _milliseconds(run: object) -> float:
    began = time.perf_counter()
    for _ in range(_PASSES):
        run()  # type: ignore[operator]
    return (time.perf_counter() - began) / _PASSES * 1e3
