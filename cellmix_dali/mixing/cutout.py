"""Cutout (arXiv 1708.04552): a square of each sample is blanked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._arguments import integer, number, tile_shape
from ..errors import ArgumentError
from ._boxes import clipped_boxes
from .action import Action
from .box_plan import CONSTANT, BoxPlan
from .mixer import TileMixer
from .mixing_matrix import MixingMatrix

__all__ = ["Cutout"]

# The paper sets normalised pixels to zero: to the mean colour, here that of ImageNet.
_MEAN_COLOUR = (124, 116, 104)


class Cutout(TileMixer):
    """Draws Cutout plans: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout".

    Each sample by itself is blanked with probability `p` (the paper: always): a square whose centre is uniform over
    the tile's pixels; the part beyond the border is cut off. Labels stay as they are: the mixing matrix
    is the unit matrix.

    Parameters
    ----------
    side : int or float, default 0.5
        Side of the square: in pixels, or (a float) as a share of the tile's shorter side. The paper's for CIFAR-10:
        16 of 32 pixels; it is to be tuned to the data.
    fill : int or sequence of int, default (124, 116, 104)
        Value, 0 to 255, for all channels or one per channel. The paper fills with zeros after the mean is taken out: so
        with the mean colour, by default ImageNet's.
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    method = "Cutout"
    does = "a square is erased"
    paper = "1708.04552"
    trigger = "sample"
    label_weight = "1: the label stays"

    def __init__(
        self,
        *,
        p: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        side: int | float = 0.5,
        fill: int | Sequence[int] = _MEAN_COLOUR,
    ) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        if isinstance(side, float):
            self.side: int | float = number("side", side, low=0.0, high=1.0, above_low=True)
        else:
            self.side = integer("side", side, low=1)
        values = list(fill) if isinstance(fill, Sequence) else [fill]
        if not values:
            raise ArgumentError("fill=() cannot be used: give one value from 0 to 255, or one per channel.")
        self.fill = np.array([integer("fill", value, low=0, high=255) for value in values], np.uint8)

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("fill", fill=tuple(self.fill.tolist()))

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BoxPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`."""
        self.check_batch_size(batch_size)
        tile = tile_shape(tile_size)
        side = round(self.side * min(tile)) if isinstance(self.side, float) else self.side
        random = self._random(epoch, iteration)
        chosen = random.random(batch_size) < self.p
        centres = random.integers(0, tile, (batch_size, 2))
        if not chosen.any():
            return BoxPlan.identity(batch_size, tile)
        boxes = np.where(chosen[:, None], clipped_boxes(centres, (side, side), tile), 0).astype(np.int32)
        return BoxPlan(
            tile_size=tile,
            source=np.full(batch_size, CONSTANT, np.int32),
            source_boxes=boxes,
            boxes=boxes,
            fill=self.fill,
            matrix=MixingMatrix.unit(batch_size),
        )
