from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cellmix_dali.curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES, Curriculum, legal_patch_sizes
from cellmix_dali.errors import ArgumentError

LEARNED, NOT_LEARNED = 0.0, 9.0
FIXED = {"patch_strategy": "fixed", "ratio_strategy": "fixed"}


def patch_run(steps, losses=None, /, **arguments):
    """Patch sizes of so many epochs from the first on."""
    curriculum = Curriculum(**{"ratio_strategy": "fixed", **arguments})
    sizes = []
    for epoch in range(steps):
        assert curriculum.epoch == epoch
        sizes.append(curriculum.patch_size)
        curriculum.step(NOT_LEARNED if losses is None else losses[epoch])
    return sizes


def ratio_run(steps, losses=None, /, **arguments):
    """Fix ratios of so many epochs from the first on."""
    curriculum = Curriculum(**{"patch_strategy": "fixed", "tile_size": 384, **arguments})
    ratios = []
    for epoch in range(steps):
        ratios.append(curriculum.fix_ratio)
        curriculum.step(NOT_LEARNED if losses is None else losses[epoch])
    return ratios


# ---- patch size, strategy by strategy ----


def test_linear():
    plan = {"epochs": 8, "warmup_epochs": 2, "tile_size": 224, "patch_strategy": "linear"}
    assert patch_run(11, **plan) == [32, 32, 16, 16, 32, 32, 112, 112, 112, 112, 112]


def test_reverse():
    plan = {"epochs": 8, "warmup_epochs": 2, "tile_size": 224, "patch_strategy": "reverse"}
    assert patch_run(11, **plan) == [32, 32, 112, 112, 32, 32, 16, 16, 16, 16, 16]


def test_beyond_the_plan_its_last_value_stays_even_where_it_did_not_reach_the_end():
    assert patch_run(4, epochs=2, tile_size=384, patch_strategy="linear") == [16, 64, 64, 64]
    assert patch_run(4, epochs=2, tile_size=384, patch_strategy="reverse") == [192, 64, 64, 64]


def test_loop():
    plan = {"epochs": 12, "warmup_epochs": 1, "tile_size": 224, "patch_strategy": "loop"}
    expected = [32, 16, 16, 16, 32, 32, 32, 112, 112, 112, 16, 16]
    assert patch_run(15, **plan) == [*expected, 16, 16, 16]
    assert patch_run(8, **plan, loop_epochs=1) == [32, 16, 32, 112, 16, 32, 112, 16]


def test_loss_hold_walks_from_large_to_small_and_never_back():
    losses = [0.4, 9.0, 0.4, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0]
    assert patch_run(11, losses, epochs=11, tile_size=384) == [192, 128, 128, 96, 96, 96, 64, 48, 32, 16, 16]


def test_loss_back_walks_both_ways():
    losses = [9.0, 0.4, 0.4, 9.0, 9.0, 9.0, 0.0, 0.0, 0.0]
    plan = {"epochs": 9, "tile_size": 224, "patch_strategy": "loss_back"}
    assert patch_run(9, losses, **plan) == [112, 112, 32, 16, 32, 112, 112, 32, 16]


def test_fixed_patch_size_is_the_same_in_warmup():
    plan = {"epochs": 4, "warmup_epochs": 2, "patch_strategy": "fixed"}
    assert patch_run(4, tile_size=384, patch_size=96, **plan) == [96] * 4
    assert patch_run(4, tile_size=384, **plan) == [32] * 4
    assert patch_run(4, tile_size=384, token_size=64, **plan) == [64] * 4


def test_fixed_patch_size_may_be_any_divisor_where_the_token_rule_leaves_none():
    curriculum = Curriculum(epochs=1, tile_size=(250, 500), patch_strategy="fixed", patch_size=250)
    assert (curriculum.patch_size, curriculum.patch_sizes) == (250, (250,))


