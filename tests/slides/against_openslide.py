"""Whether a slide's pixels are OpenSlide's, on every way by which they are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import openslide
from PIL import Image
from slide_files import Pixels

from cellmix_dali import TileTable, open_slide
from cellmix_dali.pipelines import read_table

__all__ = ["over_white", "same_as_openslide"]


def over_white(image: Image.Image) -> Pixels:
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def same_as_openslide(path: Path, side: int, step: int, *, levels: Iterable[int] | None = None) -> list[int]:
    """Compare windows over a whole level, and beyond its edges, with OpenSlide's; return how many of each level.

    They are read as tiles, through DALI, and as regions. Windows whose place OpenSlide would blur are left out.
    """
    counts = []
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.vendor == other.properties["openslide.vendor"]
        assert [slide.file_size(number) for number in range(len(slide.levels))] == list(other.level_dimensions)
        for number in range(len(slide.levels)) if levels is None else levels:
            level, scale = slide.levels[number], other.level_downsamples[number]
            places = [(x, y) for y in range(0, level.height, step) for x in range(0, level.width, step)]
            exact = [all(abs(round(of * scale) / scale - of) <= 1 / 1024 for of in place) for place in places]
            places = [place for place, is_exact in zip(places, exact, strict=True) if is_exact]
            table = TileTable.from_columns(
                str(path), x=[x for x, _ in places], y=[y for _, y in places], size=side, level=number
            )
            for (x, y), tile in zip(places, read_table(table, edge="pad"), strict=True):
                want = over_white(other.read_region((round(x * scale), round(y * scale)), number, (side, side))).copy()
                want[level.height - y :], want[:, level.width - x :] = 255, 255  # a region may reach over the edge
                np.testing.assert_array_equal(slide.read_region(number, x, y, side, side), want, f"{number}: {x}, {y}")
                np.testing.assert_array_equal(tile, want, f"tile of level {number} at {x}, {y}")
            counts.append(len(places))
    return counts
