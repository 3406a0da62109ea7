"""CellMix's plans: the authors' recorded runs, the invariants of the method, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cellmix_dali import CellMix, cellmix_plan
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CELLMIX_VARIANTS, PatchPlan

GOLDEN = Path(__file__).parents[1] / "golden" / "cellmix.npz"


def golden_runs() -> list[dict[str, Any]]:
    with np.load(GOLDEN) as recorded:
        runs: dict[str, dict[str, Any]] = {}
        for key in recorded:
            number, field = key.split("/")
            runs.setdefault(number, {})[field] = recorded[key]
    return list(runs.values())


def test_the_recording_is_whole() -> None:
    runs = golden_runs()
    assert len(runs) == 96
    assert {str(run["variant"]) for run in runs} == set(CELLMIX_VARIANTS)


@pytest.mark.parametrize("run", golden_runs(), ids=lambda run: f"{run['variant']}-{run['batch_size']}-{run['grid']}")
def test_recorded_runs_are_reproduced(run: dict[str, Any]) -> None:
    variant = CELLMIX_VARIANTS[str(run["variant"])]
    assert (variant.strategy, variant.group_size) == (str(run["strategy"]), int(run["group_size"]))
    plan = cellmix_plan(
        run["noise_fix"],
        run["noise_group"],
        run["noise_all"],
        grid=(int(run["grid"]), int(run["grid"])),
        fix_ratio=float(run["fix_ratio"]),
        group_size=variant.group_size,
        strategy=variant.strategy,
    )
    classes = int(run["num_classes"])
    np.testing.assert_array_equal(plan.source_sample, run["source_sample"])
    np.testing.assert_array_equal(plan.source_patch, run["source_patch"])
    soft = plan.soft_labels(run["labels"], classes)
    np.testing.assert_allclose(soft, run["soft_labels"], atol=1e-6)
    np.testing.assert_array_equal(soft.argmax(axis=1), run["hard_labels"])
    # Soft labels in, the one-hot ones of the recording: the same soft labels out.
    np.testing.assert_array_equal(plan.soft_labels(np.eye(classes)[run["labels"]], classes), soft)
    assert (plan.source_sample.dtype, plan.source_patch.dtype) == (np.int32, np.int32)
    assert (plan.weights.dtype, soft.dtype) == (np.float32, np.float32)


@st.composite
def draws(draw: st.DrawFn) -> tuple[CellMix, int, tuple[int, int], int, float, PatchPlan]:
    method = draw(st.sampled_from(sorted(CELLMIX_VARIANTS)))
    group = CELLMIX_VARIANTS[method].group_size
    batch = draw(st.integers(1, 4)) * max(group, 1)
    patch = draw(st.sampled_from([1, 2, 3]))
    tile = (patch * draw(st.integers(1, 5)), patch * draw(st.integers(1, 5)))
    ratio = draw(st.floats(0, 1))
    mixer = CellMix(method, seed=draw(st.integers(0, 2**64 - 1)), rank=draw(st.integers(0, 7)))
    plan = mixer.draw(batch, tile, patch, ratio, epoch=draw(st.integers(0, 99)), iteration=draw(st.integers(0, 99)))
    return mixer, batch, tile, patch, ratio, plan


@given(draws())
def test_what_is_always_true(drawn: tuple[CellMix, int, tuple[int, int], int, float, PatchPlan]) -> None:
    mixer, batch, tile, patch, ratio, plan = drawn
    group = mixer.variant.group_size if mixer.variant.group_size > 0 else batch
    patches = (tile[0] // patch) * (tile[1] // patch)
    fixed = int(patches * ratio)
    own = np.arange(batch)[:, None]
    assert plan.grid == (tile[0] // patch, tile[1] // patch)
    assert plan.source_sample.shape == plan.source_patch.shape == (batch, patches)

    # Every patch comes from the same group, and is used just once.
    assert (plan.source_sample // group == own // group).all()
    pairs = plan.source_sample * patches + plan.source_patch
    assert len(np.unique(pairs)) == batch * patches
    if mixer.variant.strategy == "in-place":
        assert (plan.source_patch == np.arange(patches)).all()
        # At least the fixed positions are untouched in all samples.
        assert (plan.source_sample == own).all(axis=0).sum() >= fixed
    else:
        # Each tile holds patches of every position, shuffled.
        assert (np.sort(plan.source_patch, axis=1) == np.arange(patches)).all()

    weights = plan.weights
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (np.diag(weights) >= fixed / patches - 1e-6).all()
    assert (weights[(own // group) != (own // group).T] == 0).all()

    labels = np.random.default_rng(0).integers(0, 3, batch)
    soft = plan.soft_labels(labels, 3)
    np.testing.assert_allclose(soft, weights @ np.eye(3, dtype=np.float32)[labels], atol=1e-5)
    counts = np.eye(3)[labels].reshape(-1, group, 3).sum(axis=1)
    np.testing.assert_allclose(soft.reshape(-1, group, 3).sum(axis=1), counts, atol=1e-4)


@given(draws(), st.integers(1, 4))
def test_pixels_follow_the_plan(
    drawn: tuple[CellMix, int, tuple[int, int], int, float, PatchPlan], channels: int
) -> None:
    """Every pixel carries its sample, row and column, so that it can be told where it came from."""
    _, batch, (height, width), patch, _, plan = drawn
    number = np.arange(batch * height * width).reshape(batch, height, width, 1)
    images = np.repeat(number, channels, axis=3)
    mixed = plan.apply(images)
    columns = width // patch
    for sample in range(batch):
        for place in range(plan.source_patch.shape[1]):
            y, x = np.array(divmod(place, columns)) * patch
            from_y, from_x = np.array(divmod(int(plan.source_patch[sample, place]), columns)) * patch
            source = images[plan.source_sample[sample, place]]
            np.testing.assert_array_equal(
                mixed[sample, y : y + patch, x : x + patch],
                source[from_y : from_y + patch, from_x : from_x + patch],
            )


@pytest.mark.parametrize(("method", "group"), [("CellMix-Group", 2), ("CellMix-Group4", 4), ("CellMix", 8)])
def test_expected_own_share(method: str, group: int) -> None:
    """E[M[b, b]] = (F + (P - F) / G) / P."""
    patches, ratio = 49, 0.3
    fixed = int(patches * ratio)
    mixer = CellMix(method, seed=11)
    own = [np.diag(mixer.draw(8, 7, 1, ratio, epoch=0, iteration=number).weights).mean() for number in range(2000)]
    assert np.mean(own) == pytest.approx((fixed + (patches - fixed) / group) / patches, abs=0.003)


def test_group_permutations_are_uniform() -> None:
    """With one free position and groups of 4, all 24 permutations are equally likely."""
    mixer = CellMix("CellMix-Group4", seed=3)
    seen: dict[tuple[int, ...], int] = {}
    rounds = 4800
    for number in range(rounds):
        order = tuple(mixer.draw(4, 1, 1, 0.0, epoch=0, iteration=number).source_sample[:, 0].tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    chi_squared = sum((count - rounds / 24) ** 2 / (rounds / 24) for count in seen.values())
    assert chi_squared < 49.7  # 0.1 % of the chi-squared distribution with 23 degrees of freedom


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_trigger_rate_is_exact(p: float) -> None:
    mixer = CellMix("CellMix", p=p, seed=1)
    rounds = 4000
    plans = [mixer.draw(2, 4, 2, 0.0, epoch=0, iteration=number) for number in range(rounds)]
    rate = np.mean([plan.triggered for plan in plans])
    if p in (0.0, 1.0):
        assert rate == p
    assert abs(rate - p) < 4 * np.sqrt(0.25 / rounds)
    for plan in plans:
        if not plan.triggered:
            np.testing.assert_array_equal(plan.weights, np.eye(2))
            np.testing.assert_array_equal(plan.source_sample, [[0] * 4, [1] * 4])


def test_a_plan_is_a_function_of_its_key() -> None:
    def sources(**key: int) -> bytes:
        own = {"seed": 7, "rank": 0, "epoch": 2, "iteration": 5} | key
        mixer = CellMix("CellMix", seed=own["seed"], rank=own["rank"])
        plan = mixer.draw(16, 32, 4, 0.25, epoch=own["epoch"], iteration=own["iteration"])
        return plan.source_sample.tobytes()

    first = sources()
    assert first == sources()
    others = [sources(seed=8), sources(rank=1), sources(epoch=3), sources(iteration=6)]
    assert len({first, *others}) == 5


def test_a_recorded_plan_stays_the_same() -> None:
    """What a key draws must not change from release to release: training that resumes counts on it."""
    plan = CellMix("CellMix-Random", seed=1).draw(4, (4, 6), 2, 0.5, epoch=1, iteration=2)
    assert plan.source_sample.tolist() == [
        [0, 0, 0, 1, 0, 0],
        [1, 1, 1, 1, 0, 1],
        [2, 2, 3, 2, 2, 2],
        [3, 2, 3, 3, 3, 3],
    ]
    assert plan.source_patch.tolist() == [
        [2, 1, 4, 3, 5, 0],
        [2, 4, 0, 1, 3, 5],
        [0, 3, 5, 4, 2, 1],
        [4, 5, 0, 1, 2, 3],
    ]


@pytest.mark.parametrize("name", ["cellmix-group", "CELLMIX_GROUP", "CellMix_Group", "CellMix-Group"])
def test_method_names_in_any_spelling(name: str) -> None:
    assert CellMix(name).method == "CellMix-Group"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CellMix("CelMix-Group"), r"Unknown method 'CelMix-Group'\. Did you mean 'CellMix-Group'\?"),
        (lambda: CellMix(p=1.5), r"p=1\.5 cannot be used"),
        (lambda: CellMix(seed=-1), r"seed=-1"),
        (
            lambda: CellMix().draw(4, 32, 5, 0.5, epoch=0, iteration=0),
            r"patch_size=5 does not divide .*8, 16, 32",
        ),
        (
            lambda: CellMix().draw(4, 32, 8, 1.2, epoch=0, iteration=0),
            r"fix_ratio=1\.2 is out of range.*0 to 1",
        ),
        (
            lambda: CellMix().draw(4, 32, 8, float("nan"), epoch=0, iteration=0),
            r"fix_ratio=nan is out of range",
        ),
        (
            lambda: CellMix("CellMix-Group4").draw(6, 32, 8, 0.5, epoch=0, iteration=0),
            r"group_size=4 of method 'CellMix-Group4' does not divide batch_size=6",
        ),
        (
            lambda: cellmix_plan(np.zeros(4), np.zeros((4, 2)), grid=(2, 2), fix_ratio=0.5, strategy="inplace"),
            r"Unknown strategy 'inplace'\. Did you mean 'in-place'\?",
        ),
        (
            lambda: cellmix_plan(np.zeros(4), np.zeros((4, 2)), grid=(2, 2), fix_ratio=0.5, strategy="random"),
            r"needs noise_all of shape \(batch, patches\) = \(4, 4\), got none",
        ),
        (
            lambda: cellmix_plan(np.zeros(4), np.zeros((4, 3)), grid=(2, 2), fix_ratio=0.5),
            r"expected \(4,\) and \(batch, 2\)",
        ),
        (lambda: PatchPlan.identity(2).soft_labels([0, 3], 3), r"Label 3 of sample 1 is out of range.*0 to 2"),
        (lambda: PatchPlan.identity(2).soft_labels([0, -1], 3), r"Label -1 of sample 1"),
        (lambda: PatchPlan.identity(2).soft_labels([0, 1, 2], 3), r"do not fit a batch of 2"),
        (
            lambda: PatchPlan.identity(2, (2, 2)).apply(np.zeros((2, 3, 4, 1))),
            r"do not fit a plan for 2 samples",
        ),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()