def test_random_depends_on_seed_and_epoch_alone():
    plan = {"epochs": 40, "tile_size": 384, "patch_strategy": "random"}
    drawn = patch_run(60, **plan)
    assert drawn[:12] == RANDOM_OF_SEED_0
    assert set(drawn) == set(legal_patch_sizes(384))
    assert patch_run(60, [LEARNED] * 60, **plan) == drawn
    assert patch_run(60, **plan, seed=2**64 - 1) != drawn
    warmed = patch_run(60, **plan, warmup_epochs=5)
    assert warmed == [32] * 5 + drawn[5:]


def test_random_may_be_read_again():
    curriculum = Curriculum(epochs=9, tile_size=384, patch_strategy="random")
    assert len({curriculum.patch_size for _ in range(20)}) == 1


# Once drawn, for ever the same: a resumed training must not change its patch sizes with an upgrade.
RANDOM_OF_SEED_0 = [192, 64, 16, 32, 192, 192, 48, 128, 192, 96, 96, 32]


def test_random_is_even_between_the_sizes():
    drawn = patch_run(3000, epochs=3000, tile_size=64, patch_strategy="random")
    assert abs(drawn.count(16) - 1500) < 140  # 5 standard deviations


# ---- fix ratio, strategy by strategy ----


def test_decay():
    ratios = ratio_run(13, epochs=10, warmup_epochs=2, ratio_strategy="decay")
    assert ratios[:2] == [0.5, 0.5]
    line = [0.9, 0.7875, 0.675, 0.5625, 0.45, 0.3375, 0.25, 0.25]
    assert ratios[2:10] == pytest.approx(line, abs=1e-15)
    assert ratios[10:] == [0.25] * 3


def test_decay_beyond_the_plan_keeps_its_last_value():
    assert ratio_run(4, epochs=2, ratio_strategy="decay") == [0.9, 0.45, 0.45, 0.45]


def test_ratio_loss_hold():
    losses = [9.0, 0.4, 9.0, 0.4, 9.0]
    ratios = ratio_run(5, losses, epochs=5, ratio_strategy="loss_hold")
    assert ratios == [0.9, 0.9, 0.9 * 0.9, 0.9 * 0.9, 0.9 * 0.9 * 0.9]


def test_ratio_loss_back():
    losses = [9.0, 0.4, 0.4, 9.0, 9.0, 9.0, 0.1]
    ratios = ratio_run(7, losses, epochs=7, ratio_strategy="loss_back")
    expected = [0.9, 0.9, 0.81, 0.729, 0.8019, 0.88209, 0.9]
    assert ratios == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("basic", "low", "high"), [(0.5, 0.25, 0.9), (0.25, 0.2, 0.75), (1.0, 0.5, 0.9), (0.1, 0.2, 0.3)]
)
@pytest.mark.parametrize("strategy", ["loss_hold", "loss_back"])
def test_ratio_runs_from_the_upper_bound_to_the_lower(strategy, basic, low, high):
    ratios = ratio_run(30, [LEARNED] * 30, epochs=30, ratio_strategy=strategy, basic_ratio=basic)
    assert ratios[0] == pytest.approx(high)
    assert ratios[-1] == pytest.approx(low)
    assert ratios == sorted(ratios, reverse=True)


def test_fixed_ratio_is_the_same_in_warmup_and_zero_is_one():
    plan = {"epochs": 4, "warmup_epochs": 2, "ratio_strategy": "fixed"}
    assert ratio_run(4, **plan, fix_ratio=0.0) == [0.0] * 4
    assert ratio_run(4, **plan, fix_ratio=1) == [1.0] * 4
    assert ratio_run(4, **plan, basic_ratio=0.01) == [0.01] * 4


# ---- the threshold and the warm-up ----


def test_threshold_shrinks_once_an_epoch_that_was_learned():
    curriculum = Curriculum(epochs=9, tile_size=384, patch_strategy="loss_back", ratio_strategy="loss_hold")
    for loss, after in [(0.5, 0.5 * 0.933), (0.47, 0.5 * 0.933), (0.4, 0.5 * 0.933 * 0.933)]:
        curriculum.step(loss)
        assert curriculum.threshold == after


