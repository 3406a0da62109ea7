"""Pictures for people: a batch before and after mixing, and what the curriculum did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["curriculum_picture", "mixed_picture"]

_COLOURS = ("#3b75af", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#7f7f7f")


def mixed_picture(
    path: Path,
    *,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    labels: NDArray[np.int32],
    soft_labels: NDArray[np.float32],
    classes: Sequence[str],
    title: str,
) -> None:
    """Draw a batch before mixing (upper row) and after it (lower row), with labels and soft labels.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    before, after : uint8 array (batch, height, width, 3)
        Tiles.
    labels : int array (batch,)
        Class indices before.
    soft_labels : float array (batch, classes)
        Labels after.
    classes : sequence of str
        Names of the classes.
    title : str
        Written on top.
    """
    count = len(before)
    figure = Figure(figsize=(1.75 * count, 4.9), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False, height_ratios=(4, 4, 1.1))
    figure.suptitle(title, fontsize=11)
    for column in range(count):
        colour = _COLOURS[labels[column] % len(_COLOURS)]
        _show(axes[0, column], before[column], classes[labels[column]], colour)
        _show(axes[1, column], after[column], "", "black")
        bars = axes[2, column]
        left = 0.0
        for index, share in enumerate(soft_labels[column]):
            bars.barh(0, share, left=left, color=_COLOURS[index % len(_COLOURS)])
            if share > 0.18:
                bars.text(left + share / 2, 0, f"{share:.2f}", ha="center", va="center", color="white", fontsize=8)
            left += float(share)
        bars.set_xlim(0, 1)
        bars.axis("off")
    for row, text in enumerate(("before", "after", "soft label")):
        axes[row, 0].annotate(
            text, (-0.06, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center", fontsize=10
        )
    handles = [
        axes[2, 0].barh(0, 0, color=_COLOURS[index % len(_COLOURS)], label=name) for index, name in enumerate(classes)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(classes), frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def curriculum_picture(path: Path, epochs: Sequence[Mapping[str, float]]) -> None:
    """Draw what the curriculum did, epoch by epoch.

    Parameters
    ----------
    path : Path
        The picture's file.
    epochs : sequence of mappings
        Each with ``epoch``, ``patch_size``, ``fix_ratio``, ``threshold``, ``train_loss``; optionally
        ``validation_loss`` and ``accuracy``.
    """
    numbers = [entry["epoch"] for entry in epochs]
    figure = Figure(figsize=(9, 7), layout="constrained")
    patch, ratio, loss = figure.subplots(3, 1, sharex=True)
    patch.step(numbers, [entry["patch_size"] for entry in epochs], where="mid", color=_COLOURS[0], marker="o")
    patch.set_ylabel("patch size [px]")
    patch.set_yticks(sorted({entry["patch_size"] for entry in epochs}))
    ratio.step(numbers, [entry["fix_ratio"] for entry in epochs], where="mid", color=_COLOURS[2], marker="o")
    ratio.set_ylabel("fix ratio")
    ratio.set_ylim(0, 1)
    loss.plot(
        numbers,
        [entry["train_loss"] for entry in epochs],
        color=_COLOURS[0],
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
        loss.plot(numbers, values, color=_COLOURS[1], marker="o", label="held-out loss")
    loss.set_ylabel("loss a sample")
    loss.set_xlabel("epoch")
    if all("accuracy" in entry for entry in epochs):
        accuracy = loss.twinx()
        values = [entry["accuracy"] for entry in epochs]
        loss.plot([], [], color=_COLOURS[3], marker=".", label="held-out accuracy")
        accuracy.plot(numbers, values, color=_COLOURS[3], marker=".")
        accuracy.set_ylabel("accuracy")
        accuracy.set_ylim(0, 1.02)
    loss.set_ylim(bottom=0)
    loss.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.17), frameon=False)
    for axis in (patch, ratio, loss):
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle("CellMix's curriculum: a loss at or below the threshold makes the next epoch harder", fontsize=11)
    figure.savefig(path, dpi=110)


def _show(axis: Axes, image: NDArray[np.uint8], title: str, colour: str) -> None:
    """One tile without ticks, framed in its colour."""
    axis.imshow(image)
    axis.set_title(title, fontsize=9, color=colour)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(2)
