"""The regions of a patch plan, worked out by compiled code: a plan has thousands of patches per batch."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from cellmix_dali._compiled import compiled

__all__ = ["patch_regions"]


@compiled(nogil=False)
def patch_regions(source_sample, source_patch, columns, height, width):
    """Return each tile whole, then the patches that come from elsewhere.

    All samples get as many regions as the one with the most foreign patches; where a sample has fewer, its own first
    patch is pasted onto itself before them, which changes nothing.

    Parameters
    ----------
    source_sample, source_patch : int32 arrays (batch, patches)
        See `cellmix_dali.mixing.PatchPlan`.
    columns : int
        Of the grid.
    height, width : int
        Of a patch in pixels.

    Returns
    -------
    ids : int32 array (batch, regions)
    in_anchors, out_anchors, shapes : int32 arrays (batch, regions, 2)
        In the terms of `fn.multi_paste`: later regions win.
    """
    batch, patches = source_sample.shape
    most = 0
    for sample in range(batch):
        foreign = 0
        for patch in range(patches):
            foreign += (source_sample[sample, patch] != sample) | (source_patch[sample, patch] != patch)
        most = max(most, foreign)
    ids = np.empty((batch, 1 + most), np.int32)
    in_anchors, out_anchors, shapes = (
        np.empty((batch, 1 + most, 2), np.int32),
        np.empty((batch, 1 + most, 2), np.int32),
        np.empty((batch, 1 + most, 2), np.int32),
    )
    rows = patches // columns
    tops, lefts = np.empty(patches, np.int32), np.empty(patches, np.int32)  # dividing takes longer than all else
    for patch in range(patches):
        tops[patch], lefts[patch] = patch // columns * height, patch % columns * width
    for sample in range(batch):
        region = most
        for patch in range(patches - 1, -1, -1):
            source, place = source_sample[sample, patch], source_patch[sample, patch]
            if source == sample and place == patch:
                continue
            ids[sample, region] = source
            in_anchors[sample, region, 0], in_anchors[sample, region, 1] = tops[place], lefts[place]
            out_anchors[sample, region, 0], out_anchors[sample, region, 1] = tops[patch], lefts[patch]
            shapes[sample, region, 0], shapes[sample, region, 1] = height, width
            region -= 1
        for own in range(region + 1):
            ids[sample, own] = sample
            in_anchors[sample, own, 0], in_anchors[sample, own, 1] = 0, 0
            out_anchors[sample, own, 0], out_anchors[sample, own, 1] = 0, 0
            shapes[sample, own, 0], shapes[sample, own, 1] = height, width
        shapes[sample, 0, 0], shapes[sample, 0, 1] = rows * height, columns * width
    return ids, in_anchors, out_anchors, shapes
