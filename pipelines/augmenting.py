"""Augmentations in the graph: built-in ones as they are, a user's own ones after a trial."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellmix_dali.augment import Augmentation, Batch, Compose
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins import Augment, Draw, EpochClock
from cellmix_dali.plugins.dali import DataNode, fn, types

from .device import device_name, pipeline_on

__all__ = ["changed", "told", "try_augmentation"]

_SAMPLES = 2


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


def try_augmentation(augment: Augment, tile_size: int, device: str | torch.device, *, masked: bool = False) -> None:
    """Run an augmentation that is not of this package on a few pictures, and see that it keeps to what is agreed.

    Parameters
    ----------
    augment : callable
        The augmentation.
    tile_size : int
        Side of the pictures in pixels.
    device : str or torch.device
        Where it runs.
    masked : bool, default False
        Whether the tiles have class masks.

    Raises
    ------
    ArgumentError
        If it gives images of another size or type, lets samples change each other or change places, or draws random
        numbers that are not those of `draw`.
    """
    if _built_in(augment):
        return
    random = np.random.default_rng(0)
    first, second, third = random.integers(0, 256, (3, tile_size, tile_size, 3), dtype=np.uint8)
    images, masks = _result(augment, [first, second], device, masked=masked)
    where = f"augment={told(augment)}"
    for image in images:
        if image.shape != first.shape or image.dtype != np.uint8:
            raise ArgumentError(
                f"{where} makes images of shape {image.shape} and type {image.dtype} of such of shape {first.shape} "
                "and type uint8: it must keep both (fn.resize or fn.crop to the tile's size, fn.cast to uint8)."
            )
    for mask in masks:
        if mask.shape != (tile_size, tile_size, 1) or mask.dtype != np.uint8:
            raise ArgumentError(
                f"{where} makes class masks of shape {mask.shape} and type {mask.dtype} of such of shape "
                f"{(tile_size, tile_size, 1)} and type uint8: put into draw.masks what was moved as the images were."
            )
    if not all(map(np.array_equal, images, _result(augment, [first, second], device, masked=masked)[0])):
        raise ArgumentError(
            f"{where} makes other images of the same ones: it draws random numbers of its own, and a training that is "
            "resumed would not go on as it would have. Take them from draw: draw.uniform, draw.normal, draw.coin, "
            "draw.choice, draw.by."
        )
    pairs = [(0, [first, third]), (1, [third, second])]
    others = [(place, _result(augment, pair, device, masked=masked)[0]) for place, pair in pairs]
    if not all(np.array_equal(images[place], other[place]) for place, other in others):
        raise ArgumentError(
            f"{where} makes a sample of others of its batch, or moves samples to other places: labels would no longer "
            "be theirs. Change each sample by itself; samples are mixed afterwards, by method=..."
        )


def _built_in(augment: Augment) -> bool:
    """Whether all of an augmentation is of this package."""
    if isinstance(augment, Compose):
        return all(map(_built_in, augment.changes))
    return isinstance(augment, Augmentation) and type(augment).__module__.startswith("cellmix_dali.augment.")


def _result(
    augment: Augment, images: list[NDArray[np.uint8]], device: str | torch.device, *, masked: bool
) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]:
    """What an augmentation makes of a batch and, where there are any, of its masks; by the same draws each time."""
    pipeline = pipeline_on(device, batch_size=_SAMPLES, num_threads=1, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        node = node.gpu() if device_name(device) == "gpu" else node
        batch = changed(augment, node, Draw(EpochClock(None), _SAMPLES), node[:, :, :1] if masked else None)
        pipeline.set_outputs(batch.images, *(() if batch.masks is None else (batch.masks,)))
    try:
        pipeline.build()
        outputs = pipeline.run()
    except RuntimeError as error:
        raise CellMixDaliError(f"augment={told(augment)} fails on a small batch: {error}") from error
    found = [output.as_cpu() if device_name(device) == "gpu" else output for output in outputs]
    arrays = [[np.array(each.at(place)) for place in range(_SAMPLES)] for each in found]
    return arrays[0], arrays[1] if len(arrays) > 1 else []
