"""Masks of tokens for masked image modelling, drawn on the host: iBOT's and DINOv2's blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer, number
from cellmix_dali.errors import ArgumentError

from ._checks import between

__all__ = ["BlockMasks"]

_TRIES = 10  # boxes that are drawn for one place, before the mask is left as it is


@dataclass(frozen=True)
class BlockMasks:
    """Masks that cover tokens of views by boxes, as BEiT, iBOT and DINOv2 draw them.

    Parameters
    ----------
    patch : int, default 14
        Side of a token in pixels.
    view : str, default "global"
        Name of the views that are masked.
    ratio : float or (float, float), default (0.1, 0.5)
        The range of the share of a view's tokens that is masked; spread evenly over the views that are.
    share : float, default 0.5
        Share of the views that are masked at all; of the others no token is.
    least : int, default 4
        Tokens in a box at least.
    aspect : float, default 0.3
        Boxes are from so many times to 1 / so many times as high as wide.

    Raises
    ------
    ArgumentError
        If a value cannot be used.

    Notes
    -----
    Sources: Bao et al., BEiT (arXiv 2106.08254, its algorithm 1); Zhou et al., iBOT (arXiv 2111.07832); Oquab et al.,
    DINOv2 (arXiv 2304.07193). As in DINOv2, boxes are drawn until a view has its number of masked tokens, or ten
    boxes in a row do not fit: so it may have a few less.
    """

    patch: int = 14
    view: str = "global"
    ratio: float | Sequence[float] = (0.1, 0.5)
    share: float = 0.5
    least: int = 4
    aspect: float = 0.3

    def __post_init__(self) -> None:
        for name in ("patch", "least"):
            integer(name, getattr(self, name), low=1)
        object.__setattr__(self, "ratio", between("ratio", self.ratio, 0.0, 1.0))
        number("share", self.share, 0, 1)
        number("aspect", self.aspect, 0, 1, above_low=True)

    def side(self, size: int) -> int:
        """Return how many tokens lie side by side in a view of so many pixels.

        Raises
        ------
        ArgumentError
            If tokens do not fill the view.
        """
        if size % self.patch:
            raise ArgumentError(f"Views of {size} pixels are not whole tokens of {self.patch}: correct patch.")
        return size // self.patch

    def draw(self, random: np.random.Generator, count: int, side: int) -> NDArray[np.bool_]:
        """Draw the masks of some views.

        Parameters
        ----------
        random : numpy.random.Generator
            Of the batch.
        count : int
            Number of views.
        side : int
            Tokens side by side.

        Returns
        -------
        bool array (count, side * side)
            True where a token is masked.
        """
        masks = np.zeros((count, side, side), bool)
        masked = int(count * self.share)
        low, high = self.ratio  # type: ignore[misc]
        edges = np.linspace(low, high, masked + 1)
        shares = edges[:-1] + random.random(masked) * np.diff(edges)
        for mask, share in zip(masks, shares.tolist(), strict=False):
            self._cover(mask, int(side * side * share), random)
        return masks[random.permutation(count)].reshape(count, -1)

    def _cover(self, mask: NDArray[np.bool_], tokens: int, random: np.random.Generator) -> None:
        """Mask boxes until there are so many tokens, or none fits."""
        side, covered, failed = len(mask), 0, 0
        reach = math.log(self.aspect)
        while covered < tokens and failed < _TRIES:
            for area, aspect, down, across in random.random((_TRIES, 4)).tolist():
                most = tokens - covered
                target = self.least + area * (most - self.least)
                aspect = math.exp(reach - 2 * reach * aspect)
                high, wide = round(math.sqrt(max(target, 0) * aspect)), round(math.sqrt(max(target, 0) / aspect))
                failed += 1
                if not (0 < high < side and 0 < wide < side):
                    continue
                top, left = int(down * (side - high + 1)), int(across * (side - wide + 1))
                box = mask[top : top + high, left : left + wide]
                new = high * wide - int(np.count_nonzero(box))
                if 0 < new <= most:
                    box[:] = True
                    covered, failed = covered + new, 0
                if covered >= tokens or failed >= _TRIES:
                    break
