"""The part of both schedulers that depends on nothing but the epoch."""

from __future__ import annotations

__all__ = ["epoch_plan", "plan_index", "plan_ratio", "ratio_bounds"]


def epoch_plan(epoch: int, epochs: int, warmup_epochs: int) -> tuple[float, float]:
    """Return the elapsed and the remaining share of the epochs that follow the warm-up.

    A plan that is all warm-up has no epochs to share out: it counts as run through. Each share is a division
    of its own, as 1 - elapsed would differ from the authors' numbers in the last bit.
    """
    planned = epochs - warmup_epochs
    if planned <= 0:
        return 1.0, 0.0
    elapsed = epoch - warmup_epochs
    return elapsed / planned, (planned - elapsed) / planned


def plan_index(epoch: int, epochs: int, warmup_epochs: int, count: int, offset: int = 0) -> int:
    """Return the place in a list of `count` sizes that the plan has reached, `offset` places on."""
    elapsed, _ = epoch_plan(epoch, epochs, warmup_epochs)
    return min(max(int(elapsed * count) + offset, 0), count - 1)


def plan_ratio(epoch: int, epochs: int, warmup_epochs: int, bounds: tuple[float, float], factor: float = 1.0) -> float:
    """Return the ratio that falls in a straight line from the upper bound, times `factor`, kept in bounds."""
    low, high = bounds
    _, remaining = epoch_plan(epoch, epochs, warmup_epochs)
    # The upper bound wins where the two cross (a tiny basic ratio), as in the authors' code.
    return min(max(remaining * high * factor, low), high)


def ratio_bounds(
    basic_ratio: float, floor_factor: float = 0.5, lower_limit: float = 0.2, upper_limit: float = 0.9
) -> tuple[float, float]:
    """Return the least and the greatest fix ratio of a curriculum around `basic_ratio`."""
    return max(basic_ratio * floor_factor, lower_limit), min(3 * basic_ratio, upper_limit)
