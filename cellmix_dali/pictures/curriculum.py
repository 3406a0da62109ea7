"""What the curriculum did in a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ._style import COLOURS

__all__ = ["curriculum_picture"]


def curriculum_picture(path: Path, epochs: Sequence[Mapping[str, float]]) -> None:
    """Draw what the curriculum did, epoch by epoch.

    Parameters
    ----------
    path : Path
        The picture's file.
    epochs : sequence of mappings
        Each with ``epoch`` (from 1), ``patch_size``, ``fix_ratio``, ``threshold``, ``train_loss``; optionally
        ``validation_loss``, ``accuracy``, and ``augment_strength``, which is drawn where it is not always 1.
    """
    numbers = [entry["epoch"] for entry in epochs]
    figure = Figure(figsize=(9, 7), layout="constrained")
    patch, ratio, loss = figure.subplots(3, 1, sharex=True)
    patch.step(numbers, [entry["patch_size"] for entry in epochs], where="mid", color=COLOURS[0], marker="o")
    patch.set_ylabel("patch size [px]")
    patch.set_yticks(sorted({entry["patch_size"] for entry in epochs}))
    ratio.step(numbers, [entry["fix_ratio"] for entry in epochs], where="mid", color=COLOURS[2], marker="o")
    ratio.set_ylabel("fix ratio")
    strengths = [entry.get("augment_strength", 1.0) for entry in epochs]
    if set(strengths) != {1.0}:
        strength = ratio.twinx()
        strength.step(numbers, strengths, where="mid", color=COLOURS[1], marker=".")
        strength.set_ylabel("augmentation strength", color=COLOURS[1])
        strength.set_ylim(-0.04 * max(strengths), 1.04 * max(strengths))
    ratio.set_ylim(-0.04, 1.04)  # markers at the ends are whole
    loss.plot(
        numbers,
        [entry["train_loss"] for entry in epochs],
        color=COLOURS[0],
        marker="o",
        label="training loss",
    )
    loss.step(
        numbers,
        [entry["threshold"] for entry in epochs],
        where="mid",
        color="black",
        ls="--",
        label="threshold",
    )
    if all("validation_loss" in entry for entry in epochs):
        values = [entry["validation_loss"] for entry in epochs]
        loss.plot(numbers, values, color=COLOURS[1], marker="o", label="validation loss")
    loss.set_ylabel("loss per sample")
    loss.set_xlabel("epoch")
    if all("accuracy" in entry for entry in epochs):
        accuracy = loss.twinx()
        values = [entry["accuracy"] for entry in epochs]
        loss.plot([], [], color=COLOURS[3], marker=".", label="validation accuracy")
        accuracy.plot(numbers, values, color=COLOURS[3], marker=".")
        accuracy.set_ylabel("accuracy")
        accuracy.set_ylim(0, 1.02)
    loss.set_ylim(0, 1.04 * loss.get_ylim()[1])  # markers at the top are whole
    loss.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.17), frameon=False)
    for axis in (patch, ratio, loss):
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    patch.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    figure.suptitle("CellMix's curriculum: a loss at or below the threshold makes the next epoch harder", fontsize=11)
    figure.savefig(path, dpi=110)
