"""What an augmentation is, and several after one another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import Draw
from cellmix_dali.plugins.colour import coloured
from cellmix_dali.plugins.colour_stages import NUMBERS, Colour, Stages
from cellmix_dali.plugins.dali import DataNode, fn
from cellmix_dali.tables.tile_table import TileTable

from ._checks import probability

__all__ = ["Augmentation", "Batch", "ColourChange", "Compose", "PixelChange", "SlideColourChange", "SlideNumbers"]


@dataclass
class Batch:
    """What augmentations change, as nodes of the graph that is being defined.

    Changes of colour wait until something else needs the pixels, so that all that follow one another become one pass.

    Attributes
    ----------
    pixels : DataNode, uint8 HWC
        Without the changes of colour that wait; most want `images`.
    draw : Draw
        The random numbers.
    masks : DataNode, uint8 HWC with one channel, or None
        Class masks, which go where their pixels go.
    """

    pixels: DataNode
    draw: Draw
    masks: DataNode | None = None
    _waiting: list[ColourChange] = field(default_factory=list)

    @property
    def images(self) -> DataNode:
        """The images, uint8 HWC; assigned ones take their place."""
        colour = self.colour()
        if colour is not None:
            self.pixels = coloured(self.pixels, colour, engine=self.draw.engine)
        return self.pixels

    @images.setter
    def images(self, images: DataNode) -> None:
        self.pixels = images

    def move(self, change: Callable[[DataNode], DataNode]) -> None:
        """Put pixels into other places, in images and masks alike; changes of colour that wait go on waiting."""
        self.pixels = change(self.pixels)
        if self.masks is not None:
            self.masks = change(self.masks)

    def interpolate(self, change: Callable[[DataNode, bool], DataNode]) -> None:
        """Put pixels into other places by `change(node, filtered)`: interpolated in images, the nearest in masks."""
        self.images = change(self.images, True)
        if self.masks is not None:
            self.masks = change(self.masks, False)

    def recolour(self, change: ColourChange) -> None:
        """Have colours changed, after the changes that wait already."""
        self._waiting.append(change)

    def colour(self) -> Colour | None:
        """Return the changes of colour that wait, which are then the caller's to apply; None if there are none."""
        waiting, self._waiting = tuple(self._waiting), []
        if not waiting:
            return None
        kinds: tuple[str, ...] = ()
        nodes = []
        for by_slide, group in groupby(waiting, lambda change: isinstance(change, SlideColourChange)):
            for changes in [(change,) for change in group] if by_slide else [tuple(group)]:
                own = _folded_kinds(changes)
                kinds += own
                if isinstance(changes[0], SlideColourChange):
                    nodes.append(changes[0].drawn_by_slide(self.draw))
                else:
                    nodes.append(self.draw.by(_drawn_together(changes, own), [len(own), NUMBERS]))
        numbers = nodes[0] if len(nodes) == 1 else fn.cat(*nodes, axis=0)
        return Colour(kinds, numbers, any(change.measured for change in waiting))


#: From slides (samples,) and numbers that were drawn (samples, draws) to the numbers of stages.
SlideNumbers: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.float64]], Stages]

_Drawing: TypeAlias = Callable[[np.random.Generator, int, float], NDArray[np.generic]]


class Augmentation(ABC):
    """A random change of each sample of a batch: a frozen dataclass whose fields are its parameters.

    An augmentation is itself what the loaders' ``augment=`` takes. Every random number is drawn by a key: it is a pure
    function of (seed, epoch, iteration, rank) and of the augmentation's place.

    Attributes
    ----------
    name : str
        By which recipes know it; set by `register_augmentation`.
    p : float
        Probability that a sample is changed.
    """

    name: ClassVar[str] = ""
    p: float

    def __call__(self, images: DataNode, draw: Draw) -> DataNode:
        """Change images, uint8 HWC, in the graph that is being defined."""
        batch = Batch(images, draw)
        self.change(batch)
        return batch.images

    @abstractmethod
    def change(self, batch: Batch) -> None:
        """Change a batch, in the graph that is being defined."""

    def told(self) -> str:
        """Return the name and the parameters; two augmentations that differ are told apart by it."""
        shown = [each.name for each in fields(self) if each.repr]  # type: ignore[arg-type]
        given = (f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.name or type(self).__qualname__}({', '.join(given)})"


class PixelChange(Augmentation):
    """An augmentation that makes new pixels in their places by operators of the graph; class masks stay as they are."""

    @abstractmethod
    def pixels(self, images: DataNode, draw: Draw) -> DataNode:
        """Return the changed images, uint8 HWC."""

    def change(self, batch: Batch) -> None:
        """Change the images alone."""
        batch.images = self.pixels(batch.images, batch.draw)


