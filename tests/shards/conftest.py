"""Shards of real and of rendered slides, made from blocks as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.shards import ShardWriter, can_copy, copy_blocks, tile_rows, write_tiles

Collect = Callable[..., TileTable]


def collect_slides(
    folder: Path, slides: Sequence[Path], *, label: ArrayLike | None = None, max_tiles: int = 10
) -> TileTable:
    """Copy all whole blocks of slides into shards, and write the table; give the same tiles as a table over the slides.

    Labels are those given, for all tiles of all slides; tissue shares are made up.
    """
    tables, parts, done = [], [], 0
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(slides):
        with open_slide(path) as slide:
            size = slide.levels[0].block_width
            assert size is not None
            table = grid_tiles(slide, size)
            assert can_copy(slide, 0, table.x, table.y, table.size).all()
            own = None if label is None else np.asarray(label)[done : done + len(table)]
            with ShardWriter(folder, f"slide-{number}", max_tiles=max_tiles) as writer:
                for row, block in enumerate(copy_blocks(slide, 0, table.x, table.y)):
                    assert isinstance(block, memoryview)
                    about = {"slide": str(path), "x": int(table.x[row]), "y": int(table.y[row])}
                    writer.add(block, "jpg", about=about, label=None if own is None else int(own[row]))
            done += len(table)
            parts.append(
                tile_rows(
                    path,
                    x=table.x,
                    y=table.y,
                    size=table.size,
                    level=table.level,
                    tile_size=size,
                    mpp=0.5,
                    tissue=np.linspace(0, 1, len(table)),
                    label=own,
                    written=writer.close(),
                )
            )
            tables.append(table if own is None else table.with_labels(own))
    write_tiles(folder, parts)
    return TileTable.concat(tables)


@pytest.fixture(scope="session")
def collect() -> Collect:
    return collect_slides
