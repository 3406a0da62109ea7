"""The augmentation that a tiling job is asked for: what it is, for the record, and who applies it in a worker."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pipelines.tile_augmenter import TileAugmenter

__all__ = ["augmenter_of", "augmentation_told"]


def augmentation_told(augment: str) -> str:
    """Return what an augmentation is, with its parameters: a job goes on with the same alone.

    Raises
    ------
    ArgumentError
        If it cannot be understood.
    """
    from ..augment import augmentation
    from ..pipelines.augmenting import told

    return told(augmentation(augment))


@lru_cache(maxsize=2)
def augmenter_of(augment: str, tile_size: int, seed: int) -> TileAugmenter:
    """Return what augments tiles, once per process.

    Raises
    ------
    ArgumentError
        If the augmentation cannot be used on tiles that are kept.
    """
    from ..pipelines.tile_augmenter import TileAugmenter

    return TileAugmenter(augment, tile_size, seed=seed)
