"""A change of stain: its arithmetic, written out; identity; what is refused; fits, their medians and their kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.stain import DensityFit, LabFit, StainChange, StainChanges
from cellmix_dali.stain.colour import HED, from_lab, to_lab

ALL_LEVELS = np.stack([np.arange(256), np.roll(np.arange(256), 85), np.arange(256)[::-1]], axis=1).astype(np.uint8)
STAINS = HED[:2] / np.linalg.norm(HED[:2], axis=1, keepdims=True)


def test_densities_as_written_out() -> None:
    random = np.random.default_rng(0)
    matrix, offset = np.eye(3) + random.normal(0, 0.2, (3, 3)), random.normal(0, 0.1, 3)
    image = random.integers(0, 256, (3, 5, 3), np.uint8)
    got = StainChange("density", matrix, offset).apply(image)
    for place in np.ndindex(3, 5):
        levels = [math.log((int(level) + 1) / 255) for level in image[place]]
        for row in range(3):
            value = 255 * math.exp(sum(matrix[row, of] * levels[of] for of in range(3)) + offset[row]) - 1
            assert got[place][row] == min(max(round(value), 0), 255)


def test_lab_as_written_out() -> None:
    random = np.random.default_rng(1)
    scale, shift = np.array([0.9, 1.2, 0.7]), np.array([4.0, -3.0, 6.0])
    image = random.integers(60, 200, (4, 3, 3), np.uint8)
    got = to_lab(StainChange("lab", np.diag(scale), shift).apply(image))
    want = to_lab(image) * scale + shift
    inside = ((from_lab(want) > 0) & (from_lab(want) < 255)).all(axis=-1)
    assert inside.sum() > 4
    assert np.abs(got - want)[inside].max() < 1.0  # of half a level


@pytest.mark.parametrize("kind", ["density", "lab"])
def test_identity_changes_no_pixel(kind: str) -> None:
    changed = StainChange.identity(kind).apply(ALL_LEVELS)  # type: ignore[arg-type]
    np.testing.assert_array_equal(changed, ALL_LEVELS)


def test_lab_of_known_colours() -> None:
    """CIE's own values of sRGB's corners under D65, as Lindbloom's calculator gives them, to a tenth."""
    corners = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [119, 119, 119]], np.uint8)
    want = [[100, 0, 0], [0, 0, 0], [53.2, 80.1, 67.2], [87.7, -86.2, 83.2], [32.3, 79.2, -107.9], [50.0, 0, 0]]
    np.testing.assert_allclose(to_lab(corners), want, atol=0.15)
    np.testing.assert_allclose(from_lab(to_lab(ALL_LEVELS)), ALL_LEVELS, atol=0.01)


def test_what_is_clipped_is_clipped() -> None:
    brighter = StainChange("density", np.eye(3), np.full(3, 10.0)).apply(ALL_LEVELS)
    darker = StainChange("lab", np.eye(3), np.array([-200.0, 0, 0])).apply(ALL_LEVELS)
    assert brighter.min() == 255
    assert darker.max() == 0


@pytest.mark.parametrize(
    ("kind", "matrix", "offset", "words"),
    [
        ("hsv", np.eye(3), np.zeros(3), "kind of stain change 'hsv'"),
        ("lab", np.eye(2), np.zeros(3), r"got \(2, 2\) and \(3,\)"),
        ("lab", np.eye(3), np.zeros(2), r"got \(3, 3\) and \(2,\)"),
        ("density", np.eye(3) * np.nan, np.zeros(3), "not finite"),
        ("density", np.eye(3), np.array([0, np.inf, 0]), "not finite"),
    ],
)
def test_no_such_change(kind: str, matrix: NDArray[np.float64], offset: NDArray[np.float64], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        StainChange(kind, matrix, offset)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=words.replace(r"\(2, 2", r"\(1, 2, 2").replace(r"\(3", r"\(1, 3")[:12]):
        StainChanges(kind, matrix[None], offset[None])  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_no_such_image(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ArgumentError, match="needs uint8 pixels"):
        StainChange.identity("lab").apply(image)


