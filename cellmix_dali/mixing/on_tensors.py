"""Mixing plans applied to torch tensors, images and labels, on the CPU and on CUDA."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import torch
from torch import Tensor

from .._arguments import SHARE_TOLERANCE
from ..errors import ArgumentError
from . import TARGET_KINDS, BlendPlan, BoxPlan, MixPlan, PatchPlan, mixed_target
from .box_plan import CONSTANT
from .resampling import nearest_index, triangle_weights

__all__ = ["apply_plan", "check_images", "mix_labels", "mix_target", "resize_linearly"]

# Moving pixels needs no arithmetic: any dtype is moved as integers of its size.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def apply_plan(plan: MixPlan, images: Tensor) -> Tensor:
    """Apply a mixing plan to a batch of images.

    Parameters
    ----------
    plan : MixPlan
        Any plan of `cellmix_dali.mixing`.
    images : Tensor (batch, channels, height, width), uint8 or floating
        On any device, contiguous or channels-last; pixels are moved there.

    Returns
    -------
    Tensor of the same shape, dtype, device and memory layout, without gradient
        uint8 pixels are those of ``plan.apply``; blends and "linear" resizing are within 1 level of it. Where the plan
        is not triggered, it shares the memory of `images`; otherwise `images` are left alone and nothing is shared.

    Raises
    ------
    ArgumentError
        If the images do not fit the plan.
    """
    check_images(images)
    with torch.no_grad():
        images = images.detach()
        return _applied(plan, images) if plan.triggered else _checked_batch(plan, images)


def mix_labels(plan: MixPlan, labels: Tensor, num_classes: int) -> Tensor:
    """Mix the labels as the pixels are mixed: `MixPlan.soft_labels` on the labels' device, float32.

    Labels on CUDA are not read by the host, which would have to wait for the GPU: a class index that is out of range,
    or shares that do not add up to 1, make all the batch's labels NaN.
    """
    given = labels.detach()
    if given.is_floating_point():
        given = given.double()
    if given.device.type == "cpu":
        return torch.from_numpy(plan.soft_labels(given.numpy(), num_classes))
    return _labels_on_device(plan, given, num_classes)


def mix_target(plan: MixPlan, kind: str, values: Tensor) -> Tensor:
    """Mix a target of a batch: `cellmix_dali.mixing.mixed_target` on the values' device.

    Parameters
    ----------
    plan : MixPlan
        Any plan of `cellmix_dali.mixing`.
    kind : str
        One of `cellmix_dali.mixing.TARGET_KINDS`.
    values : Tensor (batch,) or (batch, numbers)
        The samples' values, before mixing.

    Returns
    -------
    float32 Tensor (batch, numbers)
        Values on CUDA are not read by the host, which would have to wait for the GPU: one that is not a number, or out
        of the kind's range, makes all of them NaN.

    Raises
    ------
    ArgumentError
        If the kind does not take the values, or they do not fit the batch.
    """
    given = values.detach().double().reshape(len(values), -1)
    if given.device.type == "cpu":
        return torch.from_numpy(mixed_target(kind, given.numpy(), plan.matrix))
    of = TARGET_KINDS[TARGET_KINDS.canonical(kind)]
    if len(given) != plan.batch_size:
        raise ArgumentError(f"{len(given)} targets do not fit a batch of {plan.batch_size} samples.")
    fits = torch.isfinite(given) & (given >= of.low) & (given <= of.high)
    given = torch.where(fits.all(), given, torch.nan)
    if not of.mixed:
        return given.float()
    return (torch.tensor(plan.weights).to(given.device, torch.float64, non_blocking=True) @ given).float()


def _labels_on_device(plan: MixPlan, labels: Tensor, num_classes: int) -> Tensor:
    """Mix labels without asking the device for a value."""
    dense = labels
    if not labels.is_floating_point():
        dense = (labels.view(-1, 1) == torch.arange(num_classes, device=labels.device)).double()
        dense = dense / dense.sum(dim=1, keepdim=True)  # 0 / 0 where an index is out of range
    if dense.shape != (plan.batch_size, num_classes):
        raise ArgumentError(
            f"Labels of shape {tuple(labels.shape)} do not fit a batch of {plan.batch_size} with {num_classes} "
            f"classes: give class indices ({plan.batch_size},) or soft labels ({plan.batch_size}, {num_classes})."
        )
    if labels.is_floating_point():
        fits = (dense >= 0).all(dim=1) & ((dense.sum(dim=1) - 1).abs() <= SHARE_TOLERANCE)
        dense = torch.where(fits.all(), dense, torch.nan)
    weights = torch.tensor(plan.weights).to(labels.device, torch.float64, non_blocking=True)
    return (weights @ dense).float()


def check_images(images: Tensor) -> None:
    """Raise `ArgumentError` if it is not a batch of images."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.numel():
        got = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ArgumentError(f"images must be a tensor (batch, channels, height, width) with pixels in it, got {got}.")
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ArgumentError(f"images of {images.dtype} cannot be mixed: give uint8 or a floating dtype.")


