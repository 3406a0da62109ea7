"""What is fitted to a stain: numbers that describe its colours, and what takes one stain to another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from .change import ChangeKind, StainChange

__all__ = ["FITS", "DensityFit", "LabFit", "StainFit"]

FloatArray = npt.NDArray[np.float64]
_Fit = TypeVar("_Fit", bound="StainFit")

_LEAST_ANGLE = 3.0  # degrees between two stains: below, a little noise of one is a lot of the other
_LEAST_CONCENTRATION, _LEAST_DEVIATION = 1e-3, 1e-3  # of what is stained, or varies, at all


@dataclass(frozen=True, eq=False)
class StainFit(ABC):
    """The colours of a stain, as a method has fitted them to pixels. See `DensityFit` and `LabFit`."""

    #: What a change from one such fit to another works on.
    kind: ClassVar[ChangeKind]
    #: Shape of each field.
    shapes: ClassVar[Mapping[str, tuple[int, ...]]]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = np.array(getattr(self, field.name), np.float64)
            if value.shape != self.shapes[field.name] or not np.isfinite(value).all():
                raise ArgumentError(
                    f"The stain's {field.name} {value.tolist()} cannot be used: finite numbers of shape "
                    f"{self.shapes[field.name]} are needed."
                )
            value.flags.writeable = False
            object.__setattr__(self, field.name, value if value.ndim else float(value))
        problem = self.problem()
        if problem:
            raise ArgumentError(f"The stain cannot be fitted: {problem}")

    @abstractmethod
    def problem(self) -> str:
        """Say, in a sentence, why these numbers describe no stain; empty where they do."""

    @abstractmethod
    def _change_to(self: _Fit, target: _Fit) -> StainChange: ...

    @classmethod
    @abstractmethod
    def _median(cls: type[_Fit], stacked: Mapping[str, FloatArray]) -> _Fit: ...

    def change_to(self, target: StainFit) -> StainChange:
        """Return what normalises: takes an image of this stain to the colours of another.

        Parameters
        ----------
        target : StainFit
            Of the same kind.

        Returns
        -------
        StainChange

        Raises
        ------
        ArgumentError
            If the target is of another kind.
        """
        if target.kind != self.kind:
            raise ArgumentError(
                f"The stain is fitted as {self.kind!r} and the target as {target.kind!r}: fit both by one method."
            )
        return self._change_to(target)

    @classmethod
    def median(cls: type[_Fit], fits: Sequence[_Fit]) -> _Fit:
        """Return the median of several fits, number by number.

        Raises
        ------
        ArgumentError
            If there are none.
        """
        if not fits:
            raise ArgumentError("There is no fitted stain to take the median of: fit at least one slide.")
        return cls._median({of.name: np.stack([getattr(fit, of.name) for fit in fits]) for of in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values, by name."""
        return {field.name: np.asarray(getattr(self, field.name)).tolist() for field in fields(self)}


@dataclass(frozen=True, eq=False)
class DensityFit(StainFit):
    """Two stains that absorb light by the law of Beer and Lambert: Macenko's and Vahadane's model.

    A change to another fit finds the concentrations of both stains in each pixel by least squares, scales them so that
    the greatest ones are the target's, and stains anew with the target's colours. What is of neither stain is dropped.

    Attributes
    ----------
    stains : float64 array (2, 3)
        Optical density of red, green and blue of haematoxylin (that which absorbs more red) and eosin, of length 1.
    concentrations : float64 array (2,)
        99th percentile of each stain's concentration.
    background : float
        Level of light that nothing absorbs.

    Raises
    ------
    ArgumentError
        If the two stains are nearly one, or one is hardly there.
    """

    stains: FloatArray
    concentrations: FloatArray
    background: float

    kind = "density"
    shapes = {"stains": (2, 3), "concentrations": (2,), "background": ()}  # noqa: RUF012

    def problem(self) -> str:
        """See `StainFit.problem`."""
        lengths = np.linalg.norm(self.stains, axis=1)
        if not (np.abs(lengths - 1) < 1e-6).all():
            return f"the colours of its stains have lengths {lengths.tolist()}, not 1."
        angle = float(np.degrees(np.arccos(np.clip(self.stains[0] @ self.stains[1], -1, 1))))
        if angle < _LEAST_ANGLE:
            return (
                f"its two stains have nearly one colour ({angle:.1f} degrees apart). Take more of the slide, with "
                "both stains, or the method reinhard, which needs no two stains."
            )
        if self.concentrations.min() < _LEAST_CONCENTRATION:
            return f"a stain is hardly there (concentrations {self.concentrations.tolist()}). Take more of the slide."
        if self.background <= 0:
            return f"the background's level is {self.background:g}."
        return ""

    def _change_to(self, target: DensityFit) -> StainChange:
        scale = target.concentrations / self.concentrations
        matrix = (target.stains.T * scale) @ np.linalg.pinv(self.stains.T)
        own, other = np.log(self.background / 255.0), np.log(target.background / 255.0)
        return StainChange("density", matrix, other - own * matrix.sum(axis=1))

    @classmethod
    def _median(cls, stacked: Mapping[str, FloatArray]) -> DensityFit:
        middle = {name: np.median(values, axis=0) for name, values in stacked.items()}
        stains = middle["stains"] / np.linalg.norm(middle["stains"], axis=1, keepdims=True)
        return cls(stains, middle["concentrations"], float(middle["background"]))


@dataclass(frozen=True, eq=False)
class LabFit(StainFit):
    """Mean and standard deviation of each channel of CIE LAB: Reinhard's model.

    Attributes
    ----------
    mean, std : float64 arrays (3,)
        Of L (0 to 100), a and b.

    Raises
    ------
    ArgumentError
        If a channel does not vary.
    """

    mean: FloatArray
    std: FloatArray

    kind = "lab"
    shapes = {"mean": (3,), "std": (3,)}  # noqa: RUF012

    def problem(self) -> str:
        """See `StainFit.problem`."""
        if self.std.min() < _LEAST_DEVIATION:
            return f"its pixels are of one colour (standard deviations of L, a, b: {self.std.tolist()})."
        return ""

    def _change_to(self, target: LabFit) -> StainChange:
        scale = target.std / self.std
        return StainChange("lab", np.diag(scale), target.mean - scale * self.mean)

    @classmethod
    def _median(cls, stacked: Mapping[str, FloatArray]) -> LabFit:
        return cls(np.median(stacked["mean"], axis=0), np.median(stacked["std"], axis=0))


#: The kinds of fits, by the kind of their changes.
FITS: Mapping[str, type[StainFit]] = {of.kind: of for of in (DensityFit, LabFit)}