@pytest.mark.parametrize(
    ("patch_strategy", "ratio_strategy", "shrinks"),
    [
        ("loss_hold", "fixed", True),
        ("fixed", "loss_back", True),
        ("linear", "decay", False),
        ("fixed", "fixed", False),
    ],
)
def test_threshold_shrinks_only_where_the_loss_drives(patch_strategy, ratio_strategy, shrinks):
    curriculum = Curriculum(
        epochs=9, tile_size=384, patch_strategy=patch_strategy, ratio_strategy=ratio_strategy, threshold=2.0
    )
    curriculum.step(2.0)
    assert curriculum.threshold == (2.0 * 0.933 if shrinks else 2.0)


def test_a_loss_just_above_the_threshold_is_not_learned():
    curriculum = Curriculum(epochs=9, tile_size=384)
    curriculum.step(math.nextafter(0.5, 1))
    assert (curriculum.patch_size, curriculum.fix_ratio, curriculum.threshold) == (192, 0.9, 0.5)
    curriculum.step(0.5)
    assert (curriculum.patch_size, curriculum.fix_ratio) == (128, 0.9 * 0.9)


def test_a_factor_of_one_keeps_the_threshold():
    curriculum = Curriculum(epochs=9, tile_size=384, threshold_factor=1)
    curriculum.step(0.5)
    assert (curriculum.threshold, curriculum.patch_size) == (0.5, 128)


def test_warmup_changes_nothing_and_the_loss_drive_starts_after_it():
    curriculum = Curriculum(epochs=9, tile_size=384, warmup_epochs=2, basic_ratio=0.4)
    for _ in range(2):
        assert (curriculum.patch_size, curriculum.fix_ratio, curriculum.threshold) == (32, 0.4, 0.5)
        curriculum.step(LEARNED)
    assert (curriculum.epoch, curriculum.patch_size, curriculum.fix_ratio) == (2, 192, 0.9)
    assert curriculum.threshold == 0.5
    curriculum.step(LEARNED)
    assert (curriculum.patch_size, curriculum.fix_ratio) == (128, 0.9 * 0.9)


def test_warmup_takes_the_nearest_of_the_sizes_on_offer():
    plan = {"epochs": 3, "warmup_epochs": 1, "tile_size": 384}
    assert Curriculum(**plan, jump="odd").patch_size == 16  # 16 and 48 are equally near
    assert Curriculum(**plan, jump="even").patch_size == 32
    assert Curriculum(**plan, token_size=64).patch_size == 64


@pytest.mark.parametrize("patch_strategy", PATCH_STRATEGIES)
@pytest.mark.parametrize("ratio_strategy", RATIO_STRATEGIES)
def test_a_training_that_is_all_warmup(patch_strategy, ratio_strategy):
    curriculum = Curriculum(
        epochs=2,
        warmup_epochs=2,
        tile_size=384,
        patch_strategy=patch_strategy,
        ratio_strategy=ratio_strategy,
    )
    for _ in range(5):
        assert (curriculum.patch_size, curriculum.fix_ratio) == (32, 0.5)
        curriculum.step(LEARNED)


def test_loss_drive_goes_on_beyond_the_plan():
    curriculum = Curriculum(epochs=1, tile_size=384)
    for _ in range(3):
        curriculum.step(LEARNED)
    assert curriculum.patch_size == 64


def test_jump_thins_the_sizes_out():
    assert patch_run(4, epochs=4, tile_size=384, patch_strategy="linear", jump="odd") == [16, 48, 96, 192]
    assert patch_run(4, epochs=4, tile_size=384, patch_strategy="linear", jump="even") == [16, 32, 64, 128]


