"""All methods by name: a registry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .._registry import Registry, folded
from ..errors import ArgumentError, unknown_name
from .cellmix import CELLMIX_VARIANTS, CellMix
from .cutmix import CutMix
from .cutout import Cutout
from .fmix import FMix
from .mixer import Mixer
from .mixup import Mixup
from .resizemix import ResizeMix
from .saliencymix import SaliencyMix

__all__ = ["METHODS", "Method", "canonical_method", "make_mixer", "mixer_parameters", "mixes", "register_method"]


@dataclass(frozen=True)
class Method:
    """What is known of a method.

    Attributes
    ----------
    name : str
        The authors' spelling.
    paper : str
        arXiv number.
    trigger : {"batch", "sample"}
        What the probability p decides about.
    label_weight : str
        What a sample's label weight means.
    mixer : type
        Draws its plans.
    parameters : mapping
        The mixer's parameters with their defaults, beside p, seed and rank.
    """

    name: str
    paper: str
    trigger: str
    label_weight: str
    mixer: type[Mixer]
    parameters: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        own = inspect.signature(self.mixer).parameters.values()
        common = ("method", "p", "seed", "rank")
        defaults = {parameter.name: parameter.default for parameter in own if parameter.name not in common}
        object.__setattr__(self, "parameters", defaults)

    @property
    def is_cellmix(self) -> bool:
        """Whether patch size and fix ratio steer it."""
        return self.mixer.steered


#: Every method by the authors' spelling: the eight of CellMix, those it is compared with, and what was registered.
#: Packages add theirs by entry points of the group ``cellmix_dali.mixing_methods``, each naming a mixer's class.
METHODS: Registry[Method] = Registry(
    "method", "cellmix_dali.mixing_methods", lambda _, mixer: register_method(mixer), reserved=("none",)
)

_Class = TypeVar("_Class", bound="type[Mixer]")


def register_method(mixer: _Class, *names: str) -> _Class:
    """Enter a mixer among the methods; a decorator of its class.

    Operators, loaders and the command line then take it by its name. Its class describes it: see `Mixer`.

    Parameters
    ----------
    mixer : type
        A `TileMixer` with `method`, `action`, `label_weight` and, if you like, `does` and `paper`; of its
        ``__init__``, all arguments but p, seed and rank are the method's parameters, and attributes of the same names.
        What patch size and fix ratio steer is derived from `CellMix`.
    *names : str
        If it has several names, these: its argument ``method`` is then the name.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    ArgumentError
        If it is not such a class, says that it is steered and is not a `CellMix`, or a name is taken.
    """
    if not (isinstance(mixer, type) and issubclass(mixer, Mixer)) or inspect.isabstract(mixer):
        raise ArgumentError(f"{mixer!r} cannot be a method: give a class of TileMixer that has draw and action.")
    if mixer.steered and not issubclass(mixer, CellMix):
        raise ArgumentError(
            f"{mixer.__name__} cannot be a method: it says steered=True, and patch size, fix ratio and curriculum "
            "steer CellMix alone. Derive it from CellMix, or leave steered out."
        )
    for name in names or (mixer.method,):
        METHODS.add(name, Method(name, mixer.paper, mixer.trigger, mixer.label_weight, mixer))
    return mixer


def canonical_method(name: str) -> str:
    """Return the authors' spelling of a method's name; case, "-" and "_" make no difference.

    Raises
    ------
    ArgumentError
        If there is no such method, with the near miss.
    """
    return METHODS.canonical(name)


def make_mixer(name: str, *, p: float = 1.0, seed: int = 0, rank: int = 0, **parameters: Any) -> Mixer:
    """Make the mixer of a method.

    Parameters
    ----------
    name : str
        One of `METHODS`, in any spelling.
    p : float, default 1.0
        Probability of mixing: of a batch, or of a sample (Cutout).
    seed, rank : int, default 0
        Key of the draws.
    **parameters
        The method's own, see ``METHODS[name].parameters``.

    Returns
    -------
    Mixer

    Raises
    ------
    ArgumentError
        If the method or a parameter is unknown or out of range.
    """
    method = METHODS[canonical_method(name)]
    for parameter in parameters:
        if parameter not in method.parameters:
            raise unknown_name(f"parameter of {method.name}", parameter, method.parameters or ("none",))
    if "method" in inspect.signature(method.mixer).parameters:  # a class of several names
        parameters["method"] = method.name
    return method.mixer(p=p, seed=seed, rank=rank, **parameters)


def mixes(name: str | None) -> bool:
    """Say whether a method's name asks for mixing: neither None nor "none", in any spelling."""
    return name is not None and folded(name) != "none"


def mixer_parameters(mixer: Mixer) -> dict[str, Any]:
    """Return the parameters of a mixer's method as the mixer has them, as plain values: numbers, strings, lists."""
    values = {name: getattr(mixer, name) for name in METHODS[mixer.method].parameters}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


register_method(CellMix, *CELLMIX_VARIANTS)
for _mixer in (Cutout, CutMix, Mixup, SaliencyMix, ResizeMix, FMix):
    register_method(_mixer)
