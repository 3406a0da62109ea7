"""Augmentations in the graph that is being defined."""

from __future__ import annotations

from functools import partial
from typing import Any

from cellmix_dali.augment import Augmentation, Batch
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import Augment, Draw
from cellmix_dali.plugins.dali import DataNode

__all__ = ["changed", "told"]


def told(augment: Any) -> str:
    """Return an augmentation's name, and what it was given beforehand; two of one name are told apart by that only."""
    if isinstance(augment, Augmentation):
        return augment.told()
    if isinstance(augment, partial):
        given = [repr(each) for each in augment.args] + [
            f"{name}={value!r}" for name, value in augment.keywords.items()
        ]
        return f"{told(augment.func)}({', '.join(given)})"
    named = augment if hasattr(augment, "__qualname__") else type(augment)
    return f"{named.__module__}.{named.__qualname__}"


def changed(augment: Augment, images: DataNode, draw: Draw, masks: DataNode | None = None) -> Batch:
    """Apply an augmentation in the graph that is being defined.

    Returns
    -------
    Batch
        Whose changes of colour may still wait.

    Raises
    ------
    ArgumentError
        If it does not return images.
    """
    batch = Batch(images, draw, masks)
    if isinstance(augment, Augmentation):
        augment.change(batch)
        return batch
    draw.masks = masks
    found = augment(images, draw)
    if not isinstance(found, DataNode):
        raise ArgumentError(
            f"augment={told(augment)} returned {type(found).__name__}: it takes (images, draw), nodes of the "
            "graph, and returns the images."
        )
    batch.images, batch.masks = found.gpu() if images.device == "gpu" else found, draw.masks
    return batch
