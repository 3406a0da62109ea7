"""Records of runs that nobody trained: of a curriculum that is real, and figures that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from cellmix_dali import Curriculum
from cellmix_dali.comparison.arms import make_arms
from cellmix_dali.comparison.records import RunRecord

IMAGE_SIZE, BATCHES = 128, 5


def scores(balanced_accuracy: float, loss: float = 0.7) -> dict[str, float]:
    """All figures of a fold."""
    others = {"accuracy": balanced_accuracy + 0.02, "macro_f1": balanced_accuracy - 0.01, "auroc": 0.9}
    return {"loss": loss, "balanced_accuracy": balanced_accuracy} | others


def run_record(
    arm: str = "none",
    fold: str = "1",
    seed: int = 0,
    *,
    test: float = 0.6,
    validation: float = 0.6,
    validation_loss: float = 0.7,
    candidate: Mapping[str, float] | None = None,
    **changes: Any,
) -> RunRecord:
    """One record; the arm is its method, and has no curriculum unless `changes` give one."""
    values: dict[str, Any] = {
        "arm": arm,
        "method": arm,
        "curriculum": None,
        "fold": fold,
        "seed": seed,
        "candidate": candidate or {},
        "best_epoch": 1,
        "validation": scores(validation, validation_loss),
        "test": scores(test),
        "confusion": [[3, 1], [0, 4]],
        "epochs": [{"epoch": 0, "train_loss": 0.9, "validation_loss": 0.8}, {"epoch": 1, "train_loss": 0.7}],
        "batch_losses": [[0.95, 0.85], [0.75, 0.65]],
        "seconds": 12.5,
    }
    return RunRecord(**(values | changes))


def drawn_records(
    *, methods: tuple[str, ...], curricula: tuple[str, ...], folds: int = 5, seeds: int = 3, epochs: int = 10
) -> list[RunRecord]:
    """Records of a whole comparison, plausible and always the same."""
    random = np.random.default_rng(7)
    records = []
    effects = {name: 0.02 * random.standard_normal() for name in (*methods, *curricula)}
    starts = {(fold, seed): 0.02 * random.standard_normal() for fold in range(folds) for seed in range(seeds)}
    for arm in make_arms(methods, curricula):
        for (fold, seed), start in starts.items():
            effect = 0.0 if arm.method == "none" else effects[arm.method] + effects.get(arm.curriculum or "", 0)
            balanced = 0.62 + 0.03 * (fold - 2) + start + effect + 0.02 * random.standard_normal()
            entries, losses = _epochs(arm.strategies if arm.curriculum else None, epochs, random)
            records.append(
                run_record(
                    arm.name,
                    str(fold + 1),
                    seed,
                    test=balanced,
                    validation=balanced + 0.01,
                    method=arm.method,
                    curriculum=arm.curriculum,
                    epochs=entries,
                    batch_losses=losses,
                )
            )
    return records


def _epochs(
    strategies: tuple[str, str] | None, epochs: int, random: np.random.Generator
) -> tuple[list[dict[str, float]], list[list[float]]]:
    curriculum = None
    if strategies is not None:
        patch, ratio = strategies
        curriculum = Curriculum(epochs=epochs, tile_size=IMAGE_SIZE, patch_strategy=patch, ratio_strategy=ratio)
    entries, losses = [], []
    for epoch in range(epochs):
        mean = 0.25 + 1.2 * np.exp(-4 * epoch / epochs) + 0.06 * random.standard_normal()
        own = [round(float(loss), 5) for loss in np.abs(mean + 0.08 * random.standard_normal(BATCHES))]
        entry = {"epoch": epoch, "train_loss": float(np.mean(own)), "validation_loss": float(mean + 0.1)}
        if curriculum is not None:
            entry |= {name: getattr(curriculum, name) for name in ("patch_size", "fix_ratio", "threshold")}
            curriculum.step(entry["train_loss"])
        entries.append(entry)
        losses.append(own)
    return entries, losses


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunRecord]:
    """Make one record: see `run_record`."""
    return run_record


@pytest.fixture(scope="session")
def many_records() -> list[RunRecord]:
    """5 folds, 3 seeds, three methods, CellMix-Group under every curriculum that has a name."""
    return drawn_records(
        methods=("none", "CutMix", "Mixup", "CellMix-Group"),
        curricula=("loss_hold", "loss_back", "linear", "reverse", "random", "loop", "off", "linear+loss_hold"),
        seeds=3,
    )
