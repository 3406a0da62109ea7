"""SaliencyMix (arXiv 2006.01791): the box around another sample's most salient pixel is pasted at its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import number, tile_shape
from ..errors import ArgumentError
from ._boxes import clipped_boxes, cut_size
from .action import Action
from .box_plan import BoxPlan
from .mixer import PASTED_BOX, TileMixer

__all__ = ["SaliencyCut", "SaliencyMix"]


@dataclass(frozen=True, eq=False)
class SaliencyCut:
    """What SaliencyMix draws before it has seen the images.

    Attributes
    ----------
    tile_size : tuple of int
        Height and width in pixels.
    source : int32 array (batch,)
        The sample from which each box comes.
    size : tuple of int
        Height and width of the box before it is clipped.
    triggered : bool
        False if the batch stays as it is.
    """

    tile_size: tuple[int, int]
    source: NDArray[np.int32]
    size: tuple[int, int]
    triggered: bool = True

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return int(self.source.size)

    def plan(self, peaks: ArrayLike) -> BoxPlan:
        """Make the plan, given all samples' salient pixels (batch, 2): y, x."""
        if not self.triggered:
            return BoxPlan.identity(self.batch_size, self.tile_size)
        at = np.asarray(peaks)
        inside = at.shape == (self.batch_size, 2) and (at >= 0).all() and (at < self.tile_size).all()
        if not inside or not np.issubdtype(at.dtype, np.integer):
            raise ArgumentError(
                f"peaks must be integers y, x within tiles of {self.tile_size[0]} x {self.tile_size[1]} pixels, shape "
                f"({self.batch_size}, 2); got {at.dtype} of shape {at.shape}. See mixing.saliency.saliency_peaks."
            )
        return BoxPlan.pasted(self.tile_size, self.source, clipped_boxes(at[self.source], self.size, self.tile_size))


class SaliencyMix(TileMixer):
    """Draws SaliencyMix plans: Uddin et al., "SaliencyMix: A Saliency Guided Data Augmentation Strategy...", ICLR 2021.

    The batch is mixed with probability `p`: lambda is drawn from Beta(alpha, alpha), the partners from the permutations
    of the batch; the box of sqrt(1 - lambda) of both sides lies around the partner's most salient pixel, and what is
    beyond the border is cut off. As in the paper, each sample's box lies where its own partner is salient. (The
    implementation takes the place of the first sample for the whole batch.) Label weight of the partner: the area of
    the box that is left, as a share of the tile.

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

    method = "SaliencyMix"
    does = "a box around the other sample's salient point is pasted"
    paper = "2006.01791"
    label_weight = PASTED_BOX

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, alpha: float = 1.0) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.alpha = number("alpha", alpha, low=0.0, above_low=True)

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("saliency")

    def draw_cut(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> SaliencyCut:
        """Draw what does not depend on the images; for the arguments see `draw`."""
        self.check_batch_size(batch_size)
        tile = tile_shape(tile_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return SaliencyCut(tile, np.arange(batch_size, dtype=np.int32), (0, 0), triggered=False)
        size = cut_size(tile, 1.0 - random.beta(self.alpha, self.alpha))
        return SaliencyCut(tile, random.permutation(batch_size).astype(np.int32), size)

    def draw(
        self,
        batch_size: int,
        tile_size: int | tuple[int, int],
        *,
        epoch: int,
        iteration: int,
        peaks: ArrayLike | None = None,
    ) -> BoxPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`.

        Parameters
        ----------
        batch_size, tile_size, epoch, iteration
            See `cellmix_dali.mixing.TileMixer.draw`.
        peaks : int array (batch, 2)
            Each sample's most salient pixel, y and x, see `cellmix_dali.mixing.saliency.saliency_peaks`.
        """
        if peaks is None:
            raise ArgumentError("SaliencyMix needs peaks=saliency_peaks(images): where each image is most salient.")
        return self.draw_cut(batch_size, tile_size, epoch=epoch, iteration=iteration).plan(peaks)
