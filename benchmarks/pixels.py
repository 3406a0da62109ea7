"""Whether tiles are OpenSlide's to the bit: a fast reader of other pixels has won nothing."""

from __future__ import annotations

import numpy as np
from openslide import OpenSlide
from ours import read_pipeline
from settings import BATCH

from cellmix_dali import TileTable
from cellmix_dali.plugins import TileSource

__all__ = ["largest_difference", "largest_difference_of_cucim"]


def largest_difference(table: TileTable) -> int:
    """Compare one batch of ours."""
    source = TileSource(table, batch_size=BATCH)
    try:
        images, _, rows = read_pipeline(source).run()
        return max(_against(table, int(rows.at(i)[0]), images.at(i)) for i in range(BATCH))
    finally:
        source.close()


def largest_difference_of_cucim(table: TileTable) -> int:
    """Compare as many tiles of cuCIM's."""
    from cucim import CuImage

    slide, size = CuImage(table.slides[0]), int(table.size[0])
    corners = np.stack([table.x, table.y], axis=1)[:BATCH].tolist()
    return max(_against(table, i, np.asarray(slide.read_region(at, (size, size)))) for i, at in enumerate(corners))


def _against(table: TileTable, row: int, pixels: np.ndarray) -> int:
    size = int(table.size[row])
    with OpenSlide(table.slides[0]) as slide:
        region = slide.read_region((int(table.x[row]), int(table.y[row])), 0, (size, size)).convert("RGB")
    return int(np.abs(np.asarray(region, np.int16) - pixels).max())
