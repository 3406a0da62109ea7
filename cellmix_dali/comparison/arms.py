"""What is compared: methods, those of CellMix under one or several curricula, and the values to choose among."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ..curriculum.curriculum import LOSS_DRIVEN, PATCH_STRATEGIES, RATIO_STRATEGIES
from ..errors import ArgumentError, unknown_name
from ..mixing import METHODS, canonical_method
from .records import BASELINE

__all__ = [
    "CURRICULA",
    "OPTIONS",
    "Arm",
    "candidates",
    "make_arms",
    "parse_curricula",
    "parse_methods",
    "parse_values",
    "slug",
]

#: Strategies of patch size and fix ratio, by the one name that says both; after the authors' scripts, which let the
#: ratio decay under every plan for the patch size. "off" keeps both constant.
CURRICULA = {
    "loss_hold": ("loss_hold", "loss_hold"),
    "loss_back": ("loss_back", "loss_back"),
    "linear": ("linear", "decay"),
    "reverse": ("reverse", "decay"),
    "random": ("random", "decay"),
    "loop": ("loop", "decay"),
    "off": ("fixed", "fixed"),
}

#: Options that may have several values, in the order in which they are told.
OPTIONS = ("learning_rate", "p", "threshold")


@dataclass(frozen=True)
class Arm:
    """One thing that is compared.

    Attributes
    ----------
    name : str
        For a person: the method, and the curriculum where several are compared.
    method : str
        In the authors' spelling, or "none".
    curriculum : str or None
        One of `CURRICULA` or PATCH+RATIO; None for methods that no curriculum steers.
    """

    name: str
    method: str
    curriculum: str | None = None

    @property
    def strategies(self) -> tuple[str, str]:
        """The curriculum's strategies of patch size and fix ratio; constants where there is no curriculum."""
        return _strategies(self.curriculum or "off")

    @property
    def options(self) -> tuple[str, ...]:
        """Those of `OPTIONS` that change this arm's training."""
        mixes = self.method != BASELINE
        looks = any(strategy in LOSS_DRIVEN for strategy in self.strategies)
        return ("learning_rate",) + ("p",) * mixes + ("threshold",) * looks

    @property
    def slug(self) -> str:
        """The name of its folder: of method and curriculum alone, whatever else is compared."""
        return slug(self.method if self.curriculum is None else f"{self.method}_{self.curriculum}")


def parse_methods(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of methods; "none" comes first, and is added where it is missing.

    Raises
    ------
    ArgumentError
        If a method is unknown, or none is given.
    """
    given = [BASELINE if name.lower() == BASELINE else canonical_method(name) for name in _parts("--methods", text)]
    return tuple(dict.fromkeys([BASELINE, *given]))


def parse_curricula(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of curricula, NAME or PATCH+RATIO; a pair that has a name gets it.

    Raises
    ------
    ArgumentError
        If a strategy is unknown, or none is given.
    """
    names = {strategies: name for name, strategies in CURRICULA.items()}
    found = []
    for part in _parts("--curricula", text):
        strategies = _strategies(part)
        found.append(names.get(strategies, "+".join(strategies)))
    return tuple(dict.fromkeys(found))


def parse_values(option: str, text: str) -> tuple[float, ...]:
    """Read comma-separated numbers.

    Raises
    ------
    ArgumentError
        If one is not a number, or none is given.
    """
    try:
        return tuple(dict.fromkeys(float(part) for part in _parts(option, text)))
    except ValueError as error:
        raise ArgumentError(f"{option} {text}: give numbers, comma-separated.") from error


def make_arms(methods: Sequence[str], curricula: Sequence[str]) -> list[Arm]:
    """Return every method, those of CellMix once for every curriculum.

    Parameters
    ----------
    methods, curricula : sequence of str
        As `parse_methods` and `parse_curricula` gave them.
    """
    arms = []
    for method in methods:
        if method == BASELINE or not METHODS[method].is_cellmix:
            arms.append(Arm(method, method))
            continue
        for curriculum in curricula:
            name = method if len(curricula) == 1 else f"{method}, {curriculum}"
            arms.append(Arm(name, method, curriculum))
    return arms


def candidates(arm: Arm, values: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Return every combination of the options that change an arm's training, the first option slowest.

    Parameters
    ----------
    arm : Arm
        The arm.
    values : mapping of str to sequence of float
        Of each of `OPTIONS`.
    """
    return [
        dict(zip(arm.options, combination, strict=True))
        for combination in product(*(values[option] for option in arm.options))
    ]


def slug(name: str) -> str:
    """Return the name of a file for a name: small letters, digits, "_", "+", "." and "-"."""
    return re.sub(r"[^a-z0-9_+.-]+", "-", name.lower())


def _strategies(curriculum: str) -> tuple[str, str]:
    """The strategies that a curriculum's name, or PATCH+RATIO, means."""
    patch, plus, ratio = curriculum.partition("+")
    if not plus:
        if curriculum not in CURRICULA:
            raise unknown_name("curriculum", curriculum, (*CURRICULA, "PATCH+RATIO"))
        return CURRICULA[curriculum]
    for what, strategy, known in (("patch", patch, PATCH_STRATEGIES), ("ratio", ratio, RATIO_STRATEGIES)):
        if strategy not in known:
            raise unknown_name(f"{what} strategy in {curriculum!r}:", strategy, known)
    return patch, ratio


def _parts(option: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ArgumentError(f"{option} {text!r}: give at least one.")
    return parts
