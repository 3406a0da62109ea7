from __future__ import annotations

import inspect
import json
import random
from pathlib import Path

import pytest

from cellmix_dali.curriculum import patch_scheduler, ratio_scheduler
from cellmix_dali.errors import ArgumentError

RECORD = json.loads((Path(__file__).parents[1] / "golden" / "schedulers.json").read_text())
CLASSES = {"patch_scheduler": patch_scheduler, "ratio_scheduler": ratio_scheduler}


def _name(run):
    given = run["args"]
    keys = ("strategy", "total_epochs", "edge_size", "basic_ratio")
    return "-".join([run["kind"].split("_")[0], *(str(given[key]) for key in keys if key in given)])


def test_the_record_is_whole():
    assert len(RECORD) == 228


@pytest.mark.parametrize("run", RECORD, ids=_name)
def test_recorded_run_of_the_authors_code(run, capsys):
    scheduler = CLASSES[run["kind"]](**run["args"])
    assert [scheduler(epoch, loss) for epoch, loss in run["calls"]] == run["expected"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("scheduler", "signature"),
    [
        (
            patch_scheduler,
            {
                "total_epochs": 200,
                "warmup_epochs": 20,
                "edge_size": 384,
                "basic_patch": 16,
                "strategy": None,
                "threshold": 4.0,
                "loss_reducing_factor": 0.933,
                "fix_patch_size": None,
                "patch_size_jump": None,
                "seed": None,
            },
        ),
        (
            ratio_scheduler,
            {
                "total_epochs": 200,
                "warmup_epochs": 20,
                "basic_ratio": 0.25,
                "strategy": None,
                "threshold": 4.0,
                "fix_position_ratio": None,
                "loss_reducing_factor": 0.933,
                "ratio_floor_factor": 0.5,
                "upper_limit": 0.9,
                "lower_limit": 0.2,
            },
        ),
    ],
)
def test_arguments_in_the_authors_order(scheduler, signature):
    parameters = inspect.signature(scheduler).parameters
    assert [(name, p.default) for name, p in parameters.items()] == list(signature.items())


def test_threshold_shrinks_at_every_call_below_it():
    scheduler = ratio_scheduler(10, 2, strategy="loss_hold", threshold=4.0, loss_reducing_factor=0.5)
    for epoch, loss, after in [(1, 1.0, 4.0), (2, 1.0, 2.0), (2, 1.0, 1.0), (3, 1.0, 1.0), (3, 0.0, 1.0)]:
        scheduler(epoch, loss)
        assert scheduler.threshold == after


def test_threshold_of_a_planned_strategy_stays():
    scheduler = patch_scheduler(10, 0, strategy="reverse")
    scheduler(5, 0.1)
    assert scheduler.threshold == 4.0


def test_patch_size_leans_from_the_plan_by_the_loss():
    for strategy, above in [("loss_hold", 64), ("loss_back", 96)]:
        scheduler = patch_scheduler(7, 0, strategy=strategy, threshold=1.0)  # one epoch a size
        assert scheduler.patch_list == [192, 128, 96, 64, 48, 32, 16]
        assert [scheduler(3), scheduler(3, 0.5), scheduler(3, 2.0)] == [64, 48, above]
        assert scheduler(6, 0.5) == 16  # nothing beyond the smallest
        assert scheduler(0, 2.0) == 192  # nor before the largest


def test_patch_list_ascends_for_the_others():
    for strategy in ("linear", "random", "loop", "fixed", None):
        assert patch_scheduler(edge_size=224, strategy=strategy).patch_list == [16, 32, 112]


@pytest.mark.parametrize(
    ("edge_size", "jump", "expected"),
    [(384, None, 32), (384, "odd", 32), (112, None, 16), ((112, 448), None, 16)],
)
def test_warmup_size_is_the_legal_one_nearest_to_32(edge_size, jump, expected):
    scheduler = patch_scheduler(10, 5, edge_size, strategy="loop", patch_size_jump=jump)
    assert scheduler(4) == expected


def test_fixed_patch_size():
    for strategy in (None, "fixed", "ratio-decay"):
        assert patch_scheduler(strategy=strategy)(0) == 16
        assert patch_scheduler(strategy=strategy)(150, 1.0) == 16
        assert patch_scheduler(strategy=strategy, fix_patch_size=96)(0) == 96
        assert patch_scheduler(strategy=strategy, fix_patch_size=24)(30) == 24  # the token rule gives way


def test_fixed_ratio_of_zero_is_honoured():
    for strategy in (None, "fixed"):
        assert ratio_scheduler(strategy=strategy, fix_position_ratio=0.0)(0) == 0.0
        assert ratio_scheduler(strategy=strategy, fix_position_ratio=0.7)(30) == 0.7
        assert ratio_scheduler(strategy=strategy)(30, 1.0) == 0.25


