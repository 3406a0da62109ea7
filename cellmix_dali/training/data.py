"""What a training run trains and tests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..tables.slide_list import SlideFault
from ..tables.tile_table import TileTable

__all__ = ["TrainingData", "left_and_right"]


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
    notes : tuple of str
        What a person should know of the split, such as a class without test tiles.
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
    notes: tuple[str, ...] = ()


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
