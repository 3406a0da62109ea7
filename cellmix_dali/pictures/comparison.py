"""What a comparison of methods found: differences to training without mixing, and how the curricula acted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ._style import COLOURS

__all__ = ["CurriculumRow", "DifferenceRow", "curricula_picture", "differences_picture"]

_VERDICT_COLOURS = {"better": COLOURS[2], "worse": COLOURS[1], "too few pairs": COLOURS[3]}
_RARE = "too few pairs"
_UNDECIDED = "0.35"
_PER_CHARACTER = 0.078  # width of a character of the names, inches


class DifferenceRow(NamedTuple):
    """An arm of the comparison.

    Attributes
    ----------
    name : str
        The arm.
    differences : sequence of float
        To the baseline, one per fold and seed; shares, not points.
    mean : float
        Their mean.
    interval : (float, float) or None
        Of the mean.
    verdict : str
        "better" and "worse" have colours.
    """

    name: str
    differences: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    verdict: str


class CurriculumRow(NamedTuple):
    """An arm with a curriculum.

    Attributes
    ----------
    name : str
        The arm.
    note : str
        Written under it, of one line or several: how often it acted.
    runs : sequence of sequences of mappings
        By run and epoch: ``patch_size``, ``fix_ratio``, ``threshold`` and ``train_loss``.
    loss_driven : bool
        Whether the threshold matters, and is drawn.
    """

    name: str
    note: str
    runs: Sequence[Sequence[Mapping[str, float]]]
    loss_driven: bool


def differences_picture(
    path: Path,
    rows: Sequence[DifferenceRow],
    *,
    title: str,
    metric: str,
    to: str = "no mixing",
    note: str = "",
) -> None:
    """Draw the differences of every arm to the baseline, with their means and intervals.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    rows : sequence of DifferenceRow
        From top to bottom, one or more.
    title : str
        Written on top.
    metric : str
        What the differences are of, as a person says it.
    to : str
        What they are to.
    note : str
        Written below.
    """
    names = 0.3 + _PER_CHARACTER * max(len(row.name) for row in rows)
    figure = Figure(figsize=(6.6 + names, 1.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=1, zorder=1)
    for place, row in enumerate(rows):
        colour = _VERDICT_COLOURS.get(row.verdict, _UNDECIDED)
        # Spread a little, always in the same way, so that equal differences are all seen.
        spread = np.linspace(-0.22, 0.22, len(row.differences)) if len(row.differences) > 1 else [0.0]
        axes.scatter(100 * np.asarray(row.differences), place + np.asarray(spread), s=9, color=colour, alpha=0.4, lw=0)
        if row.interval is not None:
            low, high = row.interval
            axes.plot([100 * low, 100 * high], [place, place], color=colour, lw=2.2, solid_capstyle="butt", zorder=3)
        axes.plot(100 * row.mean, place, marker="D", ms=5.5, color=colour, zorder=4)
        axes.annotate(
            _figures(row), (1.015, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour
        )
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.965", zorder=0, lw=0)
    axes.annotate("mean [95 % interval]", (1.015, -0.62), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    reach = 1.08 * max(abs(100 * value) for row in rows for value in (*row.differences, *(row.interval or ())))
    axes.set_xlim(-max(reach, 0.5), max(reach, 0.5))
    label = f"difference to {to} in {metric} [percentage points]: worse to the left, better to the right"
    axes.set_xlabel(label + (f"\n{note}" if note else ""), fontsize=8)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.suptitle(title, fontsize=10)
    figure.legend(
        handles=_legend(rows), loc="outside lower center", ncols=6, fontsize=8, frameon=False, handletextpad=0.4
    )
    figure.savefig(path, dpi=110)


def curricula_picture(path: Path, rows: Sequence[CurriculumRow], *, title: str) -> None:
    """Draw what the curriculum of every arm did: all runs faint, their median strong.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    rows : sequence of CurriculumRow
        From top to bottom, one or more; the runs of a row have the same number of epochs.
    title : str
        Written on top.
    """
    figure = Figure(figsize=(12.5, 1.0 + 1.45 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False, sharex="col", sharey="col", width_ratios=(0.86, 1, 1, 1.15))
    for line, row in zip(grid, rows, strict=True):
        words, patch, ratio, loss = line
        words.set_axis_off()
        words.text(0, 1, row.name, fontsize=9, weight="bold", va="top", transform=words.transAxes)
        words.annotate(
            row.note,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, -16),
            textcoords="offset points",
            fontsize=7.2,
            va="top",
            color="0.25",
            linespacing=1.25,
        )
        _draw_runs(patch, row, "patch_size", COLOURS[0], stepped=True)
        _draw_runs(ratio, row, "fix_ratio", COLOURS[2], stepped=True)
        _draw_runs(loss, row, "train_loss", COLOURS[1], stepped=False)
        if row.loss_driven:
            _draw_runs(loss, row, "threshold", "black", stepped=True, dashed=True)
        for axes in (patch, ratio, loss):
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=7)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    for column in (1, 2, 3):
        grid[0, column].set_xlim(-0.5, max(len(run) for row in rows for run in row.runs) - 0.5)
    sizes = sorted({entry["patch_size"] for row in rows for run in row.runs for entry in run})
    grid[0, 1].set_yscale("log")
    grid[0, 1].set_yticks(sizes, [f"{size:g}" for size in sizes])
    grid[0, 1].set_yticks([], minor=True)
    grid[0, 2].set_ylim(0, 1)
    grid[0, 3].set_ylim(bottom=0)
    for column, name in enumerate(
        ("patch size [px]", "fix ratio", "training loss per sample; threshold dashed"), start=1
    ):
        grid[0, column].set_title(name, fontsize=9)
        grid[-1, column].set_xlabel("epoch", fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=100)


def _draw_runs(axes: Axes, row: CurriculumRow, name: str, colour: str, *, stepped: bool, dashed: bool = False) -> None:
    """One quantity of every run, and the median; of two in the middle the lower one, which is a real value."""
    values = np.array([[entry[name] for entry in run] for run in row.runs])
    median = np.quantile(values, 0.5, axis=0, method="inverted_cdf")
    epochs = np.arange(1, values.shape[1] + 1)
    drawn = "steps-mid" if stepped else "default"
    for run in values:
        axes.plot(epochs, run, color=colour, lw=0.8, alpha=0.25, drawstyle=drawn)
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, median, color=colour, lw=1.8, ls="--" if dashed else "-", marker=marker, ms=3, drawstyle=drawn)


def _figures(row: DifferenceRow) -> str:
    """An arm's mean and interval in points."""
    # + 0.0: what rounds to zero has no minus.
    mean, *ends = (f"{round(100 * value, 1) + 0.0:+.1f}" for value in (row.mean, *(row.interval or ())))
    return f"{mean} [{', '.join(ends)}]" if ends else f"{mean} [one pair only]"


def _legend(rows: Sequence[DifferenceRow]) -> list[Line2D]:
    """What the marks mean."""
    dot = Line2D([], [], marker="o", ls="", ms=3.5, color="0.35", alpha=0.4, label="one fold and seed")
    mean = Line2D([], [], marker="D", ms=5, color="0.35", lw=2, label="mean, 95 % interval")
    verdicts = _VERDICT_COLOURS | {"no difference seen": _UNDECIDED}
    if all(row.verdict != _RARE for row in rows):
        del verdicts[_RARE]
    return [dot, mean, *(Line2D([], [], color=colour, lw=5, label=name) for name, colour in verdicts.items())]
