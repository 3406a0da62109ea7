"""The nested choice: which candidate counts for an arm in a fold, by the validation fold alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ArgumentError
from .records import RunRecord

__all__ = ["Choice", "choose", "chosen_runs"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate of an arm in a fold, and what it was chosen from.

    Attributes
    ----------
    arm, fold : str
        Where.
    candidate : mapping of str to float
        The options chosen; empty where there was nothing to choose.
    candidates : int
        How many there were to choose from.
    validation : float
        Mean over the seeds of the validation fold's balanced accuracy.
    runs : tuple of RunRecord
        The runs of the chosen candidate, by seed.
    """

    arm: str
    fold: str
    candidate: Mapping[str, float]
    candidates: int
    validation: float
    runs: tuple[RunRecord, ...]


def choose(records: Sequence[RunRecord]) -> list[Choice]:
    """Choose a candidate for each arm and fold; the test figures play no part.

    The one with the highest balanced accuracy on the validation fold, as a mean over seeds; of equal ones that with the
    lower validation loss, then that which comes first in `records`. A candidate that lacks runs of seeds which others
    have (they failed) is chosen only when none has more: means over different seeds cannot be compared.

    Parameters
    ----------
    records : sequence of RunRecord
        All runs there are, of all arms, folds, seeds and candidates.

    Returns
    -------
    list of Choice
        By arm, then by fold, each in the order of their first record.

    Raises
    ------
    ArgumentError
        If two records are of the same run.
    """
    found: dict[tuple[str, str], dict[tuple[tuple[str, float], ...], dict[int, RunRecord]]] = {}
    for record in records:
        runs = found.setdefault((record.arm, record.fold), {}).setdefault(_key(record), {})
        if record.seed in runs:
            raise ArgumentError(
                f"Two records are of the same run: arm {record.arm}, fold {record.fold}, seed {record.seed}, candidate "
                f"{dict(record.candidate)}. Remove one of their files."
            )
        runs[record.seed] = record
    choices = []
    for (arm, fold), candidates in found.items():
        best = max(candidates.values(), key=_goodness)  # the first of equal ones
        kept = tuple(best[seed] for seed in sorted(best))
        choices.append(
            Choice(
                arm=arm,
                fold=fold,
                candidate=dict(kept[0].candidate),
                candidates=len(candidates),
                validation=_mean([run.validation["balanced_accuracy"] for run in kept]),
                runs=kept,
            )
        )
    arms = list(dict.fromkeys(record.arm for record in records))
    return sorted(choices, key=lambda choice: arms.index(choice.arm))


def chosen_runs(choices: Sequence[Choice]) -> list[RunRecord]:
    """Return the runs whose test figures count, in the order of the choices."""
    return [run for choice in choices for run in choice.runs]


def _key(record: RunRecord) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(record.candidate.items()))


def _goodness(runs: Mapping[int, RunRecord]) -> tuple[int, float, float]:
    figures = [run.validation for run in runs.values()]
    accuracy = _mean([each["balanced_accuracy"] for each in figures])
    return len(figures), accuracy, -_mean([each["loss"] for each in figures])


def _mean(values: Sequence[float]) -> float:
    # fsum: equal values have equal means, in whatever order they come.
    return math.fsum(values) / len(values)
