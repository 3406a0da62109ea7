"""What is compared: methods, those of CellMix under several curricula, augmentations, and values to choose among."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    "parse_augmentations",
    "parse_curricula",
    "parse_methods",
    "parse_values",
    "recipe_of",
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
        For a person: the method, the curriculum where several are compared, and the augmentation.
    method : str
        In the authors' spelling, or "none".
    curriculum : str or None
        One of `CURRICULA` or PATCH+RATIO; None for methods that no curriculum steers.
    augment : str or None
        What changes training images, as `cellmix_dali.augment.augmentation` takes a text; None for nothing.
    """

    name: str
    method: str
    curriculum: str | None = None
    augment: str | None = None

    @property
    def strategies(self) -> tuple[str, str]:
        """The curriculum's strategies of patch size and fix ratio; constants where there is no curriculum."""
        return _strategies(self.curriculum or "off")

    @property
    def recipe(self) -> str | None:
        """What its augmentation is now, see `recipe_of`; None where there is none."""
        return None if self.augment is None else recipe_of(self.augment)

    @property
    def options(self) -> tuple[str, ...]:
        """Those of `OPTIONS` that change this arm's training."""
        mixes = self.method != BASELINE
        looks = any(strategy in LOSS_DRIVEN for strategy in self.strategies)
        return ("learning_rate",) + ("p",) * mixes + ("threshold",) * looks

    @property
    def slug(self) -> str:
        """The name of its folder: of method, curriculum and augmentation alone, whatever else is compared."""
        mixing = slug(self.method if self.curriculum is None else f"{self.method}_{self.curriculum}")
        if self.augment is None:
            return mixing
        name = slug(self.augment)
        if name != self.augment:  # other texts may have the same slug
            name += f"-{hashlib.sha256(self.augment.encode()).hexdigest()[:8]}"
        return f"{mixing}_with_{name}"


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


def parse_augmentations(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of augmentations; "none" comes first, and is added where it is missing.

    Raises
    ------
    ArgumentError
        If none is given. Whether each can be made is seen when the settings are checked.
    """
    given = [BASELINE if name.lower() == BASELINE else name for name in _parts("--augmentations", text)]
    return tuple(dict.fromkeys([BASELINE, *given]))


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


def make_arms(
    methods: Sequence[str], curricula: Sequence[str], augmentations: Sequence[str] = (BASELINE,)
) -> list[Arm]:
    """Return every method, those of CellMix once for every curriculum; all of them under every augmentation.

    Parameters
    ----------
    methods, curricula, augmentations : sequence of str
        As `parse_methods`, `parse_curricula` and `parse_augmentations` gave them.
    """
    mixing = []
    for method in methods:
        if method == BASELINE or not METHODS[method].is_cellmix:
            mixing.append(Arm(method, method))
            continue
        for curriculum in curricula:
            name = method if len(curricula) == 1 else f"{method}, {curriculum}"
            mixing.append(Arm(name, method, curriculum))
    return [_augmented(arm, change) for change in augmentations for arm in mixing]


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


def recipe_of(augment: str) -> str:
    """Return what an augmentation is, with all its parameters.

    Parameters
    ----------
    augment : str
        As `cellmix_dali.augment.augmentation` takes a text. Of a function, its name is all that is known.

    Raises
    ------
    ArgumentError
        If it cannot be made.
    """
    from ..augment import Augmentation, augmentation

    made = augmentation(augment)
    return repr(made) if isinstance(made, Augmentation) else augment


def slug(name: str) -> str:
    """Return the name of a file for a name: small letters, digits, "_", "+", "." and "-"."""
    return re.sub(r"[^a-z0-9_+.-]+", "-", name.lower())


def _augmented(arm: Arm, augment: str) -> Arm:
    """An arm under an augmentation; "none" is none."""
    if augment == BASELINE:
        return arm
    name = augment if arm.method == BASELINE else f"{arm.name} + {augment}"
    return replace(arm, name=name, augment=augment)


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
