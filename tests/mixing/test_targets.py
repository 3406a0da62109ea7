"""Targets by their kinds: mixed by the matrix or left, on arrays and tensors; masks on tensors; kinds of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import (
    TARGET_KINDS,
    TargetKind,
    TargetValues,
    make_mixer,
    mixed_target,
    register_target_kind,
)
from cellmix_dali.mixing.on_tensors import apply_plan, mix_target

BATCH, TILE = 4, (24, 36)
VALUES = np.random.default_rng(0).random((BATCH, 3))
RISK = np.array([[2.0, 1], [0, 0], [5, 1], [3, 0]])


def plan_of(method: str) -> Any:
    mixer: Any = make_mixer(method, seed=4)
    return mixer.draw(BATCH, TILE, *((12, 0.2) if method.startswith("CellMix") else ()), epoch=0, iteration=1)


@pytest.mark.parametrize("method", ["CellMix-All", "CutMix", "Mixup", "Cutout"])
@pytest.mark.parametrize("kind", ["multi_label", "regression", "Multi-Label"])
def test_the_matrix_times_the_values(method: str, kind: str) -> None:
    plan = plan_of(method)
    want = np.array([[sum(plan.weights[i, j] * VALUES[j, k] for j in range(4)) for k in range(3)] for i in range(4)])
    found = mixed_target(kind, VALUES, plan.weights)
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(mix_target(plan, kind, torch.from_numpy(VALUES)).numpy(), found)
    one = mixed_target(kind, VALUES[:, 0], plan.weights)
    np.testing.assert_array_equal(one, found[:, :1])


def test_survival_stays() -> None:
    plan = plan_of("CutMix")
    np.testing.assert_array_equal(mixed_target("survival", RISK, plan.weights), RISK)
    np.testing.assert_array_equal(mix_target(plan, "survival", torch.from_numpy(RISK)).numpy(), RISK)


@pytest.mark.parametrize("method", ["CellMix-Group", "Cutout", "CutMix", "ResizeMix", "FMix"])
def test_masks_on_tensors(method: str) -> None:
    plan = plan_of(method)
    masks = np.random.default_rng(1).integers(0, 9, (BATCH, *TILE, 1), np.uint8)
    want = plan.for_masks().apply(masks)
    found = apply_plan(plan.for_masks(), torch.from_numpy(masks).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), want)
    assert (255 in want) == (method == "Cutout")  # what is erased is ignored
    assert set(np.unique(want)) <= set(range(9)) | {255}


def test_masks_of_a_linear_resize_keep_their_classes() -> None:
    mixer: Any = make_mixer("ResizeMix", seed=1, interpolation="linear", low=0.4)
    plan = mixer.draw(BATCH, TILE, epoch=0, iteration=0)
    masks = np.random.default_rng(1).choice([0, 200], (BATCH, *TILE, 1)).astype(np.uint8)
    assert set(np.unique(plan.apply(masks))) != {0, 200}
    assert set(np.unique(plan.for_masks().apply(masks))) == {0, 200}


def test_a_blend_has_no_masks() -> None:
    with pytest.raises(ArgumentError, match="a mixed pixel has no one class"):
        plan_of("Mixup").for_masks()
    with pytest.raises(ArgumentError, match="a mixed pixel has no one class"):
        make_mixer("Mixup").action.for_masks()


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("multi_label", [0.0, 1.0 + 1e-9, 0, 0], "share between"),
        ("multi_label", [0.0, -1e-9, 0, 0], "share between"),
        ("regression", [0.0, np.nan, 0, 0], "give finite numbers"),
        ("regression", [0.0, np.inf, 0, 0], "give finite numbers"),
        ("regression", ["a"] * 4, "give numbers"),
        ("survival", [[0.0, 1], [1, 0.5], [1, 1], [1, 1]], "the event, 1 or 0"),
        ("survival", [[-1e-9, 1]] * 4, "the time, 0 or more"),
        ("survival", [1.0, 2, 3, 4], "give two numbers"),
        ("regression", [1.0, 2.0], "2 targets do not fit a batch of 4"),
    ],
)
def test_what_a_kind_does_not_take(kind: str, values: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        mixed_target(kind, values, np.eye(4, dtype=np.float32))


def test_limits_that_a_kind_takes() -> None:
    assert TargetValues("multi_label", [0, 1, True, 0.5]).values.dtype == np.float32
    assert TargetValues("survival", [[0, 0], [0, 1]]).values.tolist() == [[0, 0], [0, 1]]


def test_a_kind_of_ones_own() -> None:
    kind = TargetKind("angle", True, "by the mixing matrix", "give an angle", -180.0, 180.0)
    register_target_kind(kind)
    try:
        weights = np.full((2, 2), 0.5, np.float32)
        np.testing.assert_allclose(mixed_target("Angle", [10, 30], weights), [[20], [20]])
        with pytest.raises(ArgumentError, match="give an angle"):
            mixed_target("angle", [10, 181], weights)
        with pytest.raises(ArgumentError, match="There is a kind of targets 'angle' already"):
            register_target_kind(kind)
    finally:
        del TARGET_KINDS["angle"]
    with pytest.raises(ArgumentError, match="give a TargetKind"):
        register_target_kind("angle")  # type: ignore[arg-type]
