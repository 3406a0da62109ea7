"""What every strategy of the curriculum would do on one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._style import COLOURS

__all__ = ["strategies_picture"]

_WIDTH = 9.0  # inches
_STRIP = 0.29  # height of a strategy's strip, inches
_PER_CHARACTER = 0.075  # width of a digit of the patch sizes, inches


def strategies_picture(
    path: Path,
    *,
    losses: Sequence[float],
    thresholds: Sequence[float],
    learned: Sequence[bool],
    patch_sizes: Mapping[str, Sequence[int]],
    fix_ratios: Mapping[str, Sequence[float]],
    source: str,
    title: str,
    warmup_epochs: int = 0,
) -> None:
    """Draw a loss, and epoch by epoch the patch size and the fix ratio that each strategy would take.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    losses, thresholds : sequence of float
        One per epoch: mean loss per sample, and what it is compared with.
    learned : sequence of bool
        Whether an epoch's loss was low enough to make the next one harder.
    patch_sizes : mapping of str to sequence of int
        Pixels, one per epoch, by strategy.
    fix_ratios : mapping of str to sequence of float
        One per epoch, by strategy.
    source : str
        Where the loss is from.
    title : str
        Written on top.
    warmup_epochs : int, default 0
        Epochs of warm-up, shaded.
    """
    heights = (1.5, 0.25 + _STRIP * len(patch_sizes), 1.9)
    figure = Figure(figsize=(_WIDTH, sum(heights) + 1.5), layout="constrained")
    loss, patch, ratio = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    figure.suptitle(title, fontsize=11)
    _draw_loss(loss, losses, thresholds, learned, source)
    _draw_patch_sizes(patch, patch_sizes)
    _draw_fix_ratios(ratio, fix_ratios)
    ratio.set_xlabel("epoch", fontsize=9)
    ratio.set_xlim(-0.5, len(losses) - 0.5)
    ratio.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss, patch, ratio):
        axes.tick_params(labelsize=8)
        if warmup_epochs and axes is not patch:
            axes.axvspan(-0.5, warmup_epochs - 0.5, color="0.92", zorder=0)
    if warmup_epochs:
        loss.text(-0.3, 0.04, "warm-up", transform=loss.get_xaxis_transform(), fontsize=8, color="0.4")
    figure.savefig(path, dpi=110)


def _draw_loss(
    axes: Axes, losses: Sequence[float], thresholds: Sequence[float], learned: Sequence[bool], source: str
) -> None:
    """The loss, the threshold, and which epochs counted as learned."""
    epochs = np.arange(len(losses))
    axes.plot(epochs, losses, color="0.45", lw=1.2, zorder=2)
    low = np.asarray(learned)
    axes.scatter(epochs[~low], np.asarray(losses)[~low], s=14, color="0.45", zorder=3, label=source)
    harder = "learned: the next epoch is harder"
    axes.scatter(epochs[low], np.asarray(losses)[low], s=22, color=COLOURS[1], zorder=3, label=harder)
    axes.step(epochs, thresholds, where="mid", color="black", ls="--", lw=1, label="threshold")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss per sample", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, handletextpad=0.4)
    axes.grid(alpha=0.3)


def _draw_patch_sizes(axes: Axes, patch_sizes: Mapping[str, Sequence[int]]) -> None:
    """One strip a strategy: the smaller the patches, the darker."""
    sizes = sorted({size for values in patch_sizes.values() for size in values})
    shades = colormaps["GnBu"](np.linspace(0.9, 0.2, len(sizes))) if len(sizes) > 1 else colormaps["GnBu"]([0.5])
    for row, values in enumerate(patch_sizes.values()):
        room = 0.82 * _WIDTH / len(values)
        start = 0
        for size, run in groupby(values):
            length = len(list(run))
            place = sizes.index(size)
            axes.barh(row, length, left=start - 0.5, height=0.82, color=shades[place], edgecolor="white", lw=0.6)
            if length * room > _PER_CHARACTER * (len(str(size)) + 0.5):
                ink = "white" if shades[place][:3].mean() < 0.55 else "black"
                axes.text(start + (length - 1) / 2, row, str(size), ha="center", va="center", fontsize=7.5, color=ink)
            start += length
    axes.set_yticks(range(len(patch_sizes)), list(patch_sizes))
    axes.set_ylim(len(patch_sizes) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("patch size [px]", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_fix_ratios(axes: Axes, fix_ratios: Mapping[str, Sequence[float]]) -> None:
    """One line a strategy."""
    for number, (name, values) in enumerate(fix_ratios.items()):
        # Later lines are narrower, so that equal ones are all seen.
        axes.step(range(len(values)), values, where="mid", color=COLOURS[number], lw=3.2 - 0.6 * number, label=name)
    axes.set_ylim(0, 1)
    axes.set_ylabel("fix ratio", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=len(fix_ratios))