@pytest.mark.parametrize("tile_size", [(256, 384), [384, 256]])
def test_tiles_that_are_not_square(tile_size):
    curriculum = Curriculum(epochs=9, tile_size=tile_size)
    assert curriculum.tile_size == tuple(tile_size)
    assert curriculum.patch_sizes == (16, 32, 64, 128)
    assert curriculum.patch_size == 128


def test_values_have_plain_types():
    curriculum = Curriculum(
        epochs=np.int64(9), tile_size=np.int32(384), basic_ratio=np.float32(0.5), threshold=np.float64(0.5)
    )
    curriculum.step(np.float32(0.25))
    assert type(curriculum.patch_size) is int
    assert type(curriculum.fix_ratio) is float
    assert type(curriculum.threshold) is float
    assert curriculum.tile_size == (384, 384)
    json.dumps(curriculum.state_dict())


@pytest.mark.parametrize("name", ["epoch", "patch_size", "fix_ratio", "threshold", "patch_sizes", "tile_size"])
def test_properties_are_read_only(name):
    with pytest.raises(AttributeError):
        setattr(Curriculum(epochs=9, tile_size=384), name, 1)


def test_repr():
    curriculum = Curriculum(epochs=50, tile_size=(256, 384), ratio_strategy="loss_back")
    curriculum.step(0.1)
    assert repr(curriculum) == (
        "Curriculum(epoch=1 of 50, patch_size=64 (loss_hold), fix_ratio=0.81 (loss_back), threshold=0.4665, "
        "tile=256x384)"
    )


# ---- the loss ----


@pytest.mark.parametrize("loss", [0.4, 0, np.float32(0.4), np.array(0.4), Fraction(2, 5), -1.0])
def test_one_number_of_any_kind_is_a_loss(loss):
    curriculum = Curriculum(epochs=9, tile_size=384)
    curriculum.step(loss)
    assert curriculum.patch_size == 128


class _SeveralElements:
    def __float__(self):
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")


@pytest.mark.parametrize("loss", [None, "0.4", True, [0.4, 0.3], np.array([0.4, 0.3]), _SeveralElements(), 10**400])
def test_what_is_not_one_number_is_refused(loss):
    curriculum = Curriculum(epochs=9, tile_size=384)
    with pytest.raises(ArgumentError, match="is not one number: pass the epoch's mean loss per sample"):
        curriculum.step(loss)
    assert curriculum.epoch == 0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("warmup", [0, 2])
def test_a_diverged_loss_is_refused_and_changes_nothing(loss, warmup):
    curriculum = Curriculum(epochs=9, tile_size=384, warmup_epochs=warmup)
    before = curriculum.state_dict()
    with pytest.raises(ArgumentError, match=r"the training has diverged.*lower the learning rate"):
        curriculum.step(loss)
    assert curriculum.state_dict() == before


