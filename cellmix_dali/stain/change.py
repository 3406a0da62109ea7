"""What a normalisation does to an image: a few numbers, and their arithmetic in NumPy, which engines are held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, unknown_name
from .colour import LOG_LEVELS, from_lab, to_lab

__all__ = ["MEDIAN", "ChangeKind", "StainChange", "StainChanges"]

#: The target that is the collection's median.
MEDIAN = "median"

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
ChangeKind: TypeAlias = Literal["density", "lab"]


def _of_densities(image: ByteArray, matrix: FloatArray, offset: FloatArray) -> FloatArray:
    return 255.0 * np.exp(LOG_LEVELS[image] @ matrix.T + offset) - 1.0


def _of_lab(image: ByteArray, matrix: FloatArray, offset: FloatArray) -> FloatArray:
    return from_lab(to_lab(image) @ matrix.T + offset)


_ARITHMETIC = {"density": _of_densities, "lab": _of_lab}


@dataclass(frozen=True, eq=False)
class StainChange:
    """A change of an image's stain, the same for all of its pixels.

    With x the levels of red, green and blue, it is ``x' = 255 exp(M ln((x + 1) / 255) + b) - 1`` (kind "density"), or
    ``LAB(x') = M LAB(x) + b`` (kind "lab", where M is diagonal: a scale for each channel). An identity matrix without
    an offset leaves an image as it is.

    Attributes
    ----------
    kind : {"density", "lab"}
    matrix : float64 array (3, 3)
        M.
    offset : float64 array (3,)
        b; of LAB in its own units, L from 0 to 100.

    Raises
    ------
    ArgumentError
        If the kind is another, or the arrays are not such.
    """

    kind: ChangeKind
    matrix: FloatArray
    offset: FloatArray

    def __post_init__(self) -> None:
        _check(self.kind, self.matrix, self.offset, ())

    @classmethod
    def identity(cls, kind: ChangeKind) -> StainChange:
        """Return the change that leaves images of a kind's arithmetic as they are."""
        return cls(kind, np.eye(3), np.zeros(3))

    def apply(self, image: ByteArray) -> ByteArray:
        """Change an image, in float64.

        Parameters
        ----------
        image : uint8 array (..., 3)
            RGB.

        Returns
        -------
        uint8 array (..., 3)
            Rounded to the nearest level and clipped.

        Raises
        ------
        ArgumentError
            For anything but such an array.
        """
        if image.dtype != np.uint8 or image.ndim < 1 or image.shape[-1] != 3:
            raise ArgumentError(f"A stain change needs uint8 pixels (..., 3), got {image.dtype} {image.shape}.")
        changed = _ARITHMETIC[self.kind](image, self.matrix, self.offset)
        rounded: ByteArray = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        return rounded


@dataclass(frozen=True, eq=False)
class StainChanges:
    """One `StainChange` for each of several slides, as arrays: what a batch takes by its rows' slides.

    Attributes
    ----------
    kind : {"density", "lab"}
        Of all.
    matrices : float64 array (n, 3, 3)
    offsets : float64 array (n, 3)

    Raises
    ------
    ArgumentError
        If the kind is another, or the arrays are not such.
    """

    kind: ChangeKind
    matrices: FloatArray
    offsets: FloatArray

    def __post_init__(self) -> None:
        _check(self.kind, self.matrices, self.offsets, (len(self.matrices),))

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, number: int) -> StainChange:
        return StainChange(self.kind, self.matrices[number], self.offsets[number])


def _check(kind: str, matrix: FloatArray, offset: FloatArray, leading: tuple[int, ...]) -> None:
    """Refuse what is not a change, or several."""
    if kind not in _ARITHMETIC:
        raise unknown_name("kind of stain change", kind, _ARITHMETIC)
    if matrix.shape != (*leading, 3, 3) or offset.shape != (*leading, 3):
        raise ArgumentError(
            f"A stain change has a matrix (3, 3) and an offset (3,), got {matrix.shape} and {offset.shape}."
        )
    if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
        raise ArgumentError("A stain change has numbers that are not finite: fit its stain again.")
