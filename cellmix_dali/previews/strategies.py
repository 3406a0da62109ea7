"""What every strategy of the curriculum would do on one loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    epochs: int,
    tile_size: int,
    patch_strategies: Sequence[str] = PATCH_STRATEGIES,
    ratio_strategies: Sequence[str] = RATIO_STRATEGIES,
    token_size: int = 16,
    basic_ratio: float = 0.5,
    threshold: float = 0.5,
    threshold_factor: float = 0.933,
    warmup_epochs: int = 0,
    patch_size: int | None = None,
    fix_ratio: float | None = None,
    jump: str | None = None,
    loop_epochs: int = 3,
    seed: int = 0,
) -> StrategyRuns:
    """Step a curriculum of each strategy through the same losses.

    The strategies for the patch size and those for the fix ratio do not touch each other, so each runs by itself.

    All but the losses are keyword arguments: those of `Curriculum`, under the same names, with lists of strategies.

    Parameters
    ----------
    losses : sequence of float
        Mean loss per sample, one per epoch; as many epochs are run.
    epochs : int
        Epochs of the training that is planned.
    patch_strategies, ratio_strategies : sequence of str
        Those to run.
    patch_size, fix_ratio : int and float, optional
        Of the strategies "fixed".
    tile_size, token_size, basic_ratio, threshold, threshold_factor, warmup_epochs, jump, loop_epochs, seed
        See `cellmix_dali.Curriculum`.

    Returns
    -------
    StrategyRuns

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """

    def curriculum(patch_strategy: str, ratio_strategy: str) -> Curriculum:
        return Curriculum(
            epochs=epochs,
            tile_size=tile_size,
            token_size=token_size,
            patch_strategy=patch_strategy,
            ratio_strategy=ratio_strategy,
            basic_ratio=basic_ratio,
            threshold=threshold,
            threshold_factor=threshold_factor,
            warmup_epochs=warmup_epochs,
            patch_size=patch_size if patch_strategy == "fixed" else None,
            fix_ratio=fix_ratio if ratio_strategy == "fixed" else None,
            jump=jump,
            loop_epochs=loop_epochs,
            seed=seed,
        )

    if not (losses and patch_strategies and ratio_strategies):
        raise ArgumentError("There is nothing to run: give at least one loss, and one strategy of each kind.")
    offered: set[int] = set()
    thresholds: tuple[float, ...] = (float(threshold),) * len(losses)

    def run(patch_strategy: str, ratio_strategy: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        nonlocal thresholds
        stepped = curriculum(patch_strategy, ratio_strategy)
        offered.update(stepped.patch_sizes)
        sizes, ratios, limits = [], [], []
        for loss in losses:
            sizes.append(stepped.patch_size)
            ratios.append(stepped.fix_ratio)
            limits.append(stepped.threshold)
            stepped.step(loss)
        if limits[-1] < thresholds[-1]:  # the loss-driven strategies move the threshold, and all of them alike
            thresholds = tuple(limits)
        return tuple(sizes), tuple(ratios)

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
