"""Stain normalisation and stain mix-up, by stains that were fitted to each slide beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import path_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins.colour_stages import NUMBERS, Stages, stage_numbers
from cellmix_dali.shards import tile_stains
from cellmix_dali.stain import DensityFit, StainTable
from cellmix_dali.tables.tile_table import TileTable

from ._checks import between, probability
from ._registered import register_augmentation
from .base import SlideColourChange, SlideNumbers

__all__ = ["StainMixup", "StainNormalisation"]

_LIGHT, _AB = 2.55, 128.0  # LAB in 8-bit units


@register_augmentation("stain_normalisation")
@dataclass(frozen=True)
class StainNormalisation(SlideColourChange):
    """Take each tile from its slide's stain to another: the same change for all tiles of a slide.

    Parameters
    ----------
    stains : str or Path
        The file that ``cellmix-dali stain`` wrote, with all slides of the tiles.
    target : str or Path, default "median"
        "median" of the collection, a slide of the table, or a picture of tissue.
    unfitted : {"raise", "keep"}, default "raise"
        Slides whose stain could not be fitted: refused, or left as they are.
    p : float, default 1.0
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used. When a pipeline is defined: if the table lacks a slide.

    Notes
    -----
    See docs/stains.md. A curriculum's strength changes nothing.
    """

    kinds: ClassVar[tuple[str, ...]] = ("stain", "lab")
    stains: str | Path = ""
    target: str | Path = "median"
    unfitted: str = "raise"
    p: float = 1.0
    _table: StainTable | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "_table", StainTable.open(path_of("A table of stains", self.stains)))

    def of_slides(self, table: TileTable) -> SlideNumbers:
        """Work out the change of each slide; see `SlideColourChange.of_slides`."""
        assert self._table is not None
        normalised = tile_stains(table)
        if normalised is not None:
            raise ArgumentError(
                f"The tiles' stains are normalised already ({normalised}): leave stain_normalisation out."
            )
        changes = self._table.changes(table.slides, self.target, unfitted=self.unfitted)  # type: ignore[arg-type]
        slides = len(table.slides)
        numbers = np.zeros((slides, 2, NUMBERS), np.float32)
        if changes.kind == "density":
            numbers[:, 0] = stage_numbers(slides, matrix=changes.matrices, offset=changes.offsets)
        else:
            scale = np.diagonal(changes.matrices, axis1=1, axis2=2)
            # In units of 8 bits, where a and b lie around 128.
            shift = changes.offsets * [_LIGHT, 1, 1] + (1 - scale) * [0, _AB, _AB]
            numbers[:, 1] = stage_numbers(slides, scale=scale, shift=shift)

        def draw(slide: NDArray[np.int64], random: NDArray[np.float64]) -> Stages:
            drawn = numbers[slide]
            drawn[:, :, 0] *= random[:, :1] < self.p
            return drawn

        return draw


@register_augmentation("stain_mixup")
@dataclass(frozen=True)
class StainMixup(SlideColourChange):
    """Stain each tile anew, by a mixture of its own slide's stains and those of another tile's slide in the batch.

    Amounts of stains stay as they are; what is of neither stain is dropped.

    Parameters
    ----------
    stains : str or Path
        The file that ``cellmix-dali stain`` wrote by a method that fits two stains (macenko, vahadane), with all slides
        of the tiles.
    share : float or (float, float), default (0.0, 1.0)
        The range of the other slide's share in the mixture.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used. When a pipeline is defined: if the table lacks a slide, or a slide's two stains.

    Notes
    -----
    Source: Chang et al., "Stain Mix-Up: Unsupervised Domain Generalization for Histopathology Images" (MICCAI 2021). A
    curriculum's strength changes nothing.
    """

    kinds: ClassVar[tuple[str, ...]] = ("stain",)
    draws: ClassVar[int] = 3
    stains: str | Path = ""
    share: float | tuple[float, float] = (0.0, 1.0)
    p: float = 0.5
    _table: StainTable | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "share", between("share", self.share, 0.0, 1.0))
        object.__setattr__(self, "_table", StainTable.open(path_of("A table of stains", self.stains)))

    def of_slides(self, table: TileTable) -> SlideNumbers:
        """Look up the stains of each slide; see `SlideColourChange.of_slides`."""
        assert self._table is not None
        fits: list[Any] = []
        for slide in table.slides:
            row = self._table.row_of(slide)
            if not isinstance(row.fit, DensityFit):
                why = row.fault or "the table was fitted by a method without two stains"
                raise ArgumentError(f"The stains of {slide} cannot be mixed ({why}): leave it out, or fit by macenko.")
            fits.append(row.fit.stains)
        stains = np.stack(fits)
        inverse = np.linalg.pinv(stains)

        def draw(slide: NDArray[np.int64], random: NDArray[np.float64]) -> Stages:
            samples = len(slide)
            # Another sample of the batch, each as often.
            partner = (np.arange(samples) + 1 + (random[:, 1] * max(samples - 1, 1)).astype(np.int64)) % samples
            low, high = self.share  # type: ignore[misc]
            share = (low + random[:, 2] * (high - low))[:, None, None]
            mixed = (1 - share) * stains[slide] + share * stains[slide[partner]]
            matrix = np.swapaxes(inverse[slide] @ mixed, 1, 2)
            return stage_numbers(samples, active=random[:, 0] < self.p, matrix=matrix)[:, None]

        return draw