# ---- refusals at construction ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 0}, ["epochs=0", "1 or more"]),
        ({"epochs": 2.0}, ["epochs=2.0", "whole number"]),
        ({"epochs": True}, ["epochs=True", "whole number"]),
        ({"tile_size": 250}, ["250x250", "token_size=16", "such as 64"]),
        ({"tile_size": (384,)}, ["tile_size=(384,)", "(height, width)"]),
        ({"token_size": 0}, ["token_size=0", "1 or more"]),
        ({"token_size": 0, "patch_strategy": "fixed", "patch_size": 96}, ["token_size=0", "1 or more"]),
        ({"patch_strategy": "revers"}, ["patch_strategy 'revers'", "Did you mean 'reverse'?", "loss_back"]),
        ({"patch_strategy": None}, ["patch_strategy None", "linear, reverse, random, loop"]),
        ({"ratio_strategy": "loss-hold"}, ["ratio_strategy 'loss-hold'", "Did you mean 'loss_hold'?"]),
        ({"ratio_strategy": "linear"}, ["ratio_strategy 'linear'", "decay, loss_hold, loss_back, fixed"]),
        ({"basic_ratio": 0}, ["basic_ratio=0 ", "above 0 and at most 1"]),
        ({"basic_ratio": 1.01}, ["basic_ratio=1.01", "at most 1"]),
        ({"basic_ratio": math.nan}, ["basic_ratio=nan", "at most 1"]),
        ({"basic_ratio": 0.06}, ["basic_ratio=0.06", "loss_hold", "1/15", "'fixed'"]),
        ({"basic_ratio": 0.06, "ratio_strategy": "decay"}, ["basic_ratio=0.06", "decay", "0.2"]),
        ({"threshold": 0}, ["threshold=0 ", "above 0"]),
        ({"threshold": math.inf}, ["threshold=inf", "above 0"]),
        ({"threshold": 10**400}, ["threshold=1000", "above 0"]),
        ({"threshold": "0.5"}, ["threshold='0.5'", "a number above 0"]),
        ({"threshold_factor": 0}, ["threshold_factor=0 ", "above 0 and at most 1"]),
        ({"threshold_factor": 1.1}, ["threshold_factor=1.1", "at most 1"]),
        ({"warmup_epochs": -1}, ["warmup_epochs=-1", "from 0 to 9"]),
        ({"warmup_epochs": 10}, ["warmup_epochs=10", "from 0 to 9"]),
        ({"patch_size": 32}, ["patch_size=32", "patch_strategy='loss_hold'", "patch_strategy='fixed'"]),
        ({"fix_ratio": 0.0}, ["fix_ratio=0.0", "ratio_strategy='loss_hold'", "ratio_strategy='fixed'"]),
        ({"patch_size": 100, **FIXED}, ["patch_size=100", "384x384", "Allowed: one of 1, 2, 3, 4, 6"]),
        ({"patch_size": 384, **FIXED}, ["patch_size=384", "more than one patch", "128, 192."]),
        ({"patch_size": 48, "tile_size": (384, 256), **FIXED}, ["patch_size=48", "384x256", "64, 128."]),
        ({"patch_size": 256, "tile_size": (384, 256), **FIXED}, ["patch_size=256", "384x256"]),
        ({"patch_size": 1, "tile_size": 1, **FIXED}, ["patch_size=1", "Allowed: none, so use a larger tile"]),
        ({"patch_size": 0, **FIXED}, ["patch_size=0", "1 or more"]),
        ({"patch_size": 32.0, **FIXED}, ["patch_size=32.0", "whole number"]),
        ({"fix_ratio": -0.1, **FIXED}, ["fix_ratio=-0.1", "0 or more and at most 1"]),
        ({"fix_ratio": 1.1, **FIXED}, ["fix_ratio=1.1", "0 or more and at most 1"]),
        ({"jump": "evens"}, ["jump 'evens'", "Did you mean 'even'?"]),
        ({"jump": "evens", "patch_size": 96, **FIXED}, ["jump 'evens'"]),
        ({"loop_epochs": 0}, ["loop_epochs=0", "1 or more"]),
        ({"seed": -1}, ["seed=-1", "from 0 to 18446744073709551615"]),
        ({"seed": 2**64}, ["seed=18446744073709551616", "from 0 to"]),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ArgumentError) as refused:
        Curriculum(**{"epochs": 9, "tile_size": 384, **arguments})
    for word in words:
        assert word in str(refused.value)


def test_arguments_go_by_name():
    with pytest.raises(TypeError):
        Curriculum(9, 384)


def test_the_least_basic_ratio_that_a_moving_ratio_takes():
    assert ratio_run(1, epochs=9, ratio_strategy="decay", basic_ratio=1 / 15) == pytest.approx([0.2])


# ---- saving and loading ----


