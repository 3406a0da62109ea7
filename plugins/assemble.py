"""Images put together from parts of others, with at most one input to each `fn.multi_paste` on the GPU.

`fn.multi_paste` of DALI 2.4.0 takes the row pitch of its first input for all of them on the GPU: several inputs of
other widths give garbage without an error (seen on an H200). One input is right there, and so is a sum of such pastes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from .dali import DataNode, Pipeline, fn, types

__all__ = ["assembled", "laid_over"]


def assembled(
    cells: Sequence[DataNode],
    pixels: DataNode,
    *,
    regions: DataNode,
    firsts: DataNode,
    apart: bool | None = None,
) -> DataNode:
    """Put each sample's image together from regions of the batch's cells.

    Parameters
    ----------
    cells : sequence of DataNode, uint8 HWC
        Decoded blocks, one node for each slot, all on the same device.
    pixels : DataNode, uint8 HWC, on the CPU
        The slot after the last; as many rows as the images have rows and columns.
    regions : DataNode, int32 (R, 11)
        See `cellmix_dali.reading.cells.Cells`.
    firsts : DataNode, int32 (slots + 2,)
        Number of the first region of each slot, and of all.
    apart : bool, optional
        Whether to paste by DALI's own operators, the regions of each slot by one of their own. By default only on the
        GPU; on the CPU compiled code copies all of them at once.

    Returns
    -------
    DataNode, uint8 HWC
        On the device of the cells. What no region covers is white.

    Raises
    ------
    CellMixDaliError
        If the compiled code, tried once per process on a small batch, puts images together wrongly.
    """
    gpu = cells[0].device == "gpu"
    if not (gpu if apart is None else apart):
        from .engines.cpu_windows import put_together

        _self_check()
        return put_together(cells, pixels, fn.slice(regions, 0, firsts[len(cells) + 1], axes=[0]))
    side = pixels.shape(dtype=types.INT32)[0]
    # What is not pasted is 0. Inverted, that is white, so that the sum of a tile's pieces is the tile.
    inverted = []
    for slot, images in enumerate([*cells, pixels.gpu() if gpu else pixels]):
        own = fn.slice(regions, firsts[slot], firsts[slot + 1] - firsts[slot], axes=[0])
        inverted.append(
            fn.multi_paste(
                _inverted(images),
                in_ids=own[:, 1],
                in_anchors=own[:, 2:4],
                out_anchors=own[:, 4:6],
                shapes=own[:, 6:8],
                output_size=fn.stack(side, side),
            )
        )
    return _inverted(reduce(add, inverted))


@functools.cache
def _self_check() -> None:
    """Compare compiled code with plain indexing once per process: an error inside it would leave garbage unseen."""
    from .engines.cpu_windows import put_together
    from .engines.self_check import require

    random = np.random.default_rng(0)
    batch, side = 3, 16
    cells = [[random.integers(0, 256, (9, 5 + slot, 3), np.uint8) for _ in range(batch)] for slot in range(2)]
    # Each image: two regions beside each other, from other samples, and white below them.
    regions = np.zeros((batch, 3, 11), np.int32)
    for sample in range(batch):
        regions[sample, 0] = (0, (sample + 1) % batch, 2, 1, 0, 3, 6, 4, 0, 3 * (2 * 5 + 1), 3 * 5)
        regions[sample, 1] = (1, (sample + 2) % batch, 1, 0, 4, 7, 8, 6, 1, 3 * 6, 3 * 6)
    want = np.full((batch, side, side, 3), 255, np.uint8)
    for image, own in zip(want, regions.tolist(), strict=True):
        for slot, of, from_y, from_x, y, x, height, width, *_ in own:
            image[y : y + height, x : x + width] = cells[slot][of][from_y : from_y + height, from_x : from_x + width]
    given = [*cells, [np.zeros((side, 1, 3), np.uint8)] * batch, list(regions)]
    pipeline = Pipeline(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        nodes = fn.external_source(lambda: given, num_outputs=4, batch=True)
        pipeline.set_outputs(put_together(nodes[:2], nodes[2], nodes[3]))
    pipeline.build()
    told = "Compiled code put tiles together wrongly on the CPU", ""
    require(np.array(pipeline.run()[0].as_array()), want, told, ("numba", "numpy", "nvidia.dali"))


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
