"""The mixing matrix without its zeros against the whole one."""

from __future__ import annotations

import numpy as np
import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, CellMix, make_mixer, mixed_target
from cellmix_dali.mixing.mixing_matrix import MixingMatrix

RANDOM = np.random.default_rng(0)
BATCH, CLASSES = 12, 5


def matrices() -> list[tuple[str, MixingMatrix]]:
    """Of plans that were drawn by all methods, and of ones that change nothing."""
    found = [("unit", MixingMatrix.unit(BATCH))]
    for name in sorted(set(METHODS.names()) - {"SaliencyMix"}):  # whose boxes, placed by the images, are as CutMix's
        mixer = make_mixer(name)
        steering = {"patch_size": 8, "fix_ratio": 0.25} if isinstance(mixer, CellMix) else {}
        plans = (mixer.draw(BATCH, 32, **steering, epoch=0, iteration=number) for number in range(2))
        found += [(name, plan.matrix) for plan in plans]
    return found


@pytest.mark.parametrize(("name", "matrix"), matrices())
def test_products_are_those_of_the_whole_matrix(name: str, matrix: MixingMatrix) -> None:
    whole = matrix.dense()
    assert (whole.shape, whole.dtype, matrix.batch_size) == ((BATCH, BATCH), np.float32, BATCH)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-6)
    assert (whole != 0).sum() <= matrix.shares.size == matrix.firsts[-1] == matrix.samples.size, name

    classes = RANDOM.integers(0, CLASSES, BATCH)
    # To the bit: sums of shares of classes are exact in float64.
    want = whole.astype(np.float64) @ np.eye(CLASSES)[classes]
    np.testing.assert_array_equal(matrix.mixed_classes(classes, CLASSES), want)
    np.testing.assert_array_equal(matrix.mixed(np.eye(CLASSES)[classes]), want)

    values = RANDOM.normal(size=(BATCH, 3)).astype(np.float32)
    np.testing.assert_allclose(matrix.mixed(values), whole.astype(np.float64) @ values, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(mixed_target("regression", values, matrix), mixed_target("regression", values, whole))


def test_a_share_that_goes_to_the_sample_itself_is_counted_once() -> None:
    matrix = MixingMatrix.of_pairs(np.array([0, 0, 1], np.int32), np.array([0.25, 0.25, 0.5]))
    np.testing.assert_array_equal(matrix.dense(), np.float32([[1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5]]))
    assert matrix.firsts.tolist() == [0, 1, 3, 5]


def test_further_samples_stay_as_they_are() -> None:
    matrix = MixingMatrix.of_patches(np.array([[1, 1, 0, 0], [0, 1, 1, 1]], np.int32)).extended(2)
    want = np.float32([[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(matrix.dense(), want)


@pytest.mark.parametrize("classes", [[0, 1, 3], [0, -1, 2]])
def test_classes_out_of_range_are_refused(classes: list[int]) -> None:
    with pytest.raises(ArgumentError, match="do not fit num_classes=3"):
        MixingMatrix.unit(3).mixed_classes(np.array(classes), 3)


def test_large_plans_hold_no_whole_matrix() -> None:
    """A batch of 20,000 would have 1.6 GB of it."""
    plan = CellMix("CellMix-Group").draw(20_000, 64, 16, 0.5, epoch=0, iteration=0)
    assert plan.matrix.shares.nbytes + plan.matrix.samples.nbytes + plan.matrix.firsts.nbytes < 2 << 20
    assert "weights" not in vars(plan)
