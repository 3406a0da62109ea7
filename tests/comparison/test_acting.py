"""How curricula acted: counted by hand, and the authors' schedulers in the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cellmix_dali.comparison.acting import how_curricula_acted, replay_authors
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.curriculum import patch_scheduler, ratio_scheduler

Make = Callable[..., RunRecord]
SIZE = 128  # patches of 16, 32 and 64


@pytest.fixture
def steered(make_run: Make) -> Callable[..., RunRecord]:
    """Make a run with these values by epoch and two batches per epoch, of the epoch's loss."""

    def make(
        curriculum: str,
        patches: Sequence[int],
        ratios: Sequence[float],
        losses: Sequence[float] = (),
        seed: int = 0,
        validation: Sequence[float] | None = None,
        batches: int = 2,
        threshold: float = 0.5,
    ) -> RunRecord:
        losses = losses or [1.0] * len(patches)
        entries = [
            {"epoch": epoch, "patch_size": patch, "fix_ratio": ratio, "threshold": threshold, "train_loss": loss}
            for epoch, (patch, ratio, loss) in enumerate(zip(patches, ratios, losses, strict=True))
        ]
        for entry, loss in zip(entries, validation or [], strict=False):
            entry["validation_loss"] = loss
        return make_run(
            f"CellMix-Group, {curriculum}", "1", seed, method="CellMix-Group", curriculum=curriculum, epochs=entries,
            batch_losses=[[loss] * batches for loss in losses],
        )  # fmt: skip

    return make


def test_changes_by_hand(steered: Callable[..., RunRecord]) -> None:
    runs = [
        steered("loss_hold", [64, 64, 32, 32, 16], [0.9, 0.9, 0.81, 0.81, 0.729]),
        steered("loss_hold", [64, 64, 64, 64, 64], [0.9, 0.9, 0.9, 0.9, 0.9], seed=1),
    ]
    (acting,) = how_curricula_acted(runs, SIZE)
    assert (acting.arm, acting.curriculum, acting.runs) == ("CellMix-Group, loss_hold", "loss_hold", 2)
    assert (acting.epochs, acting.batches, acting.loss_driven) == (5, 20, ("patch_size", "fix_ratio"))
    patch, ratio, threshold = (acting.changes[name] for name in ("patch_size", "fix_ratio", "threshold"))
    assert (patch.epochs, patch.batches, patch.runs, patch.first_epoch) == (1.0, 4, 1, 2.0)
    assert (patch.start, patch.end, patch.low, patch.high) == (64, 40, 16, 64)
    assert (ratio.start, ratio.end) == pytest.approx((0.9, 0.8145))
    assert (threshold.epochs, threshold.batches, threshold.runs, threshold.first_epoch) == (0, 0, 0, None)
    assert acting.moved == 6  # three epochs of one run


def test_only_what_follows_the_loss_counts_as_moved(steered: Callable[..., RunRecord]) -> None:
    (acting,) = how_curricula_acted([steered("linear+loss_hold", [16, 32, 64], [0.9, 0.9, 0.81])], SIZE)
    assert (acting.loss_driven, acting.moved) == (("fix_ratio",), 2)
    assert acting.changes["patch_size"].batches == 4
    for curriculum in ("linear", "off", "random", "fixed+decay"):
        (plain,) = how_curricula_acted([steered(curriculum, [16, 32, 64], [0.9, 0.6, 0.3])], SIZE)
        assert (plain.loss_driven, plain.moved, plain.authors) == ((), None, None)


def test_methods_without_a_curriculum_are_passed_over(make_run: Make) -> None:
    assert how_curricula_acted([make_run("none"), make_run("CutMix")], SIZE) == []


def test_the_authors_threshold_is_soon_out_of_reach(steered: Callable[..., RunRecord]) -> None:
    """A batch at 0.4 per sample is below T until T x 0.933 ** n is no longer above it: n = 4 calls."""
    assert 0.5 * 0.933**3 > 0.4 > 0.5 * 0.933**4
    run = steered("loss_hold", [64] * 10, [0.9] * 10, [0.4] * 10, batches=10, validation=[0.4] * 10)
    replay = replay_authors(run, SIZE)
    assert replay.batches == 100
    # In the plan's first epochs the ratio is at its upper bound: 0.9 times it is lower all the same.
    assert replay.by_batch_loss == 4
    assert replay.by_validation_loss == 4  # known from the second epoch on
    high = steered("loss_hold", [64] * 10, [0.9] * 10, [0.6] * 10, batches=10)
    assert replay_authors(high, SIZE).by_batch_loss == 0
    assert replay_authors(high, SIZE).by_validation_loss is None
    # A threshold of twice that lets more through: 0.4 < 1.0 x 0.933 ** 13.
    assert 0.933**13 > 0.4 > 0.933**14
    wide = steered("loss_hold", [64] * 10, [0.9] * 10, [0.4] * 10, batches=10, threshold=1.0)
    assert replay_authors(wide, SIZE).by_batch_loss == 14


def test_a_loss_rounded_to_zero_is_a_low_loss(steered: Callable[..., RunRecord]) -> None:
    run = steered("loss_hold", [64] * 4, [0.9] * 4, [0.0] * 4)
    # Every batch leans, but for the last epoch, whose plan is at its lower bounds already.
    assert replay_authors(run, SIZE).by_batch_loss == 6


@pytest.mark.parametrize("curriculum", ["loss_hold", "loss_back", "linear+loss_hold", "loss_back+decay"])
def test_replay_as_the_authors_script_calls(many_records: list[RunRecord], curriculum: str) -> None:
    """Against the same calls written out: both schedulers, T = 4.0, a loss summed over 8 samples."""
    base = next(record for record in many_records if record.curriculum == "loss_hold")
    run = RunRecord(**(vars(base) | {"curriculum": curriculum}))
    patch_name, _, ratio_name = curriculum.partition("+")
    ratio_name = ratio_name or patch_name
    arguments = {"total_epochs": len(run.epochs), "warmup_epochs": 0}
    patch = patch_scheduler(edge_size=SIZE, strategy=patch_name, threshold=4.0, **arguments)
    ratio = ratio_scheduler(basic_ratio=0.5, strategy=ratio_name, threshold=4.0, **arguments)
    expected = 0
    for epoch, losses in enumerate(run.batch_losses):
        for loss in losses:
            plan = (patch(epoch), ratio(epoch))
            expected += (patch(epoch, 8 * loss), ratio(epoch, 8 * loss)) != plan
    replay = replay_authors(run, SIZE)
    assert (replay.batches, replay.by_batch_loss) == (50, expected)
    assert 0 < expected < 50
