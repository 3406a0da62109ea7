"""The nested choice: validation alone decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cellmix_dali.comparison.choice import choose, chosen_runs
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.errors import ArgumentError

Make = Callable[..., RunRecord]
LOW, HIGH = {"learning_rate": 0.001}, {"learning_rate": 0.01}


def test_the_best_mean_over_seeds_is_chosen_fold_by_fold(make_run: Make) -> None:
    records = [
        # Fold 1: 0.5 and 0.9 (mean 0.7) against twice 0.65; the other one has by far the better test figures.
        make_run("CutMix", "1", 0, candidate=LOW, validation=0.5, test=0.1),
        make_run("CutMix", "1", 1, candidate=LOW, validation=0.9, test=0.1),
        make_run("CutMix", "1", 0, candidate=HIGH, validation=0.65, test=0.9),
        make_run("CutMix", "1", 1, candidate=HIGH, validation=0.65, test=0.9),
        make_run("CutMix", "2", 0, candidate=LOW, validation=0.6, test=0.8),
        make_run("CutMix", "2", 0, candidate=HIGH, validation=0.61, test=0.2),
        make_run("none", "2", 0, validation=0.4),
    ]
    first, second, plain = choose(records)
    assert (first.arm, first.fold, first.candidate, first.candidates) == ("CutMix", "1", LOW, 2)
    assert first.validation == pytest.approx(0.7)
    assert first.runs == tuple(records[:2])
    assert (second.fold, second.candidate, second.runs) == ("2", HIGH, (records[5],))
    assert (plain.arm, plain.candidate, plain.candidates) == ("none", {}, 1)
    assert chosen_runs([first, second, plain]) == [*records[:2], records[5], records[6]]


def test_test_figures_choose_nothing(make_run: Make) -> None:
    chosen = set()
    for low, high in ((0.1, 0.9), (0.9, 0.1)):
        low_run = make_run("CutMix", candidate=LOW, validation=0.7, test=low)
        high_run = make_run("CutMix", candidate=HIGH, validation=0.6, test=high)
        (choice,) = choose([high_run, low_run])
        chosen.add(choice.candidate["learning_rate"])
    assert chosen == {0.001}


def test_ties_go_to_the_lower_loss_then_to_the_first(make_run: Make) -> None:
    low = make_run("CutMix", candidate=LOW, validation=0.7, validation_loss=0.9)
    high = make_run("CutMix", candidate=HIGH, validation=0.7, validation_loss=0.8)
    assert [choose(order)[0].candidate for order in ([low, high], [high, low])] == [HIGH, HIGH]
    level = make_run("CutMix", candidate=LOW, validation=0.7, validation_loss=0.8)
    assert [choose(order)[0].candidate for order in ([level, high], [high, level])] == [LOW, HIGH]


def test_equal_figures_in_another_order_tie(make_run: Make) -> None:
    # Added up one by one, these give different sums in different orders.
    figures = (0.1, 0.2, 0.3)
    assert sum(figures) != sum(figures[::-1])
    low = [make_run("CutMix", "1", seed, candidate=LOW, validation=of) for seed, of in enumerate(figures)]
    high = [make_run("CutMix", "1", seed, candidate=HIGH, validation=of) for seed, of in enumerate(figures[::-1])]
    assert choose(low + high)[0].candidate == LOW
    assert choose(high + low)[0].candidate == HIGH


def test_a_candidate_that_failed_for_a_seed_is_not_chosen(make_run: Make) -> None:
    lucky = make_run("CutMix", "1", 0, candidate=HIGH, validation=0.9)
    whole = [make_run("CutMix", "1", seed, candidate=LOW, validation=0.5) for seed in (0, 1)]
    assert choose([lucky, *whole])[0].candidate == LOW
    assert choose([lucky, whole[1]])[0].candidate == HIGH  # none has more


def test_arms_stay_together_in_their_first_order(make_run: Make) -> None:
    order = [("none", "1"), ("CutMix", "1"), ("none", "2"), ("CutMix", "2")]
    assert [(choice.arm, choice.fold) for choice in choose([make_run(arm, fold) for arm, fold in order])] == [
        ("none", "1"),
        ("none", "2"),
        ("CutMix", "1"),
        ("CutMix", "2"),
    ]


def test_a_run_that_is_there_twice_is_refused(make_run: Make) -> None:
    with pytest.raises(ArgumentError, match="arm CutMix, fold 1, seed 0, candidate"):
        choose([make_run("CutMix", candidate=LOW), make_run("CutMix", candidate=LOW, test=0.3)])
