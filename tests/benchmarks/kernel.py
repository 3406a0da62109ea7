"""The compiled pass that mixes, normalises, casts and transposes, against copying its result with NumPy."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from material import Material
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from settings import FIX_RATIO, METHOD, THREADS

from cellmix_dali import CellMix
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.normalise import normalise

if TYPE_CHECKING:
    from groups import Report

__all__ = ["kernel"]

_BATCH, _PASSES = 64, 10
_SIZES = ((224, 16), (224, 32), (224, 112), (256, 32), (512, 32))  # tile and patch in pixels


def kernel(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001
    """Pixels are in memory, plans are drawn beforehand: what is timed is DALI's pipeline with this operator alone."""
    found = {}
    for tile, patch in _SIZES:
        pipeline, result = _pipeline(tile, patch)
        source, target = np.empty_like(result), np.empty_like(result)
        mixing, copying = [], []
        for _ in range(rounds + 1):
            mixing.append(_seconds(pipeline.run))
            copying.append(_seconds(lambda target=target, source=source: np.copyto(target, source)))
        ratios = [copied / mixed for mixed, copied in zip(mixing[1:], copying[1:], strict=True)]
        ratio = round(statistics.median(ratios), 4)
        microseconds = statistics.median(mixing[1:]) / _BATCH * 1e6
        found[f"{tile} px, patches of {patch}: us a tile"] = round(microseconds, 1)
        found[f"{tile} px, patches of {patch}: over copying"] = ratio
        if (tile, patch) == (256, 32):
            report.ratios["kernel_over_copy"] = ratio
    report.other["mixing pass to float32 CHW"] = found


def _pipeline(tile: int, patch: int) -> tuple[Pipeline, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, tile, tile, 3), dtype=np.uint8)
    plans = PlanSource(CellMix(METHOD), tile_size=tile, batch_size=_BATCH, patch_size=patch, fix_ratio=FIX_RATIO)
    drawn = plans.draw(0, 0)
    pipeline = Pipeline(batch_size=_BATCH, num_threads=THREADS, device_id=None, prefetch_queue_depth=2)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC", no_copy=True)
        plans.draw = lambda *_: drawn  # type: ignore[method-assign]
        plan = plans.nodes()
        pipeline.set_outputs(normalise(node, plan=plan, engine="numba"), plan.weights, plan.parameters)
    pipeline.build()
    return pipeline, pipeline.run()[0].as_array()


def _seconds(run: object) -> float:
    began = time.perf_counter()
    for _ in range(_PASSES):
        run()  # type: ignore[operator]
    return (time.perf_counter() - began) / _PASSES
