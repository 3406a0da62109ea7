"""Images put together from parts of others, with at most one input to each `fn.multi_paste` on the GPU.

`fn.multi_paste` of DALI 2.4.0 takes the row pitch of its first input for all of them on the GPU: several inputs of
other widths give garbage without an error (seen on an H200). One input is right there, and so is a sum of such pastes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from .dali import DataNode, fn, types

__all__ = ["assembled", "laid_over"]


def assembled(
    pieces: Sequence[DataNode],
    *,
    in_anchors: DataNode,
    out_anchors: DataNode,
    shapes: DataNode,
    size: DataNode,
    apart: bool | None = None,
) -> DataNode:
    """Paste a region of each piece into one image per sample.

    Parameters
    ----------
    pieces : sequence of DataNode, uint8 HWC
        One for each region, all on the same device.
    in_anchors, out_anchors, shapes : DataNode, int32 (pieces, 2)
        For each piece, (y, x) in pixels: where its region begins, where the region goes, and its height and width. The
        regions of an image do not overlap, but for white ones, which come first.
    size : DataNode, int32 (2,)
        Height and width of the images.
    apart : bool, optional
        Whether to paste each piece with an operator of its own. By default only on the GPU.

    Returns
    -------
    DataNode, uint8 HWC
        On the device of the pieces. What no region covers is 0 in one paste, and white (255) otherwise; the windows of
        a source are always covered.
    """
    if not (pieces[0].device == "gpu" if apart is None else apart):
        return fn.multi_paste(*pieces, in_anchors=in_anchors, out_anchors=out_anchors, shapes=shapes, output_size=size)
    # What is not pasted is 0. Inverted, that is white, and so the white pieces that stand in for blocks which a tile
    # does not have add nothing to the sum.
    inverted = [
        fn.multi_paste(
            _inverted(piece),
            in_anchors=in_anchors[number : number + 1],
            out_anchors=out_anchors[number : number + 1],
            shapes=shapes[number : number + 1],
            output_size=size,
        )
        for number, piece in enumerate(pieces)
    ]
    return _inverted(reduce(add, inverted))


def laid_over(
    images: DataNode,
    box: DataNode,
    *,
    place: DataNode,
    shape: DataNode,
    options: dict[str, Any],
    apart: bool | None = None,
) -> DataNode:
    """Lay a box over each image.

    Parameters
    ----------
    images, box : DataNode, HWC
        Of one type and device; the box lies within the image.
    place, shape : DataNode, int32 (2,)
        Upper left corner of the box in the image, its height and width, (y, x) in pixels.
    options : dict
        Further arguments of the operator whose result is returned.
    apart : bool, optional
        See `assembled`.

    Returns
    -------
    DataNode, HWC
    """
    whole = images.shape(dtype=types.INT32)[0:2]
    if not (images.device == "gpu" if apart is None else apart):
        origin = types.Constant([0, 0], dtype=types.INT32, device="cpu")
        anchors, shapes = fn.stack(origin, place), fn.stack(whole, shape)
        return fn.multi_paste(images, box, out_anchors=anchors, shapes=shapes, output_size=whole, **options)
    floats = [fn.cast(node, dtype=types.FLOAT) for node in (place, shape)]
    around = fn.erase(images, anchor=floats[0], shape=floats[1], axis_names="HW", fill_value=0)
    pasted = fn.multi_paste(box, out_anchors=fn.stack(place), shapes=fn.stack(shape), output_size=whole)
    return fn.cast_like(around + pasted, images, **options)


def _inverted(images: DataNode) -> DataNode:
    """Take white for black."""
    return images ^ types.Constant(255, dtype=types.UINT8)
