"""The box plan: one box per sample is overwritten, by a constant or by a box of another sample."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from .mixing_matrix import MixingMatrix
from .plan import IGNORED, MixPlan
from .resampling import resample

__all__ = ["CONSTANT", "BoxPlan"]

CONSTANT = -1  # the source of a box that is filled


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxPlan(MixPlan):
    """One box per sample is overwritten (Cutout, CutMix, SaliencyMix, ResizeMix).

    Boxes are rows of y, x, height, width in pixels and lie within the tile; where height or width is 0, nothing
    happens to the sample.

    Attributes
    ----------
    tile_size : tuple of int
        Height and width of the samples, in pixels.
    source : int32 array (batch,)
        The sample from which the box comes; -1: it is filled with `fill`.
    source_boxes : int32 array (batch, 4)
        What of the source is taken. Where it has another size than the box, it is resized.
    boxes : int32 array (batch, 4)
        Where it goes.
    fill : uint8 array (1,) or (channels,)
        The constant, for all channels or one per channel.
    interpolation : {"nearest", "linear"}
        How a source box is resized: see `cellmix_dali.mixing.resampling`.
    """

    tile_size: tuple[int, int]
    source: NDArray[np.int32]
    source_boxes: NDArray[np.int32]
    boxes: NDArray[np.int32]
    fill: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(1, np.uint8))
    interpolation: str = "nearest"

    @classmethod
    def identity(cls, batch_size: int, tile_size: tuple[int, int]) -> BoxPlan:
        """Make the plan that changes nothing."""
        nothing = np.zeros((batch_size, 4), np.int32)
        return cls(
            tile_size=tile_size,
            source=np.arange(batch_size, dtype=np.int32),
            source_boxes=nothing,
            boxes=nothing,
            matrix=MixingMatrix.unit(batch_size),
            triggered=False,
        )

    @classmethod
    def pasted(
        cls,
        tile_size: tuple[int, int],
        source: ArrayLike,
        boxes: ArrayLike,
        source_boxes: ArrayLike | None = None,
        *,
        interpolation: str = "nearest",
    ) -> BoxPlan:
        """Make the plan that pastes boxes of other samples; a box's share of the tile is its label weight.

        Parameters
        ----------
        tile_size : tuple of int
            Height and width in pixels.
        source : array (batch,)
            The sample from which each box comes.
        boxes : array (batch, 4) or (4,)
            Where it goes: y, x, height, width; (4,): the same for all samples.
        source_boxes : array (batch, 4) or (4,), optional
            What is taken; by default the same place in the source.
        interpolation : {"nearest", "linear"}
            How boxes of another size are resized.
        """
        of = np.asarray(source, np.int32)
        to = np.ascontiguousarray(np.broadcast_to(np.asarray(boxes, np.int32), (of.size, 4)))
        taken = to if source_boxes is None else np.broadcast_to(np.asarray(source_boxes, np.int32), (of.size, 4))
        share = to[:, 2].astype(np.float64) * to[:, 3] / (tile_size[0] * tile_size[1])
        return cls(
            tile_size=tile_size,
            source=of,
            source_boxes=np.ascontiguousarray(taken),
            boxes=to,
            matrix=MixingMatrix.of_pairs(of, 1.0 - share),
            interpolation=interpolation,
        )

    def for_masks(self) -> BoxPlan:
        """Return the plan for class masks; see `MixPlan.for_masks`."""
        return replace(self, fill=np.array([IGNORED], np.uint8), interpolation="nearest")

    def apply(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Overwrite the boxes with plain NumPy; see `MixPlan.apply`."""
        if images.shape[:3] != (self.batch_size, *self.tile_size):
            raise ArgumentError(
                f"Images of shape {images.shape} do not fit a plan for {self.batch_size} samples of "
                f"{self.tile_size[0]} x {self.tile_size[1]} pixels."
            )
        if self.fill.size not in (1, images.shape[3]):
            raise ArgumentError(
                f"A fill of {self.fill.size} values does not fit images of {images.shape[3]} channels: give one "
                "value, or one per channel."
            )
        mixed = images.copy()
        for sample, (source, taken, box) in enumerate(
            zip(self.source.tolist(), self.source_boxes.tolist(), self.boxes.tolist(), strict=True)
        ):
            y, x, height, width = box
            if not height * width:
                continue
            if source == CONSTANT:
                mixed[sample, y : y + height, x : x + width] = self.fill.astype(images.dtype)
                continue
            top, left, rows, columns = taken
            part = images[source, top : top + rows, left : left + columns]
            mixed[sample, y : y + height, x : x + width] = resample(part, (height, width), self.interpolation)
        return mixed
