"""What every strategy of the curriculum would do on one loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES, Curriculum
from ..errors import ArgumentError

__all__ = ["StrategyRuns", "run_strategies"]


@dataclass(frozen=True)
class StrategyRuns:
    """Strategies of the curriculum side by side, all on the same loss; every list holds one value per epoch.

    Attributes
    ----------
    losses : tuple of float
        Mean loss per sample.
    thresholds : tuple of float
        What the loss-driven strategies compared it with; the same all along where none was asked for.
    learned : tuple of bool
        Whether the loss was at or below the threshold, outside the warm-up.
    patch_sizes : dict of str to tuple of int
        Patch sizes in pixels, by strategy.
    fix_ratios : dict of str to tuple of float
        Fix ratios, by strategy.
    offered : tuple of int
        Patch sizes that the strategies may choose, ascending.
    warmup_epochs : int
        Epochs of warm-up.
    """

    losses: tuple[float, ...]
    thresholds: tuple[float, ...]
    learned: tuple[bool, ...]
    patch_sizes: dict[str, tuple[int, ...]]
    fix_ratios: dict[str, tuple[float, ...]]
    offered: tuple[int, ...]
    warmup_epochs: int


def run_strategies(
    losses: Sequence[float],
    *,
    patch_strategies: Sequence[str] = PATCH_STRATEGIES,
    ratio_strategies: Sequence[str] = RATIO_STRATEGIES,
    patch_size: int | None = None,
    fix_ratio: float | None = None,
    **others: Any,
) -> StrategyRuns:
    """Step a curriculum of each strategy through the same losses.

    The strategies for the patch size and those for the fix ratio do not touch each other, so each runs by itself.

    Parameters
    ----------
    losses : sequence of float
        Mean loss per sample, one per epoch; as many epochs are run.
    patch_strategies, ratio_strategies : sequence of str
        Those to run.
    patch_size, fix_ratio : int and float, optional
        Of the strategies "fixed".
    **others
        ``epochs`` (of the training that is planned), ``tile_size`` and all else of `cellmix_dali.Curriculum`.

    Returns
    -------
    StrategyRuns

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    if not (losses and patch_strategies and ratio_strategies):
        raise ArgumentError("There is nothing to run: give at least one loss, and one strategy of each kind.")
    offered: set[int] = set()
    thresholds: tuple[float, ...] = ()

    def run(patch_strategy: str, ratio_strategy: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        nonlocal thresholds
        stepped = Curriculum(
            patch_strategy=patch_strategy,
            ratio_strategy=ratio_strategy,
            patch_size=patch_size if patch_strategy == "fixed" else None,
            fix_ratio=fix_ratio if ratio_strategy == "fixed" else None,
            **others,
        )
        offered.update(stepped.patch_sizes)
        sizes, ratios, limits = [], [], []
        for loss in losses:
            sizes.append(stepped.patch_size)
            ratios.append(stepped.fix_ratio)
            limits.append(stepped.threshold)
            stepped.step(loss)
        if (
            not thresholds or limits[-1] < thresholds[-1]
        ):  # the loss-driven strategies move the threshold, and all of them alike
            thresholds = tuple(limits)
        return tuple(sizes), tuple(ratios)

    warmup_epochs = int(others.get("warmup_epochs", 0))
    patch_sizes = {name: run(name, "fixed")[0] for name in patch_strategies}
    fix_ratios = {name: run(patch_strategies[0], name)[1] for name in ratio_strategies}
    learned = tuple(
        epoch >= warmup_epochs and loss <= limit
        for epoch, (loss, limit) in enumerate(zip(losses, thresholds, strict=True))
    )
    return StrategyRuns(
        losses=tuple(losses),
        thresholds=thresholds,
        learned=learned,
        patch_sizes=patch_sizes,
        fix_ratios=fix_ratios,
        offered=tuple(sorted(offered)),
        warmup_epochs=warmup_epochs,
    )
