"""All methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import unknown_name
from .cellmix import CELLMIX_VARIANTS, CellMix
from .cutmix import CutMix
from .cutout import Cutout
from .fmix import FMix
from .mixer import Mixer
from .mixup import Mixup
from .resizemix import ResizeMix
from .saliencymix import SaliencyMix

__all__ = ["METHODS", "Method", "canonical_method", "make_mixer", "mixer_parameters", "mixes"]


@dataclass(frozen=True)
class Method:
    """What there is to know of a method.

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
        return issubclass(self.mixer, CellMix)


_BOX = "the share of the tile that the pasted box leaves, and that which it covers"

#: Every method: the eight of CellMix and those it is compared with.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(
            Method(name, "2301.11513", "batch", "the shares of patches by the tile they came from", CellMix)
            for name in CELLMIX_VARIANTS
        ),
        Method("Cutout", "1708.04552", "sample", "1: the label stays as it is", Cutout),
        Method("CutMix", "1905.04899", "batch", _BOX, CutMix),
        Method("Mixup", "1710.09412", "batch", "lambda and 1 - lambda, as the pixels are blended", Mixup),
        Method("SaliencyMix", "2006.01791", "batch", _BOX, SaliencyMix),
        Method("ResizeMix", "2012.11101", "batch", _BOX, ResizeMix),
        Method("FMix", "2002.12047", "batch", "the mask's mean, and the rest", FMix),
    )
}


def canonical_method(name: str) -> str:
    """Return the authors' spelling of a method's name; case, "-" and "_" make no difference.

    Raises
    ------
    ArgumentError
        If there is no such method, with the near miss.
    """
    known = {_folded(method): method for method in METHODS}
    found = known.get(_folded(name))
    if found is None:
        raise unknown_name("method", name, METHODS)
    return found


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
    if method.is_cellmix:
        return CellMix(method.name, p=p, seed=seed, rank=rank)
    return method.mixer(p=p, seed=seed, rank=rank, **parameters)


def mixes(name: str | None) -> bool:
    """Say whether a method's name asks for mixing: neither None nor "none", in any spelling."""
    return name is not None and _folded(name) != "none"


def mixer_parameters(mixer: Mixer) -> dict[str, Any]:
    """Return the parameters of a mixer's method as they are in force, as plain values: numbers, strings, lists."""
    values = {name: getattr(mixer, name) for name in METHODS[mixer.method].parameters}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _folded(name: str) -> str:
    """A name without what makes no difference."""
    return str(name).lower().replace("-", "").replace("_", "")
