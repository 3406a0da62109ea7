"""What of a slide in a store must be on the disk for a read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.slides.block_table import PlacedBlocks
from cellmix_dali.storage.mirror import Mirror, Wanted, fetch

__all__ = ["StoredSlide"]


@dataclass(frozen=True, eq=False)
class StoredSlide:
    """What of a slide in a store must be there.

    Attributes
    ----------
    mirror : Mirror
        The file by which it is opened.
    always : tuple of Wanted
        What OpenSlide reads whatever it is asked for: directories, or, of a slide that was copied, all.
    is_copied : bool
        Whether the slide was copied as a whole.
    """

    mirror: Mirror
    always: tuple[Wanted, ...]
    is_copied: bool

    def blocks(self, table: PlacedBlocks, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Wanted]:
        """Return where blocks of a level lie, as what is wanted of the store."""
        if self.is_copied:
            return list(self.always)
        offsets, counts = (of.ravel() for of in table.places.take(table.numbers(columns, rows)))
        return [(self.mirror, offsets, offsets + counts)]

    def there(
        self, table: PlacedBlocks, columns: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> AbstractContextManager[None]:
        """Have blocks there as long as the context lasts."""
        return fetch(self.blocks(table, columns, rows))

    def region(
        self,
        tables: Sequence[PlacedBlocks | None],
        downsamples: Sequence[float],
        level: int,
        region: tuple[int, int, int, int],
    ) -> AbstractContextManager[None]:
        """Have there what OpenSlide, and who reads blocks, need for a region.

        Parameters
        ----------
        tables : sequence of (PlacedBlocks or None)
            The slide's levels.
        downsamples : sequence of float
            Of these levels, as they are in the file.
        level : int
            Which of them.
        region : (int, int, int, int)
            Left and top edge, width and height, in pixels of the level.
        """
        wanted = list(self.always)
        if not self.is_copied:
            wanted += self._region(tables, downsamples, level, region)
        return fetch(wanted)

    def _region(
        self,
        tables: Sequence[PlacedBlocks | None],
        downsamples: Sequence[float],
        level: int,
        region: tuple[int, int, int, int],
    ) -> Iterator[Wanted]:
        """The blocks of a region, and, below blank ones, those of the finer level: OpenSlide may draw these."""
        table = tables[level]
        assert table is not None
        x, y, width, height = region
        # A block more on each side: OpenSlide may begin a part of a pixel before.
        left, right = x // table.block_width - 1, -(-(x + width) // table.block_width) + 1
        top, bottom = y // table.block_height - 1, -(-(y + height) // table.block_height) + 1
        across = np.arange(max(left, 0), min(right, table.columns))
        down = np.arange(max(top, 0), min(bottom, table.rows))
        columns, rows = (each.ravel() for each in np.meshgrid(across, down))
        ((mirror, starts, ends),) = self.blocks(table, columns, rows)
        yield mirror, starts, ends
        if level and (starts == ends).any():
            scale = downsamples[level] / downsamples[level - 1]
            finer = (
                int((across[0] * table.block_width) * scale),
                int((down[0] * table.block_height) * scale),
                int(len(across) * table.block_width * scale) + 1,
                int(len(down) * table.block_height * scale) + 1,
            )
            yield from self._region(tables, downsamples, level - 1, finer)
