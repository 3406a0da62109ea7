"""CutMix (arXiv 1905.04899): a box of another sample is pasted at its place."""

from __future__ import annotations

from .._arguments import number, tile_shape
from ._boxes import clipped_boxes, cut_size
from .action import Action
from .box_plan import BoxPlan
from .mixer import PASTED_BOX, TileMixer

__all__ = ["CutMix"]


class CutMix(TileMixer):
    """Draws CutMix plans: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers...", ICCV 2019.

    The batch is mixed with probability `p`: lambda is drawn from Beta(alpha, alpha), the samples' partners from the
    permutations of the batch, and one box of sqrt(1 - lambda) of both sides around a centre that is uniform over the
    tile's pixels. As in the paper's implementation, one draw serves the batch, and what lies beyond the border is cut
    off. Label weight of the partner: the area of the box that is left, as a share of the tile.

    Parameters
    ----------
    alpha : float, default 1.0
        Of the Beta distribution; the paper's 1 makes lambda uniform.
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`. The paper's p: 0.5 on CIFAR, 1 on ImageNet.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    method = "CutMix"
    does = "a box of another sample is pasted in its place"
    paper = "1905.04899"
    label_weight = PASTED_BOX

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, alpha: float = 1.0) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.alpha = number("alpha", alpha, low=0.0, above_low=True)

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("paste")

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BoxPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`."""
        self.check_batch_size(batch_size)
        tile = tile_shape(tile_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return BoxPlan.identity(batch_size, tile)
        size = cut_size(tile, 1.0 - random.beta(self.alpha, self.alpha))
        centre = random.integers(0, tile)
        return BoxPlan.pasted(tile, random.permutation(batch_size), clipped_boxes(centre, size, tile))
