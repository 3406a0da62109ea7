"""Overlapping regions of a plan as a table without overlaps, for the CUDA kernel: who covers a pixel is looked up."""

# The annotations of compiled functions would be compiled with them.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._compiled import compiled
from cellmix_dali.errors import ArgumentError

__all__ = ["cell_tables", "tables_of_batch"]


def cell_tables(regions: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Cut each image along the edges of its regions into cells, each of which comes from one place.

    Parameters
    ----------
    regions : int32, (batch, R, 7)
        Of each region the sample that it comes from, (y, x) there, (y, x) here, height and width, in pixels; later ones
        win. What none covers stays as it is.
    height, width : int
        Of the images.

    Returns
    -------
    int32, (batch, height + width + 2 C)
        For each row of pixels the number of its first cell; for each column how many cells stand left of it; for each
        cell the sample that it comes from, and how much further its pixels lie there than here, in bytes of an image of
        (height, width, 3). The number of a pixel's cell is the sum of its row's and its column's number. C is the
        largest number of cells of any sample.

    Raises
    ------
    ArgumentError
        If a region reaches out of the images or comes from a sample that is not there: reading it would break the GPU's
        context.
    """
    regions = np.ascontiguousarray(regions, np.int32)
    if not _fits(regions, height, width):
        raise ArgumentError(
            f"A plan does not fit a batch of {len(regions)} images of {height} x {width} px: correct the plan's "
            "tile_size and batch_size."
        )
    result: NDArray[np.int32] = _tables(regions, height, width)
    return result


def tables_of_batch(
    regions: Sequence[NDArray[np.int32]], shapes: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int32]]:
    """Do the same as a batch operator of DALI: one array a sample; `shapes` are the images', (height, width, 3)."""
    sizes = {(int(shape[0]), int(shape[1])) for shape in shapes}
    if len(sizes) > 1:
        raise ArgumentError(f"Images of several sizes, {sorted(sizes)}, cannot be mixed: resize or crop them to one.")
    return list(cell_tables(np.stack(regions), *sizes.pop()))


@compiled()
def _fits(regions, height, width):
    """Whether all regions lie within the images and come from samples of the batch."""
    batch, count = regions.shape[:2]
    for sample in range(batch):
        for region in range(count):
            source, y, x, top, left, tall, wide = regions[sample, region]
            if min(source, y, x, top, left, tall, wide) < 0 or source >= batch:
                return False
            if max(y, top) + tall > height or max(x, left) + wide > width:
                return False
    return True


@compiled()
def _tables(regions, height, width):
    """All samples' tables."""
    batch, count = regions.shape[:2]
    lines = np.empty((batch, height + width), np.int32)  # of each row and column of pixels the row, the column of cells
    edges = np.empty(height + width + 2, np.uint8)
    cells = np.empty((batch, 2), np.int64)
    for sample in range(batch):
        edges[:] = 0
        for region in range(count):
            _, _, _, top, left, tall, wide = regions[sample, region]
            edges[top] = edges[top + tall] = 1
            edges[height + 1 + left] = edges[height + 1 + left + wide] = 1
        edges[0] = edges[height + 1] = 0  # the first cell's edge separates nothing
        number = 0
        for place in range(height):
            number += edges[place]
            lines[sample, place] = number
        cells[sample, 0] = number + 1
        number = 0
        for place in range(height, height + width):
            number += edges[place + 1]
            lines[sample, place] = number
        cells[sample, 1] = number + 1
    most = 0
    for sample in range(batch):
        most = max(most, cells[sample, 0] * cells[sample, 1])
    tables = np.zeros((batch, height + width + 2 * most), np.int32)
    for sample in range(batch):
        across = cells[sample, 1]
        table, first = tables[sample], height + width
        for row in range(height):
            table[row] = lines[sample, row] * across
        for column in range(height, first):
            table[column] = lines[sample, column]
        for cell in range(cells[sample, 0] * across):
            table[first + 2 * cell] = sample
        for region in range(count):
            source, y, x, top, left, tall, wide = regions[sample, region]
            if tall == 0 or wide == 0:
                continue
            further = 3 * ((y - top) * width + x - left)
            for row in range(lines[sample, top], lines[sample, top + tall - 1] + 1):
                start = first + 2 * row * across
                for column in range(lines[sample, height + left], lines[sample, height + left + wide - 1] + 1):
                    table[start + 2 * column] = source
                    table[start + 2 * column + 1] = further
    return tables