def test_what_is_fixed_is_left_aside_by_other_strategies():
    assert patch_scheduler(10, 0, strategy="linear", fix_patch_size=96)(0) == 16
    assert ratio_scheduler(10, 0, strategy="decay", fix_position_ratio=0.1)(0) == 0.75


@pytest.mark.parametrize("strategy", ["linear", "reverse", "loss_hold", "loss_back"])
@pytest.mark.parametrize("total", [20, 10, 0])
def test_a_plan_that_is_all_warmup_divides_by_nothing(strategy, total):
    scheduler = patch_scheduler(total, 20, strategy=strategy)
    assert scheduler(19) == 32
    assert scheduler(20) == scheduler(30) == (192 if strategy == "linear" else 16)


@pytest.mark.parametrize("strategy", ["decay", "ratio-decay", "loss_hold", "loss_back"])
def test_a_ratio_plan_that_is_all_warmup_divides_by_nothing(strategy):
    scheduler = ratio_scheduler(20, 20, 0.5, strategy)
    assert [scheduler(19), scheduler(20), scheduler(25)] == [0.5, 0.25, 0.25]


def test_bounds_follow_the_limits():
    scheduler = ratio_scheduler(10, 0, 0.5, "decay", ratio_floor_factor=0.8, upper_limit=0.6, lower_limit=0.1)
    assert [scheduler(0), scheduler(9)] == [0.6, 0.4]
    assert ratio_scheduler(10, 0, 0.1, "decay", lower_limit=0.15)(9) == 0.15
    assert ratio_scheduler(10, 0, 0.05, "decay")(9) == pytest.approx(0.15)  # bounds crossed: the upper wins


def test_random_without_seed_follows_pythons_random():
    scheduler = patch_scheduler(strategy="random")
    random.seed(3)
    drawn = [scheduler(epoch) for epoch in range(50)]
    random.seed(3)
    assert drawn == [random.choice([16, 32, 48, 64, 96, 128, 192]) for _ in range(50)]


def test_random_with_seed_is_its_own():
    def run(seed):
        scheduler = patch_scheduler(strategy="random", seed=seed)
        return [scheduler(epoch) for epoch in range(50)]

    random.seed(1)
    first = run(5)
    random.seed(2)
    assert run(5) == first
    assert run(6) != first
    assert set(first) == {16, 32, 48, 64, 96, 128, 192}


@pytest.mark.parametrize(
    ("scheduler", "arguments", "words"),
    [
        (patch_scheduler, {"strategy": "loss_hald"}, ["strategy 'loss_hald'", "Did you mean 'loss_hold'?"]),
        (
            patch_scheduler,
            {"strategy": "decay"},
            ["'decay'", "Did you mean 'ratio-decay'?", "linear"],
        ),
        (ratio_scheduler, {"strategy": "linear"}, ["strategy 'linear'", "decay, ratio-decay, loss_hold"]),
        (ratio_scheduler, {"strategy": "Loss_Back"}, ["Did you mean 'loss_back'?"]),
        (patch_scheduler, {"edge_size": 250}, ["250x250", "token_size=16"]),
        (patch_scheduler, {"edge_size": 16}, ["16x16", "more than one patch"]),
        (patch_scheduler, {"patch_size_jump": "evn"}, ["jump 'evn'", "Did you mean 'even'?"]),
        (
            patch_scheduler,
            {"fix_patch_size": 100},
            ["fix_patch_size=100", "384x384", "one of 1, 2, 3"],
        ),
        (patch_scheduler, {"fix_patch_size": 0}, ["fix_patch_size=0", "1 or more"]),
        (patch_scheduler, {"seed": -1}, ["seed=-1", "0 or more"]),
        (patch_scheduler, {"threshold": None}, ["threshold=None", "4.0"]),
        (ratio_scheduler, {"threshold": -1.0}, ["threshold=-1.0", "0 or more"]),
        (ratio_scheduler, {"total_epochs": -1}, ["total_epochs=-1", "0 or more"]),
        (ratio_scheduler, {"warmup_epochs": 1.5}, ["warmup_epochs=1.5", "whole number"]),
        (ratio_scheduler, {"loss_reducing_factor": 0}, ["loss_reducing_factor=0", "above 0"]),
        (ratio_scheduler, {"basic_ratio": 1.5}, ["basic_ratio=1.5", "at most 1"]),
        (
            ratio_scheduler,
            {"fix_position_ratio": -0.1},
            ["fix_position_ratio=-0.1", "at most 1"],
        ),
        (ratio_scheduler, {"ratio_floor_factor": -1}, ["ratio_floor_factor=-1", "0 or more"]),
        (ratio_scheduler, {"upper_limit": 2}, ["upper_limit=2", "at most 1"]),
        (ratio_scheduler, {"upper_limit": 0.5, "lower_limit": 0.6}, ["lower_limit=0.6", "at most 0.5"]),
    ],
)
def test_refusals(scheduler, arguments, words):
    with pytest.raises(ArgumentError) as refused:
        scheduler(**arguments)
    for word in words:
        assert word in str(refused.value)