def test_a_change_between_fits_takes_one_to_the_other() -> None:
    """Of pixels that are made of two stains exactly, colours and concentrations are those of the target afterwards."""
    turned = STAINS[:, [0, 2, 1]]
    source, target = DensityFit(STAINS, [2.0, 1.0], 240), DensityFit(turned, [1.0, 1.5], 250)
    amounts = np.random.default_rng(2).uniform(0, 1.2, (500, 2))
    before = 240 * np.exp(-amounts @ STAINS) - 1
    after = 250 * np.exp(-(amounts * [0.5, 1.5]) @ turned) - 1
    got = source.change_to(target).apply(np.rint(before).astype(np.uint8))
    assert np.abs(got - after).max() < 3  # of half a level before
    lab = LabFit([50, 10, -10], [10, 5, 4]).change_to(LabFit([60, 12, -8], [5, 10, 4]))
    np.testing.assert_allclose(lab.matrix, np.diag([0.5, 2, 1]))
    np.testing.assert_allclose(lab.offset, [35, -8, 2])


def test_medians() -> None:
    fits = [DensityFit(STAINS, [of, 3 - of], 240 + of) for of in (1.0, 2.0, 1.5)]
    middle = DensityFit.median(fits)
    np.testing.assert_allclose(middle.concentrations, [1.5, 1.5])
    np.testing.assert_allclose(middle.stains, STAINS)
    assert middle.background == 241.5
    labs = [LabFit([of, 2 * of, 0], [of, 1, 2]) for of in (1.0, 9.0, 4.0, 5.0)]
    np.testing.assert_allclose(LabFit.median(labs).mean, [4.5, 9, 0])
    np.testing.assert_allclose(LabFit.median(labs).std, [4.5, 1, 2])
    apart = DensityFit.median([DensityFit(STAINS, [1, 1], 240), DensityFit(STAINS[:, ::-1], [1, 1], 240)])
    np.testing.assert_allclose(np.linalg.norm(apart.stains, axis=1), 1)
    with pytest.raises(ArgumentError, match="no fitted stain"):
        LabFit.median([])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DensityFit(STAINS * 2, [1, 1], 240), "lengths"),
        (lambda: DensityFit(STAINS[[0, 0]], [1, 1], 240), "nearly one colour .0.0 degrees"),
        (lambda: DensityFit(STAINS, [1, 0], 240), "hardly there"),
        (lambda: DensityFit(STAINS, [1, 1], 0), "background's level is 0"),
        (lambda: DensityFit(STAINS.ravel(), [1, 1], 240), r"shape \(2, 3\)"),
        (lambda: DensityFit(STAINS, [1, np.nan], 240), "concentrations"),
        (lambda: LabFit([1, 2, 3], [1, 0, 1]), "of one colour"),
        (lambda: LabFit([1, 2], [1, 1, 1]), r"mean .* shape \(3,\)"),
        (lambda: LabFit([1, 2, 3], [1, 1, 1]).change_to(DensityFit(STAINS, [1, 1], 240)), "'lab' and the target as"),
    ],
)
def test_fits_that_are_none(make: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()  # type: ignore[operator]


def test_a_fit_cannot_be_changed() -> None:
    fit = LabFit(np.array([50.0, 1, 2]), np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        fit.mean[0] = 3


def test_changes_are_those_of_the_slides() -> None:
    matrices = np.stack([np.eye(3), 2 * np.eye(3)])
    changes = StainChanges("lab", matrices, np.array([[0.0, 0, 0], [1, 2, 3]]))
    assert len(changes) == 2
    assert changes[1].kind == "lab"
    np.testing.assert_array_equal(changes[1].matrix, 2 * np.eye(3))
    np.testing.assert_array_equal(changes[1].offset, [1, 2, 3])
