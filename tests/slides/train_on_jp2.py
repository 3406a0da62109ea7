"""Train on a slide of JP2 blocks by several loaders, one after the other: python train_on_jp2.py SLIDE LOADERS.

Prints how many loaders there were, how many tiles they gave, and how many tiles were replaced. `make valgrind` runs it
under valgrind, which tells of every write that DALI's decoders make where they must not.
"""

from __future__ import annotations

import sys

import numpy as np

from cellmix_dali import grid_tiles, open_slide
from cellmix_dali.pipelines import train_loader


def main() -> None:
    with open_slide(sys.argv[1]) as slide:
        table = grid_tiles(slide, slide.levels[0].block_width)
    table = table.with_labels(np.arange(len(table)) % 2)
    tiles, bad, count = 0, set(), int(sys.argv[2])
    for seed in range(count):
        options = {"num_classes": 2, "batch_size": 8, "method": None, "engine": "native", "seed": seed}
        with train_loader(table, **options) as loader:
            tiles += sum(len(batch["tile"]) for batch in loader)
            bad |= {fault.tile for fault in loader.faults}
    print(count, tiles, len(bad))


if __name__ == "__main__":
    main()
