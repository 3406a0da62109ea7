"""The same tiles, changed by augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..augment import augmentation
from ..pipelines import GraphOptions, source_pipeline
from ..pipelines.augmenting import told
from ..plugins import Source, TileNodes, TileSource
from ..plugins.dali import DataNode
from .chosen_tiles import ChosenTiles

__all__ = ["AugmentedTiles", "augment_tiles"]


class AugmentedTiles(NamedTuple):
    """A batch that was augmented.

    Attributes
    ----------
    name : str
        As it was asked for.
    told : str
        The augmentation, with its parameters.
    images : uint8 array (batch, height, width, 3)
        Augmented tiles.
    """

    name: str
    told: str
    images: NDArray[np.uint8]


def augment_tiles(chosen: ChosenTiles, names: Sequence[str], *, seed: int = 0) -> list[AugmentedTiles]:
    """Read tiles and augment them in the pipeline that training uses, by each of some augmentations.

    Parameters
    ----------
    chosen : ChosenTiles
        The batch.
    names : sequence of str
        See `cellmix_dali.augment.augmentation`.
    seed : int, default 0
        Of the draws.

    Raises
    ------
    CellMixDaliError
        If an augmentation cannot be understood, or a tile cannot be read.
    """
    return [
        AugmentedTiles(name, told(augmentation(name)), _augmented(chosen, GraphOptions(augment=name), seed))
        for name in names
    ]


def _augmented(chosen: ChosenTiles, options: GraphOptions, seed: int) -> NDArray[np.uint8]:
    """The tiles as one augmentation changes them."""
    source = TileSource(
        chosen.table,
        batch_size=len(chosen.table),
        tile_size=chosen.tile_size,
        edge=chosen.edge,
        shuffle=False,
        seed=seed,
    )
    try:
        pipeline = source_pipeline(source, options, _as_they_are)
        pipeline.build()
        return np.array(pipeline.run()[0].as_array())
    finally:
        source.close()


def _as_they_are(batch: TileNodes, source: Source, options: GraphOptions) -> list[DataNode]:
    """The end of the graph: all that it holds."""
    del source, options
    return [batch.images, batch.labels, batch.tile]
