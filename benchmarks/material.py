"""What is read: two large slides of rendered tissue, and their tile tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from settings import BATCH, BLOCK, CLASSES, WINDOW

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.synthetic import render_tissue, write_slide

__all__ = ["Material", "material"]

_RENDERED = 4096  # side of the picture that is rendered; it is repeated to fill the slide


@dataclass(frozen=True)
class Material:
    """Where the slides lie.

    Attributes
    ----------
    tiff : Path
        Generic tiled TIFF: YCbCr 4:2:0 JPEG in blocks of 256 pixels.
    svs : Path
        Aperio SVS: RGB 4:4:4 JPEG, shared tables.
    side : int
        Their side in pixels.
    """

    tiff: Path
    svs: Path
    side: int

    def blocks(self, slide: Path, tiles: int) -> TileTable:
        """Return tiles that are one block each, spread over the whole slide."""
        with open_slide(slide) as opened:
            table = grid_tiles(opened, BLOCK)
        rows = np.random.default_rng(0).permutation(len(table))[: tiles // BATCH * BATCH]
        return table.select(rows).with_labels(np.arange(len(rows)) % CLASSES)

    def of_many(self, table: TileTable, slides: int) -> TileTable:
        """Spread a table of one slide over as many hard links to it: a collection, as far as a reader can tell."""
        (path,) = map(Path, table.slides)
        parts = []
        for number, rows in enumerate(np.array_split(np.arange(len(table)), slides)):
            link = path.with_name(f"{number}-of-{slides}-{path.name}")
            if not link.exists():
                link.hardlink_to(path)
            part = table.select(rows)
            parts.append(TileTable.from_columns(link, x=part.x, y=part.y, size=part.size, label=part.label))
        return TileTable.concat(parts)

    def windows(self, slide: Path, tiles: int) -> TileTable:
        """Return tiles anywhere."""
        corners = np.random.default_rng(1).integers(0, self.side - WINDOW + 1, (2, tiles))
        return TileTable.from_columns(
            slide, x=corners[0], y=corners[1], size=WINDOW, label=np.arange(tiles, dtype=np.int32) % CLASSES
        )


@contextmanager
def material(side: int) -> Iterator[Material]:
    """Render the slides into a temporary folder, which goes again in the end."""
    with TemporaryDirectory(prefix="cellmix-dali-bench-") as folder:
        found = Material(Path(folder, "bench.tiff"), Path(folder, "bench.svs"), side)
        pixels, _ = render_tissue(min(side, _RENDERED), min(side, _RENDERED), seed=1)
        times = -(-side // _RENDERED)
        pixels = np.tile(pixels, (times, times, 1))[:side, :side]
        for path in (found.tiff, found.svs):
            write_slide(path, pixels, levels=1)
        del pixels
        yield found
