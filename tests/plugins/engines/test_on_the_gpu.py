"""Which engine the operators ask on the GPU: graphs are defined, which needs no GPU, and not built."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

import cellmix_dali.plugins.normalise as module
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import Action, make_mixer
from cellmix_dali.plugins import PlanSource, mix
from cellmix_dali.plugins.engines.engine import Engine
from cellmix_dali.plugins.normalise import normalise


def on_the_gpu() -> Any:
    pixels = np.zeros((4, 16, 16, 3), np.uint8)
    return fn.external_source(lambda: pixels, batch=True, dtype=types.UINT8, layout="HWC").gpu()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str | None]]:
    """Name, kind of plan and type, each time an engine is about to be used; none is tried, as that would run it."""
    found = []

    def noted(engine: Engine, images: Any, action: Action | None, dtype: str | None = None) -> Engine:
        assert images.device == "gpu"
        found.append((type(engine).__name__, None if action is None else action.kind, dtype))
        return engine

    monkeypatch.setattr(module, "tried", noted)
    return found


@pytest.mark.parametrize(
    ("engine", "method", "asks"),
    [
        (None, "CutMix", [("Native", "paste", None), ("Native", None, "float32")]),
        ("native", None, [("Native", None, "float32")]),
        ("numba", None, [("CompiledOnGpu", None, "float32")]),
        ("numba", "CutMix", [("CompiledOnGpu", "paste", "float32")]),
        ("numba", "Mixup", [("Native", "share", None), ("CompiledOnGpu", None, "float32")]),
        ("numba", "Cutout", [("Native", "fill", None), ("CompiledOnGpu", None, "float32")]),
    ],
)
def test_what_an_engine_has_no_kernel_for_is_mixed_by_dalis_operators(
    engine: str | None, method: str | None, asks: list[Any], asked: list[Any]
) -> None:
    with Pipeline(batch_size=4, num_threads=1, device_id=0):
        plan = None if method is None else PlanSource(make_mixer(method), tile_size=16, batch_size=4).nodes()
        assert normalise(on_the_gpu(), plan=plan, engine=engine).device == "gpu"
    assert asked == asks


@pytest.mark.parametrize("method", ["CutMix", "Mixup", "SaliencyMix"])
def test_an_engine_that_mixes_nothing_alone_is_refused_before_it_is_tried(method: str) -> None:
    with Pipeline(batch_size=4, num_threads=1, device_id=0):
        label = types.Constant(np.array([1], np.int32), device="cpu")
        words = r"On the GPU engine='numba' mixes and normalises in one pass: use .*or engine='native' to mix alone"
        with pytest.raises(ArgumentError, match=words):
            mix(on_the_gpu(), label, method=method, num_classes=3, engine="numba")
        images, labels = mix(on_the_gpu(), label, method="none", num_classes=3, engine="numba")
    assert (images.device, labels.device) == ("gpu", "gpu")
