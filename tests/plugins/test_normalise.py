"""Mixing, normalising, casting and transposing in one compiled pass: DALI's own numbers, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CELLMIX_VARIANTS, make_mixer
from cellmix_dali.plugins import PlanNodes, PlanSource
from cellmix_dali.plugins.normalise import MEAN, STD, normalise


def run(images: np.ndarray, engine: str, source: PlanSource | None = None, **options: Any) -> np.ndarray:
    pipeline = Pipeline(batch_size=len(images), num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        plan = None if source is None else source.nodes()
        kept = [] if plan is None else [each for each in (plan.weights, plan.parameters) if each is not None]
        pipeline.set_outputs(normalise(node, plan=plan, engine=engine, **options), *kept)
    pipeline.build()
    return np.array(pipeline.run()[0].as_array())


def pixels(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("method", list(CELLMIX_VARIANTS))
def test_cellmix_in_the_same_pass(method: str, dtype: str) -> None:
    images, (height, width) = pixels(8, 48, 80), (48, 80)
    mixer = make_mixer(method, p=1.0, seed=3)
    source = PlanSource(mixer, tile_size=(height, width), batch_size=8, patch_size=8, fix_ratio=0.3)
    got = run(images, "numba", source, dtype=dtype)
    plan = mixer.draw(8, (height, width), 8, 0.3, epoch=0, iteration=0)
    np.testing.assert_array_equal(got, run(plan.apply(images), "native", dtype=dtype))
    assert got.dtype == dtype
    assert got.shape == (8, 3, height, width)
    # One rounding apart from the formula, worked out here in float64.
    exact = (plan.apply(images) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(got, exact.transpose(0, 3, 1, 2), rtol=2e-3 if dtype == "float16" else 1e-5, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [(24, 36, 12), (30, 50, 10), (9, 6, 3), (63, 63, 9), (28, 56, 14), (7, 7, 7), (40, 24, 4), (64, 128, 32)],
)
def test_patches_of_any_size(height: int, width: int, patch: int, dtype: str) -> None:
    images = pixels(6, height, width)
    mixer = make_mixer("CellMix-All", p=1.0, seed=patch)
    source = PlanSource(mixer, tile_size=(height, width), batch_size=6, patch_size=patch, fix_ratio=0.2)
    mixed = mixer.draw(6, (height, width), patch, 0.2, epoch=0, iteration=0).apply(images)
    got = run(images, "numba", source, dtype=dtype)
    np.testing.assert_array_equal(got, run(mixed, "native", dtype=dtype))


@pytest.mark.parametrize("seed", range(24))
def test_regions_anywhere_of_which_later_ones_win(seed: int) -> None:
    random = np.random.default_rng(seed)
    batch, (height, width), count = 3, random.integers(1, 41, 2), int(random.integers(1, 9))
    images = random.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    ids = random.integers(0, batch, (batch, count), dtype=np.int32)
    shapes = random.integers(0, (height + 1, width + 1), (batch, count, 2), dtype=np.int32)
    starts, places = (random.integers(0, (height, width) - shapes + 1, dtype=np.int32) for _ in range(2))
    want = images.copy()
    for sample in range(batch):
        for other, start, place, shape in zip(ids[sample], starts[sample], places[sample], shapes[sample], strict=True):
            target, taken = (tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True)) for at in (place, start))
            want[sample][target] = images[other][taken]
    pipeline = Pipeline(batch_size=batch, num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        regions = fn.external_source(lambda: (ids, starts, places, shapes), num_outputs=4, batch=True)
        plan = PlanNodes(*regions)
        pipeline.set_outputs(normalise(node, plan=plan, engine="numba", sizes_checked=True))
    pipeline.build()
    np.testing.assert_array_equal(pipeline.run()[0].as_array(), run(want, "native"))


@pytest.mark.parametrize("method", ["Cutout", "CutMix", "Mixup", "FMix", "ResizeMix"])
def test_other_methods(method: str) -> None:
    images = pixels(6, 40, 32)
    source = PlanSource(make_mixer(method, p=1.0, seed=5), tile_size=(40, 32), batch_size=6)
    got, want = run(images, "numba", source), run(images, "native", source)
    # Blends may differ by one level of 255 between the engines, all else is equal.
    allowed = 1.01 / 255 / min(STD) if method == "Mixup" else 0
    assert np.abs(got - want).max() <= allowed
    assert not np.array_equal(got, run(images, "numba"))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (17, 33), (64, 31), (224, 224)])
def test_without_a_plan(height: int, width: int) -> None:
    images = pixels(3, height, width)
    np.testing.assert_array_equal(run(images, "numba"), run(images, "native"))


def test_an_untriggered_plan_changes_nothing() -> None:
    images = pixels(4, 32, 32)
    source = PlanSource(make_mixer("CellMix", p=0.0), tile_size=32, batch_size=4, patch_size=8, fix_ratio=0.5)
    np.testing.assert_array_equal(run(images, "numba", source), run(images, "native"))


def test_images_of_many_sizes() -> None:
    images = [pixels(1, side, side + 3)[0] for side in (5, 40, 19)]
    found = []
    for engine in ("numba", "native"):
        pipeline = Pipeline(batch_size=3, num_threads=2, device_id=None, prefetch_queue_depth=1)
        with pipeline:
            node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
            pipeline.set_outputs(normalise(node, engine=engine))
        pipeline.build()
        (output,) = pipeline.run()
        found.append([np.array(output.at(place)) for place in range(3)])
    for got, want in zip(*found, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("mixing", [False, True])
def test_images_that_are_not_rgb_are_refused(channels: int, mixing: bool) -> None:
    images = np.zeros((4, 16, 16, channels), np.uint8)
    source = PlanSource(make_mixer("CellMix"), tile_size=16, batch_size=4, patch_size=8, fix_ratio=0.5)
    with pytest.raises(RuntimeError, match="raises if images have other channels"):
        run(images, "numba", source if mixing else None)


def test_fill_values_that_are_not_one_a_channel_are_refused() -> None:
    source = PlanSource(make_mixer("Cutout", fill=(7, 8)), tile_size=16, batch_size=4)
    with pytest.raises(RuntimeError, match="raises if images have other channels"):
        run(pixels(4, 16, 16), "numba", source, sizes_checked=True)


def test_means_and_deviations_of_ones_own() -> None:
    images, own = pixels(2, 8, 8), {"mean": (0.1, 0.7, 0.33), "std": (0.9, 0.01, 0.5)}
    np.testing.assert_array_equal(run(images, "numba", **own), run(images, "native", **own))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float64"}, "float32, float16"),
        ({"mean": (0.5,)}, "three numbers"),
        ({"std": (0.1, 0.0, 0.1)}, "above 0"),
        ({"engine": "cuda"}, "engine"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        run(pixels(1, 8, 8), **({"engine": "numba"} | options))


@pytest.mark.parametrize("engine", ["numba", "native"])
def test_images_of_another_size_than_the_plans_are_refused(engine: str) -> None:
    source = PlanSource(make_mixer("CellMix"), tile_size=(64, 32), batch_size=4, patch_size=8, fix_ratio=0.5)
    with pytest.raises(RuntimeError, match="require_tile_size"):
        run(pixels(4, 32, 32), engine, source)
