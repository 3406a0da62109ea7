"""Flips and quarter turns: pixels in other places, none changed."""

from __future__ import annotations

from dataclasses import dataclass

from cellmix_dali.plugins.dali import DataNode, fn

from ._checks import probability
from ._registered import register_augmentation
from ._sometimes import where
from .base import Augmentation, Batch

__all__ = ["Flip", "Turn"]


@register_augmentation("flip")
@dataclass(frozen=True)
class Flip(Augmentation):
    """Flip left-right, up-down, or both; class masks, too. The loaders' ``flips=True`` does so by itself.

    Parameters
    ----------
    horizontal, vertical : float, default 0.5
        Probability of each of the two.
    p : float, default 1.0
        Multiplies both.

    Raises
    ------
    ArgumentError
        If one is not a probability.
    """

    horizontal: float = 0.5
    vertical: float = 0.5
    p: float = 1.0

    def __post_init__(self) -> None:
        for chance in (self.horizontal, self.vertical, self.p):
            probability(chance)

    def change(self, batch: Batch) -> None:
        """Flip images and masks alike; changes of colour that wait go on waiting."""
        across, down = batch.draw.coin(self.p * self.horizontal), batch.draw.coin(self.p * self.vertical)
        batch.move(lambda node: fn.flip(node, horizontal=across, vertical=down))


@register_augmentation("turn")
@dataclass(frozen=True)
class Turn(Augmentation):
    """Turn by 0, 90, 180 or 270 degrees, each as often; class masks, too. For square tiles.

    Parameters
    ----------
    p : float, default 1.0
        Probability that a sample is turned at all.

    Raises
    ------
    ArgumentError
        If p is not a probability.
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p)

    def change(self, batch: Batch) -> None:
        """Turn images and masks alike; changes of colour that wait go on waiting."""
        # Two flips are half a turn; one of the diagonal, and one more, are a quarter.
        half, quarter = batch.draw.coin(0.5 * self.p), batch.draw.coin(0.5 * self.p)
        batch.move(lambda node: _turned(node, half, quarter))


def _turned(node: DataNode, half: DataNode, quarter: DataNode) -> DataNode:
    """By half a turn, by a quarter, or both."""
    turned = where(quarter, node, lambda part: fn.transpose(part, perm=[1, 0, 2], transpose_layout=False))
    return fn.flip(turned, horizontal=half ^ quarter, vertical=half)
