"""Mixup (arXiv 1710.09412): convex combinations of pairs of samples."""

from __future__ import annotations

from .._arguments import number, tile_shape
from .action import Action
from .blend_plan import BlendPlan
from .mixer import TileMixer

__all__ = ["Mixup"]


class Mixup(TileMixer):
    """Draws Mixup plans: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    The batch is mixed with probability `p` (the paper: always): pixels and labels are lambda times the sample's own
    plus (1 - lambda) times its partner's; lambda is drawn from Beta(alpha, alpha), the partners from the permutations
    of the batch. As in the paper's implementation, one lambda serves the batch.

    Parameters
    ----------
    alpha : float, default 1.0
        Of the Beta distribution. The paper's: 1 on CIFAR, 0.2 on ImageNet.
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    method = "Mixup"
    does = "two samples are blended"
    paper = "1710.09412"
    label_weight = "lambda and 1 - lambda, as the pixels are blended"

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, alpha: float = 1.0) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.alpha = number("alpha", alpha, low=0.0, above_low=True)

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("share")

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BlendPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`."""
        self.check_batch_size(batch_size)
        tile_shape(tile_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return BlendPlan.identity(batch_size)
        share = random.beta(self.alpha, self.alpha)
        return BlendPlan.shared(random.permutation(batch_size), share)
