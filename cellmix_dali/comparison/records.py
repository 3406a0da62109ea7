"""What a comparison keeps of one training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .._arguments import integer
from ..errors import ArgumentError

__all__ = ["BASELINE", "SCORES", "RunRecord"]

#: Name of the arm that trains without mixing.
BASELINE = "none"

#: Figures that every run has, as `cellmix_dali.training.metrics.scores` names them.
SCORES = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "auroc")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One training run: what it was, and what came out.

    Attributes
    ----------
    arm : str
        Name of the arm, such as "CellMix-Group" or "CellMix-Group, linear".
    method : str
        The mixing method in the authors' spelling, or "none".
    curriculum : str or None
        Such as "loss_hold", "linear+loss_hold" or "off"; None for methods that no curriculum steers.
    augment : str or None
        What changed training images, as it was asked for: a preset, an augmentation, a file, ``module:object``.
    recipe : str or None
        What that was, with all its parameters. A file may say something else later.
    fold : str
        The fold it was tested on.
    seed : int
        As the user counts them: 0, 1, 2.
    candidate : mapping of str to float
        The options with several values that matter to the arm, such as ``{"learning_rate": 0.003}``.
    best_epoch : int
        The epoch that was kept, counted from 0, chosen on the validation fold.
    validation, test : mapping of str to float
        The `SCORES` of the kept epoch.
    also_tested : mapping of str to mapping
        The `SCORES` of the test images under each augmentation under which they were tested once more.
    confusion : list of list of int
        Images of the test fold by class (rows) and answer (columns).
    epochs : list of dict of str to float
        One per epoch, as a training's report has them: ``epoch``, ``train_loss``, with a curriculum ``patch_size``
        [pixels], ``fix_ratio`` and ``threshold``, and figures of the validation fold.
    batch_losses : list of list of float
        Mean training loss per sample of every batch, by epoch.
    seconds : float
        Time it took.
    """

    arm: str
    method: str
    curriculum: str | None
    fold: str
    seed: int
    candidate: Mapping[str, float]
    best_epoch: int
    validation: Mapping[str, float]
    test: Mapping[str, float]
    confusion: list[list[int]]
    epochs: list[dict[str, float]]
    batch_losses: list[list[float]]
    seconds: float
    augment: str | None = None
    recipe: str | None = None
    also_tested: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[str, int]:
        """Fold and seed: all arms have the same start in one of these."""
        return self.fold, self.seed

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {
            name: dict(getattr(self, name)) for name in ("candidate", "validation", "test", "also_tested")
        }

    @classmethod
    def from_json(cls, value: Any) -> RunRecord:
        """Read what `to_json` gave.

        Parameters
        ----------
        value : object
            What was read from JSON.

        Returns
        -------
        RunRecord

        Raises
        ------
        ArgumentError
            If it is not a record; the message names what is missing or wrong.
        """
        if not isinstance(value, Mapping):
            raise _no_record(f"it is {type(value).__name__}, not a JSON object")
        value = {**_BEFORE, **value}
        names = [each.name for each in fields(cls)]
        missing = [name for name in names if name not in value]
        odd = [str(name) for name in value if name not in names]
        if missing or odd:
            parts = [f"{what} {', '.join(which)}" for what, which in (("it lacks", missing), ("has odd", odd)) if which]
            raise _no_record(" and ".join(parts))
        epochs = [_figures(f"epochs[{place}]", each) for place, each in enumerate(_list("epochs", value["epochs"]))]
        if not epochs:
            raise _no_record("epochs is empty")
        batch_losses = [
            [_number(f"batch_losses[{place}]", loss) for loss in _list(f"batch_losses[{place}]", losses)]
            for place, losses in enumerate(_list("batch_losses", value["batch_losses"]))
        ]
        if len(batch_losses) != len(epochs):
            raise _no_record(f"batch_losses has {len(batch_losses)} epochs, and epochs {len(epochs)}")
        try:
            return cls(
                arm=_text("arm", value["arm"]),
                method=_text("method", value["method"]),
                curriculum=_text_or_none("curriculum", value["curriculum"]),
                fold=_text("fold", value["fold"]),
                seed=integer("seed", value["seed"], low=0),
                candidate=_figures("candidate", value["candidate"]),
                best_epoch=integer("best_epoch", value["best_epoch"], low=0, high=len(epochs) - 1),
                validation=_scores("validation", value["validation"]),
                test=_scores("test", value["test"]),
                confusion=[
                    [integer("confusion", count, low=0) for count in _list("confusion", row)]
                    for row in _list("confusion", value["confusion"])
                ],
                epochs=epochs,
                batch_losses=batch_losses,
                seconds=_number("seconds", value["seconds"]),
                also_tested={
                    _text("a key of also_tested", change): _scores(f"also_tested[{change!r}]", scores)
                    for change, scores in _mapping("also_tested", value["also_tested"]).items()
                },
                augment=_text_or_none("augment", value["augment"]),
                recipe=_text_or_none("recipe", value["recipe"]),
            )
        except ArgumentError as error:
            raise error if str(error).startswith(_NO_RECORD) else _no_record(str(error).split(":")[0]) from error


#: What records of former versions do not say.
_BEFORE: Mapping[str, Any] = {"augment": None, "recipe": None, "also_tested": {}}
_NO_RECORD = "This is not a record of a run of a comparison"


def _no_record(why: str) -> ArgumentError:
    return ArgumentError(f"{_NO_RECORD}: {why}. Remove the file; the run is then done again.")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _no_record(f"{name} is {value!r}, not a text")
    return value


def _text_or_none(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _no_record(f"{name} is {type(value).__name__}, not a list")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _no_record(f"{name} holds {value!r}, not a finite number")
    return value


def _mapping(name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _no_record(f"{name} is {type(value).__name__}, not a JSON object")
    return value


def _figures(name: str, value: Any) -> dict[str, float]:
    value = _mapping(name, value)
    return {_text(f"a key of {name}", key): _number(f"{name}[{key!r}]", number) for key, number in value.items()}


def _scores(name: str, value: Any) -> dict[str, float]:
    found = _figures(name, value)
    missing = [score for score in SCORES if score not in found]
    if missing:
        raise _no_record(f"{name} lacks {', '.join(missing)}")
    return found