def test_state_is_plain():
    curriculum = Curriculum(epochs=9, tile_size=(256, 384), patch_strategy="loss_back")
    curriculum.step(0.5)
    assert curriculum.state_dict() == {
        "epoch": 1,
        "threshold": 0.5 * 0.933,
        "ratio": 0.9 * 0.9,
        "patch_index": 2,
        "settings": {
            "epochs": 9,
            "tile_size": [256, 384],
            "token_size": 16,
            "patch_strategy": "loss_back",
            "ratio_strategy": "loss_hold",
            "basic_ratio": 0.5,
            "threshold": 0.5,
            "threshold_factor": 0.933,
            "warmup_epochs": 0,
            "patch_size": None,
            "fix_ratio": None,
            "jump": None,
            "loop_epochs": 3,
            "seed": 0,
        },
    }


def test_a_state_is_a_copy():
    curriculum = Curriculum(epochs=9, tile_size=384)
    state = curriculum.state_dict()
    state["settings"]["epochs"] = 1
    state["settings"]["tile_size"][0] = 1
    assert curriculum.state_dict()["settings"]["epochs"] == 9
    assert curriculum.state_dict()["settings"]["tile_size"] == [384, 384]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 10}, ["epochs (saved 9, here 10)"]),
        ({"tile_size": (384, 256)}, ["tile_size (saved [384, 384], here [384, 256])"]),
        ({"seed": 1, "jump": "odd"}, ["jump (saved None, here 'odd')", "seed (saved 0, here 1)"]),
        ({"patch_strategy": "linear"}, ["patch_strategy (saved 'loss_hold', here 'linear')"]),
    ],
)
def test_state_of_other_settings_is_refused(arguments, words):
    saved = Curriculum(epochs=9, tile_size=384)
    saved.step(LEARNED)
    other = Curriculum(**{"epochs": 9, "tile_size": 384, **arguments})
    with pytest.raises(ArgumentError, match="other settings") as refused:
        other.load_state_dict(saved.state_dict())
    assert str(refused.value).count("(saved") == len(words)
    for word in words:
        assert word in str(refused.value)
    assert other.epoch == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epoch": -1}, ["state['epoch']=-1", "0 or more"]),
        ({"epoch": 1.0}, ["state['epoch']=1.0", "whole number"]),
        ({"threshold": 0.6}, ["state['threshold']=0.6", "at most 0.5"]),
        ({"threshold": math.nan}, ["state['threshold']=nan"]),
        ({"ratio": 0.95}, ["state['ratio']=0.95", "0.25 or more and at most 0.9"]),
        ({"ratio": 0.2}, ["state['ratio']=0.2"]),
        ({"patch_index": 7}, ["state['patch_index']=7", "from 0 to 6"]),
        ({"patch_index": -1}, ["state['patch_index']=-1", "from 0 to 6"]),
        ({"loss": 1.0}, ["too many: loss", "state_dict()"]),
        ({"settings": None}, ["not the state of a curriculum", "state_dict()"]),
        ({"settings": {"epochs": 9}}, ["other settings", "token_size (saved None, here 16)"]),
    ],
)
def test_a_broken_state_is_refused_and_changes_nothing(change, words):
    curriculum = Curriculum(epochs=9, tile_size=384)
    curriculum.step(LEARNED)
    before = curriculum.state_dict()
    with pytest.raises(ArgumentError) as refused:
        curriculum.load_state_dict({**Curriculum(epochs=9, tile_size=384).state_dict(), **change})
    for word in words:
        assert word in str(refused.value)
    assert curriculum.state_dict() == before


def test_a_setting_that_this_version_does_not_know_is_refused():
    curriculum = Curriculum(epochs=9, tile_size=384)
    state = curriculum.state_dict()
    state["settings"]["pace"] = None
    with pytest.raises(ArgumentError, match="pace"):
        curriculum.load_state_dict(state)


@pytest.mark.parametrize("missing", ["epoch", "threshold", "ratio", "patch_index"])
def test_a_state_with_a_missing_key_is_refused(missing):
    curriculum = Curriculum(epochs=9, tile_size=384)
    state = curriculum.state_dict()
    del state[missing]
    with pytest.raises(ArgumentError, match=f"missing or too many: {missing}"):
        curriculum.load_state_dict(state)


