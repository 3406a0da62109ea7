"""Which sample each token comes from: that which gives most of its pixels, counted in what the plan makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import (
    CELLMIX_VARIANTS,
    NOBODY,
    BlendPlan,
    BoxPlan,
    MixPlan,
    check_source_map,
    make_mixer,
    source_map,
)

BATCH, TILE = 4, (48, 96)
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("Cutout", {"side": 21}),
    ("CutMix", {}),
    ("SaliencyMix", {}),
    ("ResizeMix", {"low": 0.3}),
    ("ResizeMix", {"low": 0.3, "interpolation": "linear"}),
    ("FMix", {}),
]


def counted(plan: MixPlan, token: int, tile: tuple[int, int] = TILE) -> NDArray[np.int32]:
    """The rule by plain counting: a batch in which every pixel holds its sample's number, mixed by the plan."""
    batch, (height, width) = plan.batch_size, tile
    numbers = np.broadcast_to(np.arange(batch)[:, None, None, None], (batch, height, width, 1)).astype(np.int64)
    if isinstance(plan, BoxPlan):  # what is filled is nobody's
        object.__setattr__(plan, "fill", np.array([99], np.uint8))
    mixed = plan.apply(numbers)[..., 0]
    cells = mixed.reshape(batch, height // token, token, width // token, token).swapaxes(2, 3)
    values = np.array([*range(batch), 99])
    times = (cells[..., None] == values).sum(axis=(3, 4))
    # Its own sample's where that gives as much as any other, else the first of those that give most.
    most, own = times.max(axis=-1), np.arange(batch)[:, None, None]
    of_own = np.take_along_axis(times, np.broadcast_to(own, most.shape)[..., None], axis=-1)[..., 0]
    found = np.where(of_own == most, own, values[times.argmax(axis=-1)]).astype(np.int32)
    return np.where(found == 99, NOBODY, found).reshape(batch, -1)


def drawn(method: str, iteration: int, tile: tuple[int, int] = TILE, **parameters: Any) -> Any:
    key: dict[str, Any] = {"epoch": 1, "iteration": iteration}
    if method == "SaliencyMix":
        key["peaks"] = np.random.default_rng(iteration).integers(0, tile, (BATCH, 2))
    mixer: Any = make_mixer(method, seed=7, **parameters)
    return mixer.draw(BATCH, tile, **key)


@pytest.mark.parametrize("method", CELLMIX_VARIANTS)
def test_patches_of_cellmix_are_the_plans(method: str) -> None:
    mixer: Any = make_mixer(method, seed=3)
    plan = mixer.draw(BATCH, TILE, 16, 0.3, epoch=0, iteration=2)
    found = source_map(plan, TILE)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, counted(plan, 16))
    np.testing.assert_array_equal(found, source_map(plan, TILE, 16))
    # The same numbers make the soft labels.
    shares = np.stack([(found == sample).mean(axis=1) for sample in range(BATCH)], axis=1)
    np.testing.assert_allclose(shares, plan.weights, atol=1e-6)


@pytest.mark.parametrize("token", [1, 2, 6, 8, 12, 16, 24, 48])
@pytest.mark.parametrize("patch", [4, 12, 16, 48])
def test_tokens_of_any_size_on_patches_of_any_size(patch: int, token: int) -> None:
    for method in ("CellMix-Group4", "CellMix-All"):
        mixer: Any = make_mixer(method, seed=patch)
        plan = mixer.draw(BATCH, TILE, patch, 0.2, epoch=0, iteration=token)
        np.testing.assert_array_equal(source_map(plan, TILE, token), counted(plan, token))


@pytest.mark.parametrize("token", [1, 8, 16, 48])
@pytest.mark.parametrize(("method", "parameters"), METHODS, ids=str)
def test_other_methods(method: str, parameters: dict[str, Any], token: int) -> None:
    seen = set()
    for iteration in range(6):
        plan = drawn(method, iteration, **parameters)
        found = source_map(plan, TILE, token)
        np.testing.assert_array_equal(found, counted(plan, token))
        seen |= set((found - np.arange(BATCH)[:, None]).ravel().tolist())
    assert len(seen) > 1 or token == 48


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 2, 4, 8]))
def test_boxes_and_masks_that_hypothesis_draws(seed: int, token: int) -> None:
    random, tile = np.random.default_rng(seed), (16, 8)
    size = random.integers(0, (17, 9), (BATCH, 2))
    boxes = np.concatenate([random.integers(0, np.array(tile) - size + 1), size], axis=1)
    box = BoxPlan.pasted(tile, random.integers(0, BATCH, BATCH), boxes)
    np.testing.assert_array_equal(source_map(box, tile, token), counted(box, token, tile))
    for mask in (random.integers(0, 2, tile, np.uint8), random.integers(0, 2, (BATCH, *tile), np.uint8)):
        blend = BlendPlan.masked(random.permutation(BATCH), mask)
        np.testing.assert_array_equal(source_map(blend, tile, token), counted(blend, token, tile))


@pytest.mark.parametrize("method", ["CellMix-Group", "CutMix", "Mixup", "FMix"])
def test_a_batch_that_is_left_alone_is_everyones_own(method: str) -> None:
    mixer: Any = make_mixer(method, p=0.0)
    steering = (16, 0.5) if method == "CellMix-Group" else ()
    plan = mixer.draw(BATCH, TILE, *steering, epoch=0, iteration=0)
    found = source_map(plan, TILE, 12)
    assert found.shape == (BATCH, 32)
    assert (found == np.arange(BATCH)[:, None]).all()
    if steering:
        assert source_map(plan, TILE).shape == (BATCH, 18)


def test_what_cannot_be_told_is_refused_in_words() -> None:
    with pytest.raises(ArgumentError, match="Mixup blends every pixel of two samples"):
        check_source_map(make_mixer("Mixup"), 16)
    for method in ("Mixup", "CutMix"):
        with pytest.raises(ArgumentError, match=f"{method} has no patches of CellMix: give the side of a token"):
            check_source_map(make_mixer(method), True)
    for wrong in (0, -1, 1.5, "16", None):
        with pytest.raises(ArgumentError, match="source_map="):
            check_source_map(make_mixer("CutMix"), wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="tokens of 32 px do not fill tiles of 48 x 96 px"):
        check_source_map(make_mixer("CutMix"), 32, TILE)
    with pytest.raises(ArgumentError, match="tokens of 32 px do not fill"):
        source_map(drawn("CutMix", 0), TILE, 32)
    with pytest.raises(ArgumentError, match="This plan has no patches"):
        source_map(drawn("CutMix", 0), TILE)
    with pytest.raises(ArgumentError, match="blends every pixel"):
        source_map(drawn("Mixup", 0), TILE, 16)
    assert check_source_map(make_mixer("CellMix"), np.True_) is True
    assert check_source_map(make_mixer("CutMix"), np.int64(1), TILE) == 1
