"""Both engines on the GPU against the CPU's: mixing to the bit; "numba" to the bit as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali._user_cache import CACHE_VARIABLE
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CELLMIX_VARIANTS, CellMix, make_mixer
from cellmix_dali.plugins import PlanSource, mix
from cellmix_dali.plugins.normalise import normalise

BATCH = 8
SIZES = [(224, 224, 32), (64, 96, 16), (60, 84, 4), (35, 55, 5), (256, 256, 8)]


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (BATCH, height, width, 3), dtype=np.uint8)


def source(method: str, height: int, width: int, patch: int | None, p: float = 1.0) -> PlanSource:
    steering = {} if patch is None else {"patch_size": patch, "fix_ratio": 0.25}
    return PlanSource(make_mixer(method, p=p, seed=3), tile_size=(height, width), batch_size=BATCH, **steering)


def run(images: np.ndarray, device: str, engine: str, plans: PlanSource | None, dtype: str, runs: int = 1) -> Any:
    number = torch.cuda.current_device() if device == "gpu" else None
    pipeline = Pipeline(batch_size=BATCH, num_threads=2, device_id=number, prefetch_queue_depth=2)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        node = node.gpu() if device == "gpu" else node
        plan = None if plans is None else plans.nodes()
        kept = [] if plan is None else [each for each in (plan.weights, plan.parameters) if each is not None]
        pipeline.set_outputs(normalise(node, plan=plan, engine=engine, dtype=dtype), *kept)
    pipeline.build()
    outputs = []
    for _ in range(runs):
        result = pipeline.run()[0]
        assert result.layout() == "CHW"
        outputs.append(np.array((result.as_cpu() if device == "gpu" else result).as_array()))
    return outputs


def assert_one_rounding_apart(got: np.ndarray, want: np.ndarray, dtype: str) -> None:
    """DALI's GPU operator may multiply and add in one rounding: a few units of the last place, at numbers up to 3."""
    np.testing.assert_allclose(
        got.astype(np.float32), want.astype(np.float32), atol=2e-3 if dtype == "float16" else 2e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("method", [*CELLMIX_VARIANTS, "CutMix"])
def test_methods(method: str, dtype: str) -> None:
    images, patch = pixels(64, 96), 16 if method in CELLMIX_VARIANTS else None
    (want,) = run(images, "cpu", "numba", source(method, 64, 96, patch), dtype)
    (got,) = run(images, "gpu", "numba", source(method, 64, 96, patch), dtype)
    np.testing.assert_array_equal(got, want)
    (native,) = run(images, "gpu", "native", source(method, 64, 96, patch), dtype)
    assert_one_rounding_apart(native, want, dtype)
    assert not np.array_equal(want, run(images, "cpu", "numba", None, dtype)[0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("height", "width", "patch"), SIZES)
def test_sizes_mixed_and_alone(height: int, width: int, patch: int, dtype: str) -> None:
    images = pixels(height, width)
    for plans in (lambda: source("CellMix-All", height, width, patch), lambda: None):
        (want,) = run(images, "cpu", "native", plans(), dtype)
        (got,) = run(images, "gpu", "numba", plans(), dtype)
        np.testing.assert_array_equal(got, want)


def test_batch_after_batch() -> None:
    """Batches that are prefetched do not disturb each other: addresses and tables are each batch's own."""
    images = pixels(224, 224)
    batches = [run(images, device, "numba", source("CellMix-Group", 224, 224, 32, 0.7), "float32", 60) for device in ("cpu", "gpu")]  # fmt: skip  # noqa: E501
    for want, got in zip(*batches, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("method", ["Mixup", "Cutout", "FMix", "ResizeMix"])
def test_other_methods_are_mixed_by_dali_and_normalised_by_the_kernel(method: str) -> None:
    images = pixels(64, 96)
    (want,) = run(images, "cpu", "native", source(method, 64, 96, None), "float32")
    (got,) = run(images, "gpu", "numba", source(method, 64, 96, None), "float32")
    allowed = 1.01 / 255 / 0.224 if method == "Mixup" else 2e-6
    assert np.abs(got - want).max() <= allowed


@pytest.mark.parametrize("method", [*CELLMIX_VARIANTS, "CutMix", "Cutout", "FMix"])
def test_mixing_alone_is_the_plans_to_the_bit(method: str) -> None:
    images, patch = pixels(64, 96), 16 if method in CELLMIX_VARIANTS else None
    plans = source(method, 64, 96, patch)
    pipeline = Pipeline(batch_size=BATCH, num_threads=2, device_id=torch.cuda.current_device(), prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC").gpu()
        labels = types.Constant(np.array([1], np.int32), device="cpu")
        pipeline.set_outputs(*mix(node, labels, num_classes=3, plan=plans))
    pipeline.build()
    mixed, soft = (output.as_cpu().as_array() for output in pipeline.run())
    mixer = plans.mixer
    key = {"epoch": 0, "iteration": 0}
    steering = (16, 0.25) if isinstance(mixer, CellMix) else ()
    plan = mixer.draw(BATCH, (64, 96), *steering, **key)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(mixed, plan.apply(images))
    np.testing.assert_allclose(soft, plan.soft_labels(np.ones(BATCH, np.int64), 3), atol=1e-6)


def test_what_is_refused() -> None:
    with pytest.raises(RuntimeError, match="require_tile_size"):
        run(pixels(64, 96), "gpu", "numba", source("CellMix-All", 128, 96, 16), "float32")
    pipeline = Pipeline(batch_size=BATCH, num_threads=2, device_id=torch.cuda.current_device())
    with pipeline:
        node = fn.external_source(lambda: pixels(64, 96), batch=True, dtype=types.UINT8, layout="HWC").gpu()
        labels = types.Constant(np.array([1], np.int32), device="cpu")
        plans = source("CutMix", 64, 96, None)
        with pytest.raises(ArgumentError, match="mixes and normalises in one pass"):
            mix(node, labels, num_classes=3, plan=plans, engine="numba")


def test_the_default_is_measured_here_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cellmix_dali.plugins.engines import registry

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    registry._fastest_on.cache_clear()
    try:
        chosen = registry.default_engine("gpu")
    finally:
        registry._fastest_on.cache_clear()
    (times,) = json.loads((tmp_path / "engines.json").read_text()).values()
    print(f"\n{chosen}: {times} ms for 64 tiles of 224 px, in patches of 16 and of 32 px")
    assert set(times) == {"native", "numba"}
    assert times[chosen] <= min(times.values()) / 0.95
