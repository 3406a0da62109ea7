"""States of a curriculum at their limits, the loss at the threshold, and warm-up and loops from both sides."""

from __future__ import annotations

from typing import Any

import pytest

from cellmix_dali import Curriculum
from cellmix_dali.errors import ArgumentError


def curriculum(**given: Any) -> Curriculum:
    return Curriculum(**{"epochs": 12, "tile_size": (96, 64), "token_size": 16, "threshold": 0.8} | given)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("epoch", (0, 99), (-1, 0.5, None)),
        ("threshold", (0, 0.8), (-1e-9, 0.8001, None)),
        ("ratio", (0.25, 0.9), (0.2499, 0.9001, None)),
        ("patch_index", (0, 1), (-1, 2, 0.5)),
    ],
)
def test_values_of_a_state(name: str, taken: tuple[Any, ...], refused: tuple[Any, ...]) -> None:
    made = curriculum()
    assert len(made.patch_sizes) == 2
    state = made.state_dict()
    for value in taken:
        made.load_state_dict(state | {name: value})
        assert made.state_dict() == state | {name: value}
    before = made.state_dict()
    for value in refused:
        with pytest.raises(ArgumentError, match=name):
            made.load_state_dict(state | {name: value})
        assert made.state_dict() == before


def test_a_state_of_what_no_loss_drives_may_have_any_ratio() -> None:
    made = curriculum(ratio_strategy="decay", patch_strategy="linear")
    state = made.state_dict()
    for value in (0, 1):
        made.load_state_dict(state | {"ratio": value})
    for value in (-0.001, 1.001):
        with pytest.raises(ArgumentError, match="ratio"):
            made.load_state_dict(state | {"ratio": value})


@pytest.mark.parametrize("extra", [{}, {"more": 1}])
def test_keys_of_a_state(extra: dict[str, int]) -> None:
    made = curriculum()
    state = made.state_dict()
    if extra:
        with pytest.raises(ArgumentError, match="missing or too many: more"):
            made.load_state_dict(state | extra)
    for name in state:
        if name != "settings":
            with pytest.raises(ArgumentError, match=f"missing or too many: {name}"):
                made.load_state_dict({key: value for key, value in state.items() if key != name})
    for name in state["settings"]:
        with pytest.raises(ArgumentError, match=f"other settings: {name} .saved 'x', here"):
            made.load_state_dict(state | {"settings": state["settings"] | {name: "x"}})
    with pytest.raises(ArgumentError, match=r"more .saved 1, here None"):
        made.load_state_dict(state | {"settings": state["settings"] | {"more": 1}})


@pytest.mark.parametrize("strategy", ["loss_hold", "loss_back"])
@pytest.mark.parametrize(("loss", "harder"), [(0.8, True), (0.8000001, False)])
def test_a_loss_at_the_threshold_is_reached(strategy: str, loss: float, harder: bool) -> None:
    made = curriculum(patch_strategy=strategy, ratio_strategy=strategy, basic_ratio=0.2, threshold_factor=0.5)
    ratio, size = made.fix_ratio, made.patch_size
    assert ratio == pytest.approx(0.6)  # three times the basic one
    made.step(loss)
    assert made.threshold == (0.4 if harder else 0.8)
    assert made.fix_ratio == pytest.approx(0.54 if harder else 0.6)
    assert made.patch_size == (made.patch_sizes[-2] if harder else size)
    made.step(0.1 if not harder else 9)
    if harder:  # back again, as far as it may
        assert made.fix_ratio == pytest.approx(0.594 if strategy == "loss_back" else 0.54)
        assert made.patch_size == (made.patch_sizes[-1] if strategy == "loss_back" else made.patch_sizes[-2])
        made.step(9)
        assert made.fix_ratio == pytest.approx(0.6 if strategy == "loss_back" else 0.54)


def test_of_two_strategies_each_moves_for_itself() -> None:
    patch = curriculum(patch_strategy="loss_hold", ratio_strategy="fixed", fix_ratio=0.4)
    ratio = curriculum(patch_strategy="fixed", patch_size=32, ratio_strategy="loss_hold")
    neither = curriculum(patch_strategy="linear", ratio_strategy="decay", threshold_factor=0.5)
    for made in (patch, ratio, neither):
        made.step(0.1)
    assert (patch.fix_ratio, patch.patch_size) == (0.4, patch.patch_sizes[-2])
    assert (ratio.fix_ratio, ratio.patch_size) == (pytest.approx(0.81), 32)
    assert [made.threshold for made in (patch, ratio, neither)] == [pytest.approx(0.8 * 0.933)] * 2 + [0.8]


def test_warm_up_ends_after_its_epochs_and_loops_turn_after_theirs() -> None:
    made = curriculum(patch_strategy="loop", ratio_strategy="decay", warmup_epochs=3, loop_epochs=2, tile_size=(96, 96))
    seen = []
    for _ in range(14):
        seen.append((made.patch_size, made.fix_ratio))
        made.step(0.1)
    sizes = made.patch_sizes
    assert [size for size, _ in seen[:3]] == [32] * 3
    assert [ratio for _, ratio in seen[:3]] == [0.5] * 3
    assert [size for size, _ in seen[3:12]] == [sizes[number // 2 % len(sizes)] for number in range(9)]
    assert seen[12] == seen[13] == seen[11]  # beyond its plan
    assert made.epoch == 14
    whole = curriculum(warmup_epochs=12)
    for _ in range(13):
        assert whole.fix_ratio == 0.5
        whole.step(0.1)
