"""Stain methods: known stains are found, what cannot be fitted is refused in words, own ones join by name."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stained_images import EOSIN, HAEMATOXYLIN, stained

from cellmix_dali.errors import ArgumentError
from cellmix_dali.stain import DensityFit, LabFit
from cellmix_dali.stain.colour import optical_density
from cellmix_dali.stain.methods import (
    METHODS,
    Macenko,
    Reinhard,
    StainMethod,
    Vahadane,
    find_method,
    register_stain_method,
)
from cellmix_dali.stain.methods.vahadane import sparse_concentrations

ROOT = Path(__file__).parents[2]
Pixels = NDArray[np.uint8]
OTHER = np.array([0.55, 0.76, 0.35]) / np.linalg.norm([0.55, 0.76, 0.35])


def angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


@pytest.mark.parametrize("method", [Macenko(), Vahadane(sparsity=0.01)], ids=lambda method: method.name)
@pytest.mark.parametrize("haematoxylin", [HAEMATOXYLIN, OTHER], ids=["Ruifrok's", "another"])
def test_known_stains_are_found(method: StainMethod, haematoxylin: NDArray[np.float64]) -> None:
    fit = method.fit(stained(haematoxylin=haematoxylin))
    assert isinstance(fit, DensityFit)
    assert angle(fit.stains[0], haematoxylin) < 2
    assert angle(fit.stains[1], EOSIN) < 2
    assert fit.background == 240


@pytest.mark.parametrize("method", [Macenko(), Reinhard(), Vahadane()], ids=lambda method: method.name)
def test_what_is_normalised_to_a_target_has_its_statistics(method: StainMethod) -> None:
    source, target = stained(haematoxylin=OTHER, seed=1), stained(seed=2)
    wanted = method.fit(target)
    got = method.fit(method.fit(source).change_to(wanted).apply(source))
    for name, of in wanted.to_json().items():
        np.testing.assert_allclose(getattr(got, name), of, rtol=0.05, atol=0.03, err_msg=name)
    unlike = method.fit(source)
    assert any(
        not np.allclose(getattr(unlike, name), of, rtol=0.05, atol=0.03) for name, of in wanted.to_json().items()
    )


@pytest.mark.parametrize("method", [Macenko(), Vahadane()], ids=lambda method: method.name)
def test_haematoxylin_comes_first_whatever_the_order_of_pixels(method: StainMethod, image: Pixels) -> None:
    fit, turned = method.fit(image), method.fit(image[::-1, ::-1])
    assert fit.stains[0, 0] > fit.stains[1, 0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(fit.stains, turned.stains, atol=1e-6)  # type: ignore[attr-defined]


def test_parameters_do_what_they_say(image: Pixels) -> None:
    usual = Macenko().fit(image)
    assert angle(*Macenko(alpha=40).fit(image).stains) < angle(*usual.stains) - 2  # rims further inside
    assert not np.allclose(Macenko(beta=0.6).fit(image).stains, usual.stains, atol=1e-4)
    brighter = Macenko(background=255).fit(image)
    assert brighter.background == 255
    assert (brighter.concentrations > usual.concentrations).all()
    dense = Vahadane(sparsity=0.3).fit(image)
    assert angle(*dense.stains) < angle(*Vahadane(sparsity=0.01).fit(image).stains) - 2
    assert not np.allclose(Vahadane(rounds=1).fit(image).stains, Vahadane().fit(image).stains, atol=1e-3)
    assert not np.allclose(Vahadane(beta=0.6).fit(image).stains, Vahadane().fit(image).stains, atol=1e-4)
    assert Vahadane(background=200).fit(image).background == 200


def test_sparse_concentrations_minimise_what_they_should(image: Pixels) -> None:
    densities = optical_density(image, 240).reshape(-1, 3)[::97]
    stains, sparsity = np.stack([HAEMATOXYLIN, EOSIN]), 0.1

    def cost(amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        missed = densities - amounts @ stains
        return 0.5 * (missed**2).sum(axis=-1) + sparsity * amounts.sum(axis=-1)

    got = sparse_concentrations(densities, stains, sparsity)
    assert got.min() == 0
    assert {tuple(row) for row in (got > 0).tolist()} == {(True, True), (True, False), (False, True)}
    random = np.random.default_rng(0)
    for scale in (0.5, 0.05, 0.005):
        for _ in range(300):
            moved = np.maximum(got + random.normal(0, scale, got.shape), 0)
            assert (cost(moved) >= cost(got) - 1e-12).all()
    assert not sparse_concentrations(np.full((1, 3), 0.01), stains, sparsity).any()


def test_vahadanes_stains_are_a_minimum(image: Pixels) -> None:
    densities = optical_density(image, 240).reshape(-1, 3)
    densities = densities[(densities >= 0.15).all(axis=1)]

    def cost(stains: NDArray[np.float64]) -> float:
        amounts = sparse_concentrations(densities, stains, 0.1)
        return float((0.5 * ((densities - amounts @ stains) ** 2).sum(axis=1) + 0.1 * amounts.sum(axis=1)).mean())

    found = Vahadane().fit(image).stains
    random, least = np.random.default_rng(1), cost(found)
    for _ in range(40):
        moved = np.maximum(found + random.normal(0, 0.02, (2, 3)), 0)
        assert cost(moved / np.linalg.norm(moved, axis=1, keepdims=True)) > least - 1e-9


one_colour = np.tile(np.array([150, 80, 160], np.uint8), (300, 1))
one_stain = np.rint(240 * np.exp(-np.linspace(0.3, 2, 600)[:, None] * HAEMATOXYLIN) - 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("method", "pixels", "words"),
    [
        (Macenko(), np.full((40, 40, 3), 250, np.uint8), "of 1600 pixels 0 absorb enough light"),
        (Vahadane(), np.full((40, 40, 3), 250, np.uint8), "of 1600 pixels 0 absorb enough light"),
        (Macenko(), one_stain, "nearly one colour|hardly there"),
        (Vahadane(), one_stain, "one stain alone|nearly one colour|hardly there"),
        (Macenko(), one_colour, "nearly one colour|hardly there"),
        (Vahadane(), one_colour, "one stain alone|nearly one colour|hardly there"),
        (Reinhard(), one_colour, "its pixels are of one colour"),
        (Reinhard(), np.zeros((255, 3), np.uint8), "there are 255 pixels, 256 are needed"),
        (Macenko(), np.zeros((300, 4), np.uint8), r"uint8 pixels \(n, 3\).*got uint8 \(300, 4\)"),
        (Vahadane(), np.zeros((300, 3)), r"got float64 \(300, 3\)"),
        (Reinhard(), [[1, 2, 3]], "got list"),
    ],
)
def test_what_cannot_be_fitted_is_refused(method: StainMethod, pixels: Pixels, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        method.fit(pixels)


def test_just_enough_pixels_are_taken(image: Pixels) -> None:
    dark = image.reshape(-1, 3)[(optical_density(image, 240).reshape(-1, 3) >= 0.15).all(axis=1)]
    for method in (Macenko(), Reinhard(), Vahadane()):
        method.fit(dark[:256])
        with pytest.raises(ArgumentError, match="256 are needed"):
            method.fit(dark[:255])


LIMITS: list[tuple[Callable[..., object], str, tuple[float, ...], tuple[float, ...]]] = [
    *((of, "background", (1, 255), (0.999, 255.001)) for of in (Macenko, Vahadane)),
    *((of, "beta", (0,), (-1e-9,)) for of in (Macenko, Vahadane)),
    (Macenko, "alpha", (0, 49), (-1e-9, 49.001)),
    (Vahadane, "sparsity", (0,), (-1e-9,)),
    (Vahadane, "rounds", (1,), (0, 1.5)),
]


@pytest.mark.parametrize(("make", "name", "taken", "refused"), LIMITS)
def test_limits_of_parameters(
    make: Callable[..., object], name: str, taken: tuple[float, ...], refused: tuple[float, ...]
) -> None:
    for value in taken:
        make(**{name: value})
    for value in refused:
        with pytest.raises(ArgumentError, match=name):
            make(**{name: value})


def test_methods_are_found_by_name() -> None:
    assert {"macenko", "reinhard", "vahadane"} <= set(METHODS)
    assert find_method("MACENKO", {"alpha": 2}) == Macenko(alpha=2)
    assert find_method("vahadane") == Vahadane()
    own = Macenko(beta=0.2)
    assert find_method(own) is own
    assert pickle.loads(pickle.dumps(own)) == own
    assert own.parameters() == {"background": 240.0, "alpha": 1.0, "beta": 0.2}
    for call, words in (
        (lambda: find_method("macenco"), "Did you mean 'macenko'"),
        (lambda: find_method("macenko", {"alfa": 2}), "parameter of macenko 'alfa'. Did you mean 'alpha'"),
        (lambda: find_method("reinhard", {"beta": 2}), "parameter of reinhard 'beta'"),
        (lambda: find_method(own, {"alpha": 2}), "has its parameters"),
    ):
        with pytest.raises(ArgumentError, match=words):
            call()


def test_the_page_has_a_row_for_each_method() -> None:
    page = (ROOT / "docs" / "stains.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([^`-][^`]*)`(?: \(default\))? \|", page, re.MULTILINE)) == sorted(METHODS)


def test_the_method_that_contributors_are_shown() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (each for each in blocks if "register_stain_method" in each)
    try:
        exec(code, {})
        fit = find_method("brightness", {"spread": 5}).fit(np.full((16, 16, 3), 51, np.uint8))
        assert fit.to_json() == {"mean": [20, 0, 0], "std": [5, 5, 5]}
    finally:
        del METHODS["brightness"]


def test_a_method_of_ones_own() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Grey(StainMethod):
        spread: float = 5.0

        def fit(self, pixels: Pixels) -> LabFit:
            return LabFit(np.array([pixels.mean() / 2.55, 0.0, 0.0]), np.full(3, self.spread))

    register_stain_method("grey")(Grey)
    try:
        method = find_method("Grey", {"spread": 2})
        assert (method.name, method.parameters()) == ("grey", {"spread": 2})
        assert method.fit(np.full((16, 16, 3), 51, np.uint8)).mean[0] == 20  # type: ignore[attr-defined]
        with pytest.raises(ArgumentError, match="already"):
            register_stain_method("GREY")(Grey)
    finally:
        del METHODS["grey"]
    for wrong in (lambda pixels: pixels, StainMethod, LabFit):
        with pytest.raises(ArgumentError, match="give a class of StainMethod"):
            register_stain_method("wrong")(wrong)  # type: ignore[type-var]
    with pytest.raises(ArgumentError, match="cannot be named"):
        register_stain_method("")
