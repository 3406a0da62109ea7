"""Figures of a comparison as a person reads them."""

from __future__ import annotations

from collections.abc import Collection

from .acting import Acting
from .differences import PairedDifferences
from .records import BASELINE

__all__ = ["METRIC_NAMES", "acting_note", "arm_name", "counted", "figure", "interval", "points", "question", "share"]

#: How a person says the metrics.
METRIC_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
}


def question(compared: Collection[str]) -> str:
    """What a comparison asks, of what differs among its arms: "mixing", "augmentation"."""
    what = " and ".join(compared) or "mixing"
    return f"{'Do' if len(compared) > 1 else 'Does'} {what} help?"


def arm_name(arm: str, compared: Collection[str]) -> str:
    """An arm within a sentence."""
    if arm != BASELINE:
        return arm
    return "neither mixing nor augmentation" if len(compared) > 1 else f"no {next(iter(compared), 'mixing')}"


def counted(count: int, what: str) -> str:
    """So many of something."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def figure(mean: float, deviation: float | None) -> str:
    """A share in percent, with its standard deviation over runs."""
    return f"{100 * mean:.1f} %" if deviation is None else f"{100 * mean:.1f} ± {100 * deviation:.1f} %"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points."""
    # + 0.0: what rounds to zero has no minus.
    return "" if difference is None else f"{round(100 * difference, 1) + 0.0:+.1f}"


def interval(difference: PairedDifferences) -> str:
    """An interval in percentage points."""
    if difference.interval is None:
        return "none: one pair only" if difference.pairs else "none: no pair"
    low, high = difference.interval
    return f"[{points(low)}, {points(high)}]"


def acting_note(acting: Acting) -> list[str]:
    """Say in short lines how a curriculum acted."""
    patch, ratio = acting.changes["patch_size"], acting.changes["fix_ratio"]
    steps = acting.epochs - 1
    if not patch.runs and not ratio.runs:
        lines = [f"patch {patch.start:g} px, ratio {ratio.start:.2f}: never changed"]
    else:
        lines = [
            f"patch {patch.start:.0f} to {patch.end:.0f} px, changed after {patch.epochs:.1f} of {steps} epochs",
            f"ratio {ratio.start:.2f} to {ratio.end:.2f}, changed after {ratio.epochs:.1f} of {steps} epochs",
        ]
    if acting.moved is not None:
        lines.append(f"{share(acting.moved, acting.batches)} not as at the start")
    if acting.authors is not None:
        lines.append(f"authors' code: {share(acting.authors.by_batch_loss, acting.authors.batches)} off its plan")
    return lines


def share(part: int, whole: int) -> str:
    """So many of all batches."""
    percent = 100 * part / whole if whole else 0.0
    return f"{part:,} of {whole:,} batches ({percent:.{2 if 0 < percent < 1 else 0}f} %)"