@singledispatch
def _applied(plan: MixPlan, _images: Tensor) -> Tensor:
    raise ArgumentError(f"A plan of type {type(plan).__name__} cannot be applied to tensors.")


@_applied.register
def _patches(plan: PatchPlan, images: Tensor) -> Tensor:
    """One `index_select` over rows of patches: each pixel is read and written once."""
    batch, channels, height, width = images.shape
    rows, columns = plan.grid
    if batch != plan.batch_size or height % rows or width % columns:
        raise ArgumentError(
            f"Images of shape {tuple(images.shape)} do not fit a plan for {plan.batch_size} samples and a grid of "
            f"{rows} x {columns} patches."
        )
    if not _is_channels_last(images):
        images = images.contiguous()
    mixed = _empty_like(images)
    planes, line = (1, width * channels) if _is_channels_last(images) else (channels, width)
    side = height // rows

    # The number of each output row's source among all rows of patches: sample, plane, line, column of patches.
    y, x = np.divmod(plan.source_patch, columns)
    corner = torch.from_numpy((plan.source_sample.astype(np.int64) * planes * height + y * side) * columns + x)
    corner = corner.to(images.device, non_blocking=True).view(batch, 1, rows, 1, columns)
    plane = torch.arange(planes, device=images.device).view(-1, 1, 1, 1) * (height * columns)
    inside = torch.arange(side, device=images.device).view(-1, 1) * columns
    taken = (corner + (plane + inside)).view(-1)
    torch.index_select(_lines(images, line // columns), 0, taken, out=_lines(mixed, line // columns))
    return mixed


@_applied.register
def _boxes(plan: BoxPlan, images: Tensor) -> Tensor:
    """A copy, over which the boxes are written."""
    if (images.shape[0], *images.shape[2:]) != (plan.batch_size, *plan.tile_size):
        raise ArgumentError(
            f"Images of shape {tuple(images.shape)} do not fit a plan for {plan.batch_size} samples of "
            f"{plan.tile_size[0]} x {plan.tile_size[1]} pixels."
        )
    if plan.fill.size not in (1, images.shape[1]):
        raise ArgumentError(
            f"A fill of {plan.fill.size} values does not fit images of {images.shape[1]} channels: give one value, or "
            "one per channel."
        )
    mixed = _empty_like(images).copy_(images)
    fill = torch.tensor(plan.fill).to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1)
    for sample, (source, taken, box) in enumerate(
        zip(plan.source.tolist(), plan.source_boxes.tolist(), plan.boxes.tolist(), strict=True)
    ):
        y, x, height, width = box
        if height * width:
            target = mixed[sample, :, y : y + height, x : x + width]
            if source == CONSTANT:
                target.copy_(fill.expand_as(target))
            else:
                top, left, rows, columns = taken
                part = images[source, :, top : top + rows, left : left + columns]
                target.copy_(_resized(part, (height, width), plan.interpolation))
    return mixed


@_applied.register
def _blend(plan: BlendPlan, images: Tensor) -> Tensor:
    """Sample by sample on the CPU, where a gathered batch of partners would cost a copy; at once on other devices."""
    of = images.shape[2:] if plan.mask is None else plan.mask.shape[-2:]
    if (images.shape[0], *images.shape[2:]) != (plan.batch_size, *of):
        raise ArgumentError(
            f"Images of shape {tuple(images.shape)} do not fit a plan for {plan.batch_size} samples of {of[0]} x "
            f"{of[1]} pixels."
        )
    masks = None if plan.mask is None else torch.from_numpy(plan.mask.astype(bool)).view(-1, 1, *of)
    mixed = _empty_like(images)
    if images.device.type != "cpu":
        _blend_at_once(plan, masks, images, mixed)
        return mixed
    for sample, (other, share) in enumerate(zip(plan.partner.tolist(), plan.share.tolist(), strict=True)):
        own = share if masks is None else masks[sample % len(masks)]
        _blended(images[sample], images[other], own, out=mixed[sample])
    return mixed


def _blend_at_once(plan: BlendPlan, masks: Tensor | None, images: Tensor, mixed: Tensor) -> None:
    own = torch.tensor(plan.share).view(-1, 1, 1, 1) if masks is None else masks
    partner = torch.tensor(plan.partner).to(images.device, non_blocking=True)
    _blended(images, images.index_select(0, partner), own.to(images.device, non_blocking=True), out=mixed)


def _blended(images: Tensor, others: Tensor, own: Tensor | float, *, out: Tensor) -> None:
    """Take the pixels of `images` where `own` is true, or as large a share of them as `own` says."""
    if isinstance(own, Tensor) and own.dtype == torch.bool:
        torch.where(own, images, others, out=out)
    elif images.dtype == torch.float32 or (images.dtype == torch.float64 and isinstance(own, float)):
        torch.lerp(others, images, own, out=out)
    else:
        real = torch.float64 if images.dtype == torch.float64 else torch.float32
        share = own.to(real) if isinstance(own, Tensor) else own
        blend = torch.lerp(others.to(real), images.to(real), share)
        out.copy_(blend if images.is_floating_point() else blend.add_(0.5))


def _resized(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize as `cellmix_dali.mixing.resampling.resample` does."""
    if tuple(image.shape[1:]) == size:
        return image
    if interpolation == "nearest":
        down, across = (
            torch.from_numpy(nearest_index(source, target)).to(image.device, non_blocking=True)
            for source, target in zip(image.shape[1:], size, strict=True)
        )
        return image.index_select(1, down).index_select(2, across)
    resized = resize_linearly(image, size)
    return resized if image.is_floating_point() else resized.add_(0.5)


def resize_linearly(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., height, width) with antialiasing, as "linear" of `cellmix_dali.mixing.resampling` is defined.

    The result is float32, or float64 for float64. PyTorch's own ``interpolate(antialias=True)`` differs at the border.
    """
    real = torch.float64 if images.dtype == torch.float64 else torch.float32
    down, across = (
        torch.from_numpy(triangle_weights(source, target)).to(images.device, real)
        for source, target in zip(images.shape[-2:], size, strict=True)
    )
    return down @ images.to(real) @ across.T


def _checked_batch(plan: MixPlan, images: Tensor) -> Tensor:
    """Return the images as they are."""
    if len(images) != plan.batch_size:
        raise ArgumentError(f"A batch of {len(images)} images does not fit a plan for {plan.batch_size} samples.")
    return images


def _lines(images: Tensor, length: int) -> Tensor:
    """View the pixels, in the order in which they lie in memory, as rows of integers."""
    dense = images.permute(0, 2, 3, 1) if _is_channels_last(images) else images
    return dense.view(-1, length).view(_BITS[images.element_size()])


def _is_channels_last(images: Tensor) -> bool:
    return not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)


def _empty_like(images: Tensor) -> Tensor:
    """Make room for the result."""
    if images.device.type != "cpu":
        return torch.empty_like(images)
    # NumPy asks the kernel for huge pages where torch does not: for large batches the page faults of torch's own
    # allocation take several times as long as writing the pixels.
    batch, channels, height, width = images.shape
    room = torch.from_numpy(np.empty(images.numel() * images.element_size(), np.uint8)).view(images.dtype)
    if _is_channels_last(images):
        return room.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return room.view(images.shape)
