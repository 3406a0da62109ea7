"""What an engine is: it moves the pixels of a plan and normalises them, as nodes of a DALI graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..colour_stages import Colour
from ..dali import DataNode, types
from ..plan_arrays import PlanNodes
from ..view_nodes import ViewNodes

__all__ = ["DTYPES", "KINDS", "Engine", "Normalisation"]

#: What a normalised image may consist of.
DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}
#: Kinds of plans that an engine is given, see `PlanArrays`; "saliency" has become "paste" before.
KINDS = frozenset({"paste", "fill", "resize", "share", "mask"})


@dataclass(frozen=True)
class Normalisation:
    """What is done to an image: ``(image / 255 - mean) / std``, cast, channels first.

    Attributes
    ----------
    mean, std : tuple of 3 floats
        Of R, G, B in [0, 1].
    dtype : {"float32", "float16"}
        Of the result.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: str = "float32"

    def constants(self) -> NDArray[np.float32]:
        """Return what is subtracted, (3,), and what multiplies then, (3,): in float32, as DALI works them out."""
        means, deviations = (np.array([255 * value for value in given], np.float32) for given in (self.mean, self.std))
        return np.concatenate([means, 1 / deviations]).astype(np.float32)

    def plainly(self, images: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Return what engines must make of images, (batch, height, width, 3): the same by NumPy, step by step."""
        numbers = self.constants()
        floats = (images.astype(np.float32) - numbers[:3]) * numbers[3:]
        return floats.transpose(0, 3, 1, 2).astype(self.dtype)


class Engine(ABC):
    """Code that moves the pixels of plans and normalises them.

    Attributes
    ----------
    name : str
        What users call it. On each device a name stands for one engine.
    devices : tuple of str
        Where the images may be: "cpu", "gpu".
    mixes : frozenset of str
        Kinds of plans that `mix` applies.
    fuses : frozenset of str
        Kinds of plans that `normalise` applies in its own pass over the pixels.
    fuses_colours : bool
        Whether `normalise` changes colours in its own pass, where nothing is measured by the images.
    colours : bool
        Whether it changes colours, and blurs.
    views : bool
        Whether it makes views of images in one pass.
    compiled : bool
        Whether it is compiled code, which sees bare memory: the images' channels are checked before it, and itself is
        tried by `self_check` before it is used.
    packages : tuple of str
        Modules whose versions are to be reported where it fails.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    mixes: ClassVar[frozenset[str]] = KINDS
    fuses: ClassVar[frozenset[str]] = frozenset()
    fuses_colours: ClassVar[bool] = False
    colours: ClassVar[bool] = False
    views: ClassVar[bool] = False
    compiled: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("nvidia.dali",)

    def require(self) -> None:  # noqa: B027 (most need nothing more)
        """Raise `MissingDependencyError` if this machine lacks what the engine needs."""

    def mix(
        self, images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
    ) -> DataNode:
        """Apply a plan alone.

        Parameters
        ----------
        images : DataNode, HWC
            Of the plan's size, on one of the engine's devices; of compiled engines uint8.
        plan : PlanNodes
            Of a kind in `mixes`.
        dtype : nvidia.dali.types.DALIDataType, optional
            Of the result; by default that of the images.
        name : str, optional
            Of the operator instance whose result is returned.

        Returns
        -------
        DataNode, HWC
        """
        raise NotImplementedError(f"{type(self).__name__} applies no plan alone, see its `mixes`.")

    def colour(self, images: DataNode, colour: Colour) -> DataNode:
        """Change the colours of images.

        Parameters
        ----------
        images : DataNode, uint8 HWC, 3 channels
            On one of the engine's devices.
        colour : Colour
            What is done, stage by stage.

        Returns
        -------
        DataNode, uint8 HWC
            Within 1 level of `colour_stages.plainly`.
        """
        raise NotImplementedError(f"{type(self).__name__} changes no colours, see its `colours`.")

    def blur(self, images: DataNode, sigma: DataNode, image_weight: DataNode) -> DataNode:
        """Blur images, or sharpen them; see `cellmix_dali.plugins.blur.blurred`.

        Parameters
        ----------
        images : DataNode, uint8 HWC, 3 channels
            On one of the engine's devices.
        sigma, image_weight : DataNode, float32 ()
            On the CPU.

        Returns
        -------
        DataNode, uint8 HWC
        """
        raise NotImplementedError(f"{type(self).__name__} does not blur, see its `colours`.")

    def view(self, images: DataNode, view: ViewNodes, how: Normalisation) -> DataNode:
        """Crop, resize, flip, colour, blur and normalise images; see `cellmix_dali.plugins.views.viewed`.

        Parameters
        ----------
        images : DataNode, uint8 HWC, 3 channels
            On one of the engine's devices.
        view : ViewNodes
            What is done; no stage is measured by the images.
        how : Normalisation
            Means, deviations and the type of the result.

        Returns
        -------
        DataNode, CHW
            Within 1 level of `view_nodes.plainly_viewed`.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no views, see its `views`.")

    @abstractmethod
    def normalise(
        self, images: DataNode, plan: PlanNodes | None, how: Normalisation, colour: Colour | None = None
    ) -> DataNode:
        """Normalise images; before that, in the same pass, change their colours and apply a plan.

        Parameters
        ----------
        images : DataNode, uint8 HWC, 3 channels
            On one of the engine's devices, with a plan all of its size.
        plan : PlanNodes or None
            Of a kind in `fuses`.
        how : Normalisation
            Means, deviations and the type of the result.
        colour : Colour, optional
            What is done to the images before they are mixed; of engines with `fuses_colours` only.

        Returns
        -------
        DataNode, CHW
        """