class ColourChange(Augmentation):
    """An augmentation that takes each pixel's colour to another, by numbers alone.

    All that follow one another become one compiled pass over the pixels.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of its stages, of `cellmix_dali.plugins.colour_stages.KINDS`.
    measured : bool
        Whether its stages depend on an image's own means and deviations, or its least and greatest level.
    """

    kinds: ClassVar[tuple[str, ...]]
    measured: ClassVar[bool] = False

    @abstractmethod
    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw the numbers of the stages, float32 (samples, stages, NUMBERS), for samples that are all changed."""

    def drawn(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw which samples are changed, and the numbers of the stages."""
        changed = random.random(samples) < self.p
        numbers = self.numbers(random, samples, strength)
        numbers[:, :, 0] *= changed[:, None]
        return numbers

    def change(self, batch: Batch) -> None:
        """Have the colours changed, together with what comes next to it."""
        batch.recolour(self)


class SlideColourChange(ColourChange):
    """A change of colour that depends on the slide that a tile comes from.

    Attributes
    ----------
    draws : int
        Numbers from 0 to 1 that it draws per sample; the first is for the probability `p`.
    """

    draws: ClassVar[int] = 1

    @abstractmethod
    def of_slides(self, table: TileTable) -> SlideNumbers:
        """Return a function from slides (samples,) and draws (samples, draws) to the numbers of the stages.

        Parameters
        ----------
        table : TileTable
            The tiles; slides are numbers among its `slides`.

        Raises
        ------
        ArgumentError
            If a slide's colours are not known.
        """

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Not possible: numbers depend on the tiles' slides."""
        raise NotImplementedError(f"{self.told()} depends on slides: {(random, samples, strength)} are not enough.")

    def drawn_by_slide(self, draw: Draw) -> DataNode:
        """Return the node of the stages' numbers, float32 (stages, NUMBERS)."""
        if draw.table is None or draw.rows is None:
            raise ArgumentError(
                f"{self.told()} needs to know the slide of each tile: it works in the loaders of tiles, not on image "
                "files nor in a graph of your own."
            )
        slide_of, of = draw.table.slide, self.of_slides(draw.table)

        def numbers(rows: Sequence[NDArray[np.int64]], random: Sequence[NDArray[np.float32]]) -> list[Stages]:
            drawn = of(slide_of[np.concatenate(rows)].astype(np.int64), np.stack(random).astype(np.float64))
            return list(np.ascontiguousarray(drawn, np.float32))

        return fn.python_function(draw.rows, draw.uniform(shape=[self.draws]), function=numbers, batch_processing=True)


@dataclass(frozen=True)
class Compose(Augmentation):
    """Augmentations after one another.

    Parameters
    ----------
    changes : sequence of Augmentation
        In their order. Put changes of colour last where the order is free: they cost the least there.
    p : float, default 1.0
        Must be 1: each has a probability of its own.

    Raises
    ------
    ArgumentError
        If something else is among them.
    """

    changes: Sequence[Augmentation] = ()
    p: float = 1.0

    def __post_init__(self) -> None:
        if probability(self.p) != 1:
            raise ArgumentError(f"p={self.p}: several augmentations have a probability each, not one together.")
        changes = tuple(self.changes)
        for each in changes:
            if not isinstance(each, Augmentation):
                raise ArgumentError(f"{each!r} is not an Augmentation: Compose takes those only.")
        object.__setattr__(self, "changes", changes)

    def change(self, batch: Batch) -> None:
        """Change a batch by all of them."""
        for each in self.changes:
            each.change(batch)

    def told(self) -> str:
        """Return all names and parameters."""
        return f"[{', '.join(each.told() for each in self.changes)}]"


def _folded_kinds(waiting: Sequence[ColourChange]) -> tuple[str, ...]:
    """The kinds of all stages; of matrices that follow one another one is left."""
    kinds: list[str] = []
    for kind in (kind for change in waiting for kind in change.kinds):
        if not (kind == "affine" and kinds[-1:] == ["affine"]):
            kinds.append(kind)
    return tuple(kinds)


def _drawn_together(waiting: Sequence[ColourChange], kinds: Sequence[str]) -> _Drawing:
    """A function that draws the numbers of several changes, one after the other."""

    def draw(random: np.random.Generator, samples: int, strength: float) -> NDArray[np.generic]:
        numbers = np.zeros((samples, len(kinds), NUMBERS), np.float32)
        place, before = -1, ""
        for change in waiting:
            drawn = change.drawn(random, samples, strength)
            for stage, kind in enumerate(change.kinds):
                if kind == before == "affine":
                    numbers[:, place] = _product(numbers[:, place], drawn[:, stage])
                else:
                    place += 1
                    numbers[:, place] = drawn[:, stage]
                before = kind
        return numbers.reshape(samples, -1)

    return draw


def _product(first: Stages, second: Stages) -> Stages:
    """Two matrices per sample as one: the second acts on what the first makes, before that is cut off at 0 or 255."""
    together = np.where(first[:, :1] != 0, first, second)
    both = (first[:, 0] != 0) & (second[:, 0] != 0)
    matrix = second[both, 1:10].reshape(-1, 3, 3)
    together[both, 1:10] = (matrix @ first[both, 1:10].reshape(-1, 3, 3)).reshape(-1, 9)
    together[both, 10:13] = np.einsum("nij,nj->ni", matrix, first[both, 10:13]) + second[both, 10:13]
    return together
