"""What a comparison found, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from .acting import Acting
from .choice import Choice
from .differences import PairedDifferences
from .words import METRIC_NAMES, arm_name, counted, figure, interval, points

__all__ = ["AlsoTested", "ArmFigures", "Report"]

_VERDICT_STYLES = {"better": "green", "worse": "red"}


@dataclass(frozen=True, kw_only=True)
class ArmFigures:
    """The test figures of one arm, over folds and seeds.

    Attributes
    ----------
    arm : str
        The arm.
    runs : int
        How many count: one per fold and seed.
    scores : mapping of str to (float, float or None)
        Mean and standard deviation over the runs (None of a single one), by `SCORES`.
    seconds : float
        Mean time of a run.
    """

    arm: str
    runs: int
    scores: Mapping[str, tuple[float, float | None]]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AlsoTested:
    """The figures of the test images under an augmentation, by the models that were tested without.

    Attributes
    ----------
    change : str
        The augmentation, as it was asked for.
    arms : tuple of ArmFigures
        In the order of the report's.
    differences : tuple of PairedDifferences
        To the baseline under the same augmentation, in the report's metric.
    to_unchanged : tuple of PairedDifferences
        Of every arm to itself on the images as they are, in the report's metric.
    """

    change: str
    arms: tuple[ArmFigures, ...]
    differences: tuple[PairedDifferences, ...]
    to_unchanged: tuple[PairedDifferences, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "change": self.change,
            "arms": [asdict(arm) for arm in self.arms],
            "differences": [_difference_json(each) for each in self.differences],
            "to_unchanged": [_difference_json(each) for each in self.to_unchanged],
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a comparison found.

    Attributes
    ----------
    data : str
        What it was made on, in a few words.
    metric : str
        What the verdicts are about.
    baseline : str
        The arm that the others are compared with.
    compared : tuple of str
        What differs among the arms: "mixing", "augmentation".
    folds : tuple of str
        Folds that were tested on.
    seeds : tuple of int
        As the user counts them.
    arms : tuple of ArmFigures
        In the order of their first record.
    differences : tuple of PairedDifferences
        To the baseline, in `metric`.
    other_differences : tuple of PairedDifferences
        The same in all other metrics.
    choices : tuple of Choice
        The candidate of every arm and fold.
    acting : tuple of Acting
        How the curricula acted.
    also_tested : tuple of AlsoTested
        What came of the test images under further augmentations.
    failed : mapping of str to str
        Runs that failed, with the reason.
    settings : mapping of str to object
        How it was made, as JSON values.
    """

    data: str
    metric: str
    baseline: str
    compared: tuple[str, ...]
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmFigures, ...]
    differences: tuple[PairedDifferences, ...]
    other_differences: tuple[PairedDifferences, ...]
    choices: tuple[Choice, ...]
    acting: tuple[Acting, ...]
    also_tested: tuple[AlsoTested, ...] = ()
    failed: Mapping[str, str]
    settings: Mapping[str, object]

    @property
    def against(self) -> str:
        """The baseline within a sentence."""
        return arm_name(self.baseline, self.compared)

    @property
    def size(self) -> str:
        """How many folds and seeds, in words."""
        return f"{counted(len(self.folds), 'fold')} x {counted(len(self.seeds), 'seed')}"

    @property
    def table(self) -> Table:
        """Every arm with its figure, its difference to the baseline, and the verdict."""
        by_arm = {each.arm: each for each in self.differences}
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("arm")
        for name in (METRIC_NAMES[self.metric], "difference", "95 % interval"):
            table.add_column(name, justify="right")
        table.add_column("verdict")
        for arm in self.arms:
            cells = [escape(arm.arm), figure(*arm.scores[self.metric])]
            difference = by_arm.get(arm.arm)
            if difference is None:
                table.add_row(*cells, "", "", "compared with")
                continue
            style = _VERDICT_STYLES.get(difference.verdict)
            table.add_row(*cells, points(difference.mean), interval(difference), difference.verdict, style=style)
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "data": self.data,
            "metric": self.metric,
            "baseline": self.baseline,
            "compared": list(self.compared),
            "folds": list(self.folds),
            "seeds": list(self.seeds),
            "arms": [asdict(arm) for arm in self.arms],
            "differences": [_difference_json(each) for each in (*self.differences, *self.other_differences)],
            "choices": [
                {
                    "arm": choice.arm,
                    "fold": choice.fold,
                    "candidate": dict(choice.candidate),
                    "candidates": choice.candidates,
                    "validation_balanced_accuracy": choice.validation,
                }
                for choice in self.choices
            ],
            "curricula": [asdict(acting) for acting in self.acting],
            "also_tested": [each.to_json() for each in self.also_tested],
            "failed": dict(self.failed),
            "settings": dict(self.settings),
        }


def _difference_json(difference: PairedDifferences) -> dict[str, Any]:
    pairs = [{"fold": fold, "seed": seed, "difference": of} for (fold, seed), of in difference.pairs.items()]
    names = ("arm", "metric", "mean", "interval", "over", "verdict", "left_out")
    return {name: getattr(difference, name) for name in names} | {"pairs": pairs}