def test_what_is_no_mapping_is_refused():
    with pytest.raises(ArgumentError, match="not the state of a curriculum"):
        Curriculum(epochs=9, tile_size=384).load_state_dict([1, 2])


# ---- properties ----

losses = st.lists(st.one_of(st.floats(0, 1), st.floats(-1e6, 1e6)), max_size=60)
arguments = st.fixed_dictionaries(
    {
        "epochs": st.integers(10, 40),
        "warmup_epochs": st.integers(0, 10),
        "tile_size": st.sampled_from([224, 384, (256, 384), (96, 960), 32]),
        "patch_strategy": st.sampled_from(PATCH_STRATEGIES),
        "ratio_strategy": st.sampled_from(RATIO_STRATEGIES),
        "basic_ratio": st.floats(0.07, 1),
        "threshold": st.floats(0.01, 10),
        "threshold_factor": st.floats(0.01, 1),
        "jump": st.sampled_from([None, "odd", "even"]),
        "loop_epochs": st.integers(1, 5),
        "seed": st.integers(0, 2**64 - 1),
    }
)


@settings(deadline=None)
@given(arguments, losses)
def test_values_stay_legal_whatever_the_losses(arguments, losses):
    curriculum = Curriculum(**arguments)
    basic = arguments["basic_ratio"]
    low, high = max(0.5 * basic, 0.2), min(3 * basic, 0.9)
    height, width = curriculum.tile_size
    offered = legal_patch_sizes(arguments["tile_size"], jump=arguments["jump"])
    assert set(curriculum.patch_sizes) <= set(offered)
    last_threshold = arguments["threshold"]
    for loss in losses:
        assert curriculum.patch_size in curriculum.patch_sizes
        assert (height % curriculum.patch_size, width % curriculum.patch_size) == (0, 0)
        warming_up = min(curriculum.epoch, arguments["epochs"] - 1) < arguments["warmup_epochs"]
        if arguments["ratio_strategy"] == "fixed" or warming_up:
            assert curriculum.fix_ratio == basic
        else:
            assert low <= curriculum.fix_ratio <= high
        curriculum.step(loss)
        assert 0 <= curriculum.threshold <= last_threshold
        last_threshold = curriculum.threshold


@settings(deadline=None)
@given(arguments, losses)
def test_hold_only_ever_gets_harder_and_exactly_when_it_was_learned(arguments, losses):
    holding = {**arguments, "patch_strategy": "loss_hold", "ratio_strategy": "loss_hold", "warmup_epochs": 0}
    curriculum = Curriculum(**holding)
    for loss in losses:
        size, ratio, threshold = curriculum.patch_size, curriculum.fix_ratio, curriculum.threshold
        curriculum.step(loss)
        if loss <= threshold:
            assert curriculum.fix_ratio < ratio or ratio == max(0.5 * arguments["basic_ratio"], 0.2)
            assert curriculum.patch_size < size or size == curriculum.patch_sizes[0]
        else:
            assert (curriculum.patch_size, curriculum.fix_ratio, curriculum.threshold) == (
                size,
                ratio,
                threshold,
            )


@settings(deadline=None)
@given(arguments, losses, st.integers(0, 60))
def test_a_loaded_state_goes_on_as_the_saved_one(arguments, losses, cut):
    saved = Curriculum(**arguments)
    for loss in losses[:cut]:
        saved.step(loss)
    loaded = Curriculum(**arguments)
    loaded.step(0.0)  # whatever it was before must not matter
    loaded.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    for loss in losses[cut:]:
        assert (loaded.patch_size, loaded.fix_ratio) == (saved.patch_size, saved.fix_ratio)
        saved.step(loss)
        loaded.step(loss)
    assert loaded.state_dict() == saved.state_dict()
    assert repr(loaded) == repr(saved)
