"""What all mixers share: a trigger probability, and a key under which they draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from .._arguments import integer, number
from .._random import generator
from .action import Action
from .plan import MixPlan

__all__ = ["PASTED_BOX", "Mixer", "TileMixer"]

#: `Mixer.label_weight` of methods that paste a box.
PASTED_BOX = "the shares of the tile outside and inside the pasted box"


class Mixer(ABC):
    """Draws plans from a counter-based generator.

    The plan of a batch is a pure function of (seed, epoch, iteration, rank): the same key always gives the same plan.

    Parameters
    ----------
    p : float, default 1.0
        Probability of mixing, exactly; what is not mixed stays as it is, to the bit.
    seed : int, default 0
        Seed of all draws, 0 <= seed < 2**64.
    rank : int, default 0
        The process, where several train together.

    Raises
    ------
    ArgumentError
        If `p` is not a probability, or seed or rank cannot be a key.

    Attributes
    ----------
    method : str
        Its name in `cellmix_dali.mixing.METHODS`.
    action : Action
        What its plans do to pixels.
    does : str
        What it does to a batch, in a few words.
    paper : str
        arXiv number.
    trigger : {"batch", "sample"}
        What the probability p decides about.
    label_weight : str
        What a sample's label weight means.
    steered : bool
        Whether patch size and fix ratio, and with them a curriculum, steer it: `CellMix` and classes derived from it.
    """

    method: str
    does: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    trigger: ClassVar[str] = "batch"
    label_weight: ClassVar[str] = ""
    steered: ClassVar[bool] = False

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0) -> None:
        self.p = number("p", p, low=0.0, high=1.0)
        self.seed = integer("seed", seed, low=0, high=2**64 - 1)
        self.rank = integer("rank", rank, low=0, high=2**64 - 1)

    @property
    @abstractmethod
    def action(self) -> Action:
        """What its plans do to pixels: known before any plan is drawn, the same for all batches."""

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `ArgumentError` if batches of that size cannot be mixed."""
        integer("batch_size", batch_size, low=1)

    def _random(self, epoch: int, iteration: int) -> np.random.Generator:
        """Return the generator of one batch."""
        return generator(self.seed, epoch=epoch, iteration=iteration, rank=self.rank)


class TileMixer(Mixer):
    """A mixer that needs to know no more than the batch's and the tiles' size."""

    @abstractmethod
    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> MixPlan:
        """Draw the plan of one batch.

        Parameters
        ----------
        batch_size : int
            Number of samples.
        tile_size : int or tuple of int
            Side, or (height, width), in pixels.
        epoch, iteration : int
            Which batch.

        Returns
        -------
        MixPlan
            The identity, ``triggered`` False, where it is not to be mixed.

        Raises
        ------
        ArgumentError
            If an argument does not fit.
        """
