"""Schedulers that take the place of the authors' own, with the same arguments and the same values.

They follow the plan of the epochs and deviate from it by the loss of the call, where Algorithm 1 of the paper
(arXiv 2301.11513) walks on from the value it has reached: for that, see `Curriculum`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cellmix_dali._arguments import fitting_patch_size, integer, number, tile_shape
from cellmix_dali.curriculum._course import plan_index, plan_ratio, ratio_bounds
from cellmix_dali.curriculum.curriculum import LOSS_DRIVEN
from cellmix_dali.curriculum.patch_sizes import legal_patch_sizes, nearest_patch_size
from cellmix_dali.errors import ArgumentError, unknown_name

__all__ = ["patch_scheduler", "ratio_scheduler"]

_LOOP_EPOCHS = 3
_LEANING = {1: 0.9, 0: 1.0, -1: 1.1}  # ratio of a harder, a planned and an easier call, over the plan's

# "ratio-decay" stands here as the authors' training script hands one name to both schedulers.
_PATCH_STRATEGIES = ("linear", "reverse", "random", "loop", "loss_hold", "loss_back", "fixed", "ratio-decay")
_RATIO_STRATEGIES = ("decay", "ratio-decay", "loss_hold", "loss_back", "fixed")


class _Scheduler:
    """What both schedulers share: the plan's length and the threshold that a call's loss is compared with."""

    def __init__(
        self,
        total_epochs: int,
        warmup_epochs: int,
        strategy: str | None,
        threshold: float,
        loss_reducing_factor: float,
    ) -> None:
        if threshold is None:
            raise ArgumentError(
                "threshold=None cannot be used: the authors' code announces an estimate from the warm-up and "
                "has none. Pass a number, such as their default, 4.0."
            )
        self.total_epochs = integer("total_epochs", total_epochs, low=0)
        self.warmup_epochs = integer("warmup_epochs", warmup_epochs, low=0)
        self.strategy = strategy
        self.threshold = number("threshold", threshold, low=0)
        factor = number("loss_reducing_factor", loss_reducing_factor, low=0, above_low=True)
        self.loss_reducing_factor = factor

    def _judge(self, loss: float) -> int:
        """Return 1 for harder than the plan, 0 for the plan, -1 for easier; a 1 shrinks the threshold."""
        if self.strategy not in LOSS_DRIVEN or loss == 0.0:  # a loss of 0 stands for "none known yet"
            return 0
        if loss < self.threshold:
            self.threshold *= self.loss_reducing_factor
            return 1
        return -1 if self.strategy == "loss_back" else 0


class patch_scheduler(_Scheduler):  # noqa: N801 - the authors' name
    """The authors' scheduler of the patch size: call it with the epoch and the loss.

    Parameters
    ----------
    total_epochs : int, default 200
        Epochs of the whole training, warm-up included.
    warmup_epochs : int, default 20
        Epochs at the start with the legal patch size nearest to 32; "random" and "fixed" know no warm-up.
    edge_size : int or (int, int), default 384
        The side of a square tile, or (height, width), in pixels.
    basic_patch : int, default 16
        The side of the model's tokens in pixels: patch sizes are multiples of it.
    strategy : str, optional
        "linear" (small to large), "reverse" (large to small), "random" (a new draw in every call), "loop" (small to
        large, 3 epochs each), "loss_hold" or "loss_back" (as reverse, one size on where the loss is below the
        threshold; at or above it, the plan's size or one size back). None, "fixed" and "ratio-decay": one
        size throughout.
    threshold : float, default 4.0
        What the loss is compared with, in the loss's own scale, 0 or more.
    loss_reducing_factor : float, default 0.933
        What the threshold is multiplied by at every call with a loss below it, above 0.
    fix_patch_size : int, optional
        The size of the fixed strategies in pixels, any that divides both sides of the tile into more than one
        patch; without it the smallest legal size. The other strategies ignore it.
    patch_size_jump : {None, "odd", "even"}, default None
        Thin out the patch sizes, see `legal_patch_sizes`; the warm-up's size is chosen from all of them.
    seed : int, optional
        Seed of "random". Without it the draws come from Python's `random`, so that `random.seed` rules them,
        as in the authors' code. An argument that the authors' class does not have.

    Attributes
    ----------
    patch_list : list of int
        The legal sizes in pixels, ascending, or descending for reverse, loss_hold and loss_back.
    threshold : float
        The threshold as it stands.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, no patch size fits the tile, or the strategy is unknown.

    Notes
    -----
    Returns what the authors' code for arXiv 2301.11513 returns, call for call, except where that code fails:
    it divides by zero when all epochs are warm-up (here: the end of the plan), takes an empty list of sizes,
    treats an unknown strategy as fixed, and warms up with 32 whether or not it fits the tile.
    """

    def __init__(
        self,
        total_epochs: int = 200,
        warmup_epochs: int = 20,
        edge_size: int | Sequence[int] = 384,
        basic_patch: int = 16,
        strategy: str | None = None,
        threshold: float = 4.0,
        loss_reducing_factor: float = 0.933,
        fix_patch_size: int | None = None,
        patch_size_jump: str | None = None,
        seed: int | None = None,
    ) -> None:
        if strategy is not None and strategy not in _PATCH_STRATEGIES:
            raise unknown_name("strategy", strategy, _PATCH_STRATEGIES)
        super().__init__(total_epochs, warmup_epochs, strategy, threshold, loss_reducing_factor)
        self.patch_list = list(legal_patch_sizes(edge_size, basic_patch, patch_size_jump))
        self.fix_patch_size = fix_patch_size
        self._fixed_size = self.patch_list[0]
        if fix_patch_size is not None and strategy in (None, "fixed", "ratio-decay"):
            self._fixed_size = fitting_patch_size("fix_patch_size", fix_patch_size, *tile_shape(edge_size))
        self._warmup_size = nearest_patch_size(legal_patch_sizes(edge_size, basic_patch))
        if strategy == "reverse" or strategy in LOSS_DRIVEN:
            self.patch_list.reverse()
        self._choice = random.choice if seed is None else random.Random(integer("seed", seed, low=0)).choice

    def __call__(self, epoch: int, loss: float = 0.0) -> int:
        """Return the patch size for an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0.
        loss : float, default 0.0
            The loss to compare with the threshold; 0.0 stands for none and gives the plan's size.

        Returns
        -------
        int
            The patch size in pixels.
        """
        sizes = self.patch_list
        if self.strategy == "random":
            return self._choice(sizes)
        if self.strategy in (None, "fixed", "ratio-decay"):
            return self._fixed_size
        if epoch < self.warmup_epochs:
            return self._warmup_size
        if self.strategy == "loop":
            return sizes[(epoch - self.warmup_epochs) // _LOOP_EPOCHS % len(sizes)]
        offset = self._judge(loss)
        return sizes[plan_index(epoch, self.total_epochs, self.warmup_epochs, len(sizes), offset)]


class ratio_scheduler(_Scheduler):  # noqa: N801 - the authors' name
    """The authors' scheduler of the fix ratio: call it with the epoch and the loss.

    Parameters
    ----------
    total_epochs : int, default 200
        Epochs of the whole training, warm-up included.
    warmup_epochs : int, default 20
        Epochs at the start with the basic ratio; the fixed strategies know no warm-up.
    basic_ratio : float, default 0.25
        The ratio from which the bounds follow, from 0 to 1.
    strategy : str, optional
        "decay" or "ratio-decay" (a straight line down from the greatest ratio), "loss_hold" or "loss_back"
        (that line times 0.9 where the loss is below the threshold; at or above it, times 1 or 1.1). None and
        "fixed": one ratio throughout.
    threshold : float, default 4.0
        What the loss is compared with, in the loss's own scale, 0 or more.
    fix_position_ratio : float, optional
        The ratio of the fixed strategies, from 0 to 1; without it the basic ratio. The others ignore it.
    loss_reducing_factor : float, default 0.933
        What the threshold is multiplied by at every call with a loss below it, above 0.
    ratio_floor_factor : float, default 0.5
        The least ratio is the basic ratio times this, but not below `lower_limit`; 0 or more.
    upper_limit : float, default 0.9
        The greatest ratio is three times the basic ratio, but not above this limit; from 0 to 1. It wins
        where a tiny basic ratio makes the bounds cross.
    lower_limit : float, default 0.2
        See `ratio_floor_factor`; from 0 to `upper_limit`.

    Attributes
    ----------
    threshold : float
        The threshold as it stands.

    Raises
    ------
    ArgumentError
        If an argument cannot be used or the strategy is unknown.

    Notes
    -----
    Returns what the authors' code for arXiv 2301.11513 returns, call for call, except where that code fails:
    it divides by zero when all epochs are warm-up (here: the end of the plan), takes
    ``fix_position_ratio=0.0`` for none, and treats an unknown strategy as fixed.
    """

    def __init__(
        self,
        total_epochs: int = 200,
        warmup_epochs: int = 20,
        basic_ratio: float = 0.25,
        strategy: str | None = None,
        threshold: float = 4.0,
        fix_position_ratio: float | None = None,
        loss_reducing_factor: float = 0.933,
        ratio_floor_factor: float = 0.5,
        upper_limit: float = 0.9,
        lower_limit: float = 0.2,
    ) -> None:
        if strategy is not None and strategy not in _RATIO_STRATEGIES:
            raise unknown_name("strategy", strategy, _RATIO_STRATEGIES)
        super().__init__(total_epochs, warmup_epochs, strategy, threshold, loss_reducing_factor)
        self.basic_ratio = number("basic_ratio", basic_ratio, low=0, high=1)
        self.fix_position_ratio = fix_position_ratio
        self.ratio_floor_factor = number("ratio_floor_factor", ratio_floor_factor, low=0)
        self.upper_limit = number("upper_limit", upper_limit, low=0, high=1)
        self.lower_limit = number("lower_limit", lower_limit, low=0, high=self.upper_limit)
        self._fixed_ratio = self.basic_ratio
        if fix_position_ratio is not None and strategy in (None, "fixed"):
            self._fixed_ratio = number("fix_position_ratio", fix_position_ratio, low=0, high=1)
        self._bounds = ratio_bounds(self.basic_ratio, self.ratio_floor_factor, self.lower_limit, self.upper_limit)

    def __call__(self, epoch: int, loss: float = 0.0) -> float:
        """Return the fix ratio for an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0.
        loss : float, default 0.0
            The loss to compare with the threshold; 0.0 stands for none and gives the plan's ratio.

        Returns
        -------
        float
            Share of patch positions that stay in place, from 0 to 1.
        """
        if self.strategy in (None, "fixed"):
            return self._fixed_ratio
        if epoch < self.warmup_epochs:
            return self.basic_ratio
        factor = _LEANING[self._judge(loss)]
        return plan_ratio(epoch, self.total_epochs, self.warmup_epochs, self._bounds, factor)
