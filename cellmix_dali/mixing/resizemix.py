"""ResizeMix (arXiv 2012.11101): another sample is shrunk as a whole and pasted anywhere."""

from __future__ import annotations

import numpy as np

from .._arguments import number, tile_shape
from ..errors import ArgumentError, unknown_name
from .action import Action
from .box_plan import BoxPlan
from .mixer import PASTED_BOX, TileMixer
from .resampling import INTERPOLATIONS

__all__ = ["ResizeMix"]


class ResizeMix(TileMixer):
    """Draws ResizeMix plans: Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels".

    The batch is mixed with probability `p`: both sides of the samples' partners (a permutation of the batch) are
    scaled by tau, drawn from U(low, high), and pasted at a place that is uniform among those within the tile. One draw
    serves the batch. Label weight of the partner: the box's area as a share of the tile, about tau**2.

    Parameters
    ----------
    low, high : float, default 0.1 and 0.8
        Bounds of tau, the paper's.
    interpolation : {"nearest", "linear"}, default "nearest"
        How the partner is shrunk: see `cellmix_dali.mixing.resampling`. "nearest" gives the same pixels in every
        engine; "linear", antialiased, within 1 level.
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    method = "ResizeMix"
    does = "another sample, made smaller, is pasted"
    paper = "2012.11101"
    label_weight = PASTED_BOX

    def __init__(
        self,
        *,
        p: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        low: float = 0.1,
        high: float = 0.8,
        interpolation: str = "nearest",
    ) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.low = number("low", low, low=0.0, high=1.0, above_low=True)
        self.high = number("high", high, low=0.0, high=1.0, above_low=True)
        if self.low > self.high:
            raise ArgumentError(f"low={low} is above high={high}: give the least and the greatest scale.")
        if interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("resize", interpolation=self.interpolation)

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BoxPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`."""
        self.check_batch_size(batch_size)
        tile = tile_shape(tile_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return BoxPlan.identity(batch_size, tile)
        scale = random.uniform(self.low, self.high)
        size = np.maximum(np.rint(np.array(tile) * scale).astype(np.int32), 1)
        place = random.integers(0, np.array(tile) - size + 1)
        return BoxPlan.pasted(
            tile,
            random.permutation(batch_size),
            np.concatenate([place, size]),
            (0, 0, *tile),
            interpolation=self.interpolation,
        )
