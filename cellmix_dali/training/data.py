"""What a training run trains and tests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError
from ..mixing.random import generator
from ..slide_list import SlideFault
from ..tiles import TileTable

__all__ = ["TrainingData", "left_and_right", "split_by_slide"]

_STREAM = 4  # keeps the split's random numbers apart from the others under one seed


@dataclass(frozen=True)
class TrainingData:
    """Tiles to train and to test on.

    Attributes
    ----------
    train, test : TileTable
        With labels.
    classes : tuple of str
        Names of the labels.
    task, split : str
        For a person: what is learned, and what was held out.
    slides : dict of str to str
        Each slide's path and how it is read.
    tile_size : int
        Side of the images in pixels; windows of another size are resized to it.
    edge : str
        "skip" or "pad", as the grid was made.
    faults : tuple of SlideFault
        Slides that were left out, and why.
    """

    train: TileTable
    test: TileTable
    classes: tuple[str, ...]
    task: str
    split: str
    slides: dict[str, str]
    tile_size: int
    edge: str = "skip"
    faults: tuple[SlideFault, ...] = ()


def split_by_slide(table: TileTable, share: float, *, seed: int) -> tuple[TileTable, TileTable, list[str]]:
    """Hold out whole slides, so that no tile is tested whose neighbours were trained on.

    Of the slides whose tiles mostly have one label, the same share is held out for each label, at least one where there
    are two or more.

    Parameters
    ----------
    table : TileTable
        With class indices as labels.
    share : float
        Of the slides, above 0 and below 1.
    seed : int
        Of the draw.

    Returns
    -------
    train, test : TileTable
    held_out : list of str
        Paths of the slides that are held out.

    Raises
    ------
    ArgumentError
        If the share is out of range, or there are too few slides.
    """
    if not 0 < share < 1:
        raise ArgumentError(f"hold_out={share}: give the share of slides to test on, above 0 and below 1.")
    assert table.label is not None
    numbers = np.unique(table.slide)
    if len(numbers) < 2:
        raise ArgumentError("All tiles are of one slide: give at least two, so that one can be held out.")
    mostly = np.array([np.bincount(table.label[table.slide == number]).argmax() for number in numbers])
    random = generator(seed, stream=_STREAM)
    held_out: list[int] = []
    for label in np.unique(mostly):
        alike = random.permutation(numbers[mostly == label])
        if len(alike) > 1:
            held_out += alike[: min(len(alike) - 1, math.ceil(share * len(alike)))].tolist()
    if not held_out:  # one slide a label: any may go
        held_out = random.permutation(numbers)[: max(1, int(share * len(numbers)))].tolist()
    test = np.isin(table.slide, held_out)
    return table.select(~test), table.select(test), [table.slides[number] for number in sorted(held_out)]


def left_and_right(table: TileTable) -> tuple[TileTable, TileTable]:
    """Split one slide's tiles: at its right side about a fifth of them, or more until both classes are there."""
    columns = np.unique(table.x)
    held_out = table.x >= columns[-1]
    for column in columns[::-1]:
        held_out = table.x >= column
        labels = table.label[held_out] if table.label is not None else np.empty(0)
        if held_out.mean() >= 0.2 and len(np.unique(labels)) > 1:
            break
    return table.select(~held_out), table.select(held_out)
