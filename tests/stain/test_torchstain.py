"""Macenko's and Reinhard's normalisation against torchstain: what it gave, and itself where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from record_torchstain import STEP, normalised

from cellmix_dali.stain.methods import Macenko, Reinhard, StainMethod
from cellmix_dali.synthetic import render_tissue

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "torchstain.npz")
METHODS: list[StainMethod] = [Macenko(), Reinhard()]


def ours(method: StainMethod, source: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.int64]:
    return method.fit(source).change_to(method.fit(target)).apply(source).astype(np.int64)


def within_one(got: NDArray[np.int64], want: NDArray[np.uint8]) -> None:
    """Torchstain cuts off what is behind the point, and leaves the 1 in that it has added: one level at most."""
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_as_recorded(method: StainMethod) -> None:
    got = ours(method, GOLDEN["small_source"], GOLDEN["small_target"])
    within_one(got, GOLDEN[f"small_{method.name}"])
    assert np.abs(got - GOLDEN["small_source"]).mean() > 5  # else the test would say nothing


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_real_images_as_recorded(real: Callable[[str], Path], method: StainMethod) -> None:
    images = (Image.open(real(f"torchstain-{name}.png")).convert("RGB") for name in ("source", "target"))
    got = ours(method, *map(np.asarray, images))
    within_one(got.reshape(-1, 3)[::STEP], GOLDEN[f"real_{method.name}"])


def test_statistics_as_recorded() -> None:
    for place, name in enumerate(("source", "target")):
        fit = Macenko().fit(GOLDEN[f"small_{name}"])
        np.testing.assert_allclose(fit.stains, GOLDEN["small_stains"][place], atol=1e-9)
        np.testing.assert_allclose(fit.concentrations, GOLDEN["small_concentrations"][place], rtol=1e-9)
    lab = Reinhard().fit(GOLDEN["small_target"])
    np.testing.assert_allclose(lab.mean, GOLDEN["small_target_mean"], atol=1e-3)  # it works in float32
    np.testing.assert_allclose(lab.std, GOLDEN["small_target_std"], atol=1e-3)


@pytest.mark.skipif(find_spec("torchstain") is None, reason="torchstain is not installed")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("brightness", [1.0, 0.4])
def test_the_package_itself(method: StainMethod, brightness: float) -> None:
    source, target = ((render_tissue(512, 512, seed=seed)[0] * brightness).astype(np.uint8) for seed in (1, 2))
    within_one(ours(method, source, target[:400]), normalised(source, target[:400])[method.name])
