"""Paired differences and their intervals: by hand, against a slow bootstrap, and how often they hold the truth."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import numpy as np
import pytest

from cellmix_dali.comparison.differences import bootstrap_interval, paired_differences
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.errors import ArgumentError

Make = Callable[..., RunRecord]


def runs(make_run: Make, differences: dict[tuple[str, int], float], arm: str = "CutMix") -> list[RunRecord]:
    """Runs of an arm that lies so far above the baseline, whose own figures differ from pair to pair."""
    base = {pair: 0.5 + 0.01 * number for number, pair in enumerate(differences)}
    plain = [make_run("none", *pair, test=of) for pair, of in base.items()]
    return plain + [make_run(arm, *pair, test=base[pair] + of) for pair, of in differences.items()]


def test_by_hand(make_run: Make) -> None:
    given = {("a", 0): 0.10, ("a", 1): 0.12, ("b", 0): 0.03, ("b", 1): 0.05, ("c", 0): 0.06, ("c", 1): 0.06}
    (found,) = paired_differences(runs(make_run, given))
    assert found.arm == "CutMix"
    assert found.pairs == pytest.approx(given)
    assert found.mean == pytest.approx((0.11 + 0.04 + 0.06) / 3)
    assert found.interval is not None
    low, high = found.interval
    assert 0.03 < low < found.mean < high < 0.12
    assert (found.verdict, found.over, found.left_out) == ("better", "folds and seeds", 0)
    (mirrored,) = paired_differences(runs(make_run, {pair: -of for pair, of in given.items()}))
    assert mirrored.verdict == "worse"
    (around,) = paired_differences(runs(make_run, given | {("b", 0): -0.3}))
    assert around.verdict == "no difference seen"


def test_each_metric_and_no_other(make_run: Make) -> None:
    records = [make_run("none"), make_run("CutMix", test=0.7)]
    records[1].test["auroc"] = 0.4  # type: ignore[index]
    assert paired_differences(records, "auroc")[0].mean == pytest.approx(-0.5)
    assert paired_differences(records, "accuracy")[0].mean == pytest.approx(0.1)
    with pytest.raises(ArgumentError, match="Unknown metric 'loss'"):
        paired_differences(records, "loss")


def test_what_has_no_pair_is_left_out_and_counted(make_run: Make) -> None:
    given = {(fold, seed): 0.02 for fold in "abc" for seed in (0, 1)}
    records = runs(make_run, given)
    lost = [run for run in records if (run.arm, run.fold, run.seed) not in {("none", "a", 0), ("CutMix", "b", 1)}]
    (found,) = paired_differences(lost)
    assert found.left_out == 2
    assert set(found.pairs) == {("a", 1), ("b", 0), ("c", 0), ("c", 1)}
    (without,) = paired_differences([run for run in records if run.arm != "none"])
    assert (without.pairs, without.mean, without.interval, without.left_out) == ({}, None, None, 6)
    assert without.verdict == "too few pairs"


def test_what_was_planned_and_has_no_run_is_left_out_too(make_run: Make) -> None:
    records = runs(make_run, {(fold, seed): 0.02 for fold in "ab" for seed in (0, 1)})
    planned = [(arm, fold, seed) for arm in ("none", "CutMix", "Mixup") for fold in "abc" for seed in (0, 1)]
    found = {each.arm: each for each in paired_differences(records, planned=planned)}
    assert list(found) == ["CutMix", "Mixup"]
    assert (len(found["CutMix"].pairs), found["CutMix"].left_out) == (4, 2)
    assert (found["Mixup"].mean, found["Mixup"].left_out) == (None, 6)


def test_folds_count_the_same_whatever_they_have(make_run: Make) -> None:
    given = {("a", seed): 0.0 for seed in range(9)} | {("b", 0): 0.1}
    assert paired_differences(runs(make_run, given))[0].mean == pytest.approx(0.05)


def test_one_fold_is_said(make_run: Make) -> None:
    (found,) = paired_differences(runs(make_run, {("a", seed): 0.01 + 0.001 * seed for seed in range(6)}))
    assert (found.over, found.verdict) == ("seeds", "better")
    (found,) = paired_differences(runs(make_run, {(fold, 0): 0.02 for fold in "abcdef"}))
    assert (found.over, found.verdict) == ("folds", "better")


def test_few_pairs_prove_nothing(make_run: Make) -> None:
    (one,) = paired_differences(runs(make_run, {("a", 0): 0.3}))
    assert (one.interval, one.over, one.verdict, one.mean) == (None, "", "too few pairs", pytest.approx(0.3))
    (five,) = paired_differences(runs(make_run, {(fold, 0): 0.3 for fold in "abcde"}))
    assert five.interval == pytest.approx((0.3, 0.3))
    assert five.verdict == "too few pairs"
    (across,) = paired_differences(runs(make_run, {("a", 0): 0.3, ("b", 0): -0.2}))
    assert across.verdict == "no difference seen"


def slow_bootstrap(folds: list[list[float]], draws: int) -> tuple[float, float]:
    """The same with plain loops and other random numbers."""
    source = random.Random(3)
    means = []
    for _ in range(draws):
        taken = [source.choice(folds) for _ in folds]
        means.append(statistics.fmean(statistics.fmean(source.choices(fold, k=len(fold))) for fold in taken))
    cuts = statistics.quantiles(means, n=40, method="inclusive")
    return cuts[0], cuts[-1]


@pytest.mark.parametrize(
    "folds",
    [
        [[0.01, 0.03, 0.02], [-0.02, 0.0, 0.01], [0.05, 0.02, 0.04], [0.0, 0.01, -0.01], [0.03, 0.0, 0.02]],
        [[0.5], [0.1, 0.2, 0.9, 0.4], [-0.3, 0.3]],  # failed runs
        [[0.1, 0.4, 0.2, 0.8]],
        [[0.1], [0.4], [0.2], [0.8]],
    ],
)
def test_as_a_slow_bootstrap(folds: list[list[float]]) -> None:
    slow = np.array(slow_bootstrap(folds, 20_000))
    fast = np.array(bootstrap_interval(folds, draws=20_000))
    assert np.abs(slow - fast).max() < 0.03 * (slow[1] - slow[0])


def test_the_same_seed_gives_the_same_interval() -> None:
    folds = [[0.011, 0.032, 0.023], [-0.024, 0.005, 0.016], [0.057, 0.028, 0.049]]
    assert bootstrap_interval(folds) == bootstrap_interval(folds)
    assert bootstrap_interval(folds) != bootstrap_interval(folds, seed=1)


def test_draws_in_parts_are_all_taken() -> None:
    # 1500 values a draw: so many draws do not fit in memory at once, and go in parts.
    values = np.random.default_rng(5).normal(1.0, 1.0, (30, 50))
    low, high = bootstrap_interval(values.tolist(), draws=2000)
    between = values.mean(axis=1).std()
    assert low < values.mean() < high
    # Variance of the means of folds, and once more that of seeds within, over 30 folds.
    expected = 2 * 1.96 * np.sqrt((between**2 + values.var() / 50) / 30)
    assert high - low == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("folds", "seeds", "between", "expected"),
    [(5, 3, 0.0, 0.964), (5, 3, 1.0, 0.887), (5, 3, 2.0, 0.848), (2, 3, 1.0, 0.745), (10, 3, 0.5, 0.949)],
)
def test_coverage(folds: int, seeds: int, between: float, expected: float) -> None:
    """How often the interval holds a true zero: the figures of the docstring of `bootstrap_interval`."""
    draw = np.random.default_rng(11)
    count = 400
    held = 0
    for _ in range(count):
        values = between * draw.standard_normal((folds, 1)) + draw.standard_normal((folds, seeds))
        low, high = bootstrap_interval(values.tolist(), draws=500)
        held += low <= 0 <= high
    # Four standard errors of a share of so many.
    assert held / count == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / count))
