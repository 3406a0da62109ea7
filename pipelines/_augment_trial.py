"""A user's own augmentation is tried on a few pictures before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from cellmix_dali.augment import Augmentation, ColourChange, Compose
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins import Augment, Draw, EpochClock
from cellmix_dali.plugins.dali import DataNode, fn, types

from ._moved_pixels import moved_apart, moves_pixels
from .augmenting import changed, told
from .device import device_name, pipeline_on

__all__ = ["moving_parts", "parts_of", "try_augmentation"]

_SAMPLES = 2
_MOVES_SAMPLES = 32  # so many draws, that rare moves are among them
_MOVES_BYTES = 1 << 26


def try_augmentation(augment: Augment, tile_size: int, device: str | torch.device, *, masked: bool = False) -> None:
    """Run what of an augmentation is not of this package on a few pictures, and see that it keeps to what is agreed.

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
        If it gives images of another size or type, lets samples change each other or change places, draws random
        numbers that are not those of `draw`, or moves pixels and class masks apart.
    """
    for part in parts_of(augment):
        if not _built_in(part):
            _try(part, tile_size, device, masked=masked)


def moving_parts(augment: Augment, tile_size: int, device: str | torch.device) -> list[str]:
    """Return what of an augmentation moves pixels, in its own words: tiles would show another place than is recorded.

    Parameters
    ----------
    augment : callable
        The augmentation.
    tile_size : int
        Side of the images in pixels.
    device : str or torch.device
        Where it runs.
    """
    return [
        told(part)
        for part in parts_of(augment)
        if not isinstance(part, ColourChange)
        and moves_pixels(partial(_result, part, device=device), tile_size, _samples_of_moves(tile_size))
    ]


def _try(augment: Augment, tile_size: int, device: str | torch.device, *, masked: bool) -> None:
    """Try one augmentation."""
    random = np.random.default_rng(0)
    first, second, third = random.integers(0, 256, (3, tile_size, tile_size, 3), dtype=np.uint8)
    result = partial(_result, augment, device=device)
    blank = [np.zeros((tile_size, tile_size, 1), np.uint8)] * _SAMPLES if masked else None
    images, masks = result([first, second], blank)
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
    if not all(map(np.array_equal, images, result([first, second], blank)[0])):
        raise ArgumentError(
            f"{where} makes other images of the same ones: it draws random numbers of its own, and a training that is "
            "resumed would not go on as it would have. Take them from draw: draw.uniform, draw.normal, draw.coin, "
            "draw.choice, draw.by."
        )
    pairs = [(0, [first, third]), (1, [third, second])]
    others = [(place, result(pair, blank)[0]) for place, pair in pairs]
    if not all(np.array_equal(images[place], other[place]) for place, other in others):
        raise ArgumentError(
            f"{where} makes a sample of others of its batch, or moves samples to other places: labels would no longer "
            "be theirs. Change each sample by itself; samples are mixed afterwards, by method=..."
        )
    apart = moved_apart(result, tile_size, _samples_of_moves(tile_size)) if masked else None
    if apart is not None:
        raise ArgumentError(
            f"{where} {apart}: classes would lie beside what they are of. Put into draw.masks what was moved by the "
            'same numbers as the images, without interpolation (docs/targets.md, "Class masks").'
        )


def parts_of(augment: Augment) -> Sequence[Augment]:
    """Return the augmentations that an augmentation consists of."""
    if isinstance(augment, Compose):
        return [part for each in augment.changes for part in parts_of(each)]
    return [augment]


def _built_in(augment: Augment) -> bool:
    """Whether an augmentation is of this package."""
    return isinstance(augment, Augmentation) and type(augment).__module__.startswith("cellmix_dali.augment.")


def _samples_of_moves(tile_size: int) -> int:
    """How many pictures are looked at for moves: fewer large ones."""
    return max(4, min(_MOVES_SAMPLES, _MOVES_BYTES // (3 * tile_size**2)))


class _EagerDraw(Draw):
    """Draws for a trial: what happens rarely happens half the time, so that it is seen."""

    def coin(self, p: float = 0.5, shape: Sequence[int] = ()) -> DataNode:
        """See `Draw.coin`."""
        return super().coin(max(p, 0.5) if isinstance(p, int | float) and 0 < p < 1 else p, shape)


def _result(
    augment: Augment,
    images: list[NDArray[np.uint8]],
    masks: list[NDArray[np.uint8]] | None = None,
    *,
    device: str | torch.device,
) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]:
    """What an augmentation makes of a batch and, where there are any, of its masks; by the same draws each time."""
    pipeline = pipeline_on(device, batch_size=len(images), num_threads=1, prefetch_queue_depth=1)
    given = [images] if masks is None else [images, masks]
    with pipeline:
        nodes = fn.external_source(
            lambda: given, num_outputs=len(given), batch=True, dtype=types.UINT8, ndim=3, layout="HWC"
        )
        nodes = [node.gpu() if device_name(device) == "gpu" else node for node in nodes]
        draw = _EagerDraw(EpochClock(None), len(images))
        batch = changed(augment, nodes[0], draw, None if masks is None else nodes[1])
        pipeline.set_outputs(batch.images, *(() if batch.masks is None else (batch.masks,)))
    try:
        pipeline.build()
        outputs = pipeline.run()
    except RuntimeError as error:
        raise CellMixDaliError(f"augment={told(augment)} fails on a small batch: {error}") from error
    found = [output.as_cpu() if device_name(device) == "gpu" else output for output in outputs]
    arrays = [[np.array(each.at(place)) for place in range(len(images))] for each in found]
    return arrays[0], arrays[1] if len(arrays) > 1 else []
