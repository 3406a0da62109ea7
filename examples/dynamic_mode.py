"""CellMix in DALI's dynamic mode, where operators are called like functions: the page to copy from.

    python examples/dynamic_mode.py [FOLDER]

FOLDER: slides with QuPath annotations, as for train_classifier.py beside this file; without it, slides are rendered.
There is no pipeline and no graph: a batch is read, mixed, looked at or changed by plain Python, which costs some speed.
NVIDIA calls dynamic mode experimental; this page runs with DALI 2.4.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import nvidia.dali.experimental.dynamic as ndd
import torch
from train_classifier import CLASSES, TILE, labelled_tiles, make_model

from cellmix_dali import CellMix, Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.errors import SlideError
from cellmix_dali.plugins import PlanSource
from cellmix_dali.reading.cells import deal
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.synthetic import render_slides

EPOCHS, BATCH, DEVICE = 3, 32, "cpu"  # or "gpu"
MEAN, STD = [255 * value for value in (0.485, 0.456, 0.406)], [255 * value for value in (0.229, 0.224, 0.225)]


def read(reader: TileReader, rows: np.ndarray) -> ndd.Batch:
    """Read and decode tiles, uint8 HWC, put together from the slides' own blocks."""
    tiles = reader.read(rows)
    for tile in tiles:
        if isinstance(tile, SlideError):
            raise tile
    options = {"device": DEVICE, "jpeg_fancy_upsampling": True}  # as OpenSlide decodes JPEG, to the bit
    if reader.whole:
        return ndd.decoders.image(ndd.as_batch([tile.streams[0] for tile in tiles]), **options)
    # Each block of the batch is decoded once, in a cell (slot, sample); a tile takes regions of any cell.
    cells = deal(tiles, reader.slots, [TILE] * len(tiles))
    inverted, white = [], np.uint8(255)
    for slot in range(reader.slots + 1):
        if slot < reader.slots:
            streams, (anchor, shape) = ndd.as_batch(cells.streams[slot]), map(ndd.as_batch, cells.parts[slot])
            images = ndd.decoders.image_slice(streams, anchor, shape, axes=[0, 1], normalized_anchor=False, **options)
        else:
            images = ndd.as_batch(cells.pixels, layout="HWC", device=DEVICE)  # of tiles that OpenSlide has read
        own = [of[first[slot] : first[slot + 1]] for of, first in zip(cells.regions, cells.firsts, strict=True)]
        regions = {
            "in_ids": ndd.as_batch([np.ascontiguousarray(each[:, 1]) for each in own]),
            "in_anchors": ndd.as_batch([np.ascontiguousarray(each[:, 2:4]) for each in own]),
            "out_anchors": ndd.as_batch([np.ascontiguousarray(each[:, 4:6]) for each in own]),
            "shapes": ndd.as_batch([np.ascontiguousarray(each[:, 6:8]) for each in own]),
        }
        inverted.append(ndd.multi_paste(images ^ white, **regions, output_size=(TILE, TILE)))
    return reduce(add, inverted) ^ white  # what no region covers is 0 in a paste, and so white


def batches(
    reader: TileReader, order: EpochOrder, plans: PlanSource, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Go through an epoch: normalised images and soft labels, as tensors."""
    for iteration in range(len(order)):
        rows = order.batch(epoch, iteration)
        plan = plans.draw(epoch, iteration)  # a pure function of (seed, epoch, iteration), under the curriculum
        regions = {
            name: ndd.as_batch(getattr(plan, name)) for name in ("in_ids", "in_anchors", "out_anchors", "shapes")
        }
        images = ndd.multi_paste(read(reader, rows), **regions)
        images = ndd.crop_mirror_normalize(images, dtype=ndd.float32, output_layout="CHW", mean=MEAN, std=STD)
        one_hot = np.eye(len(CLASSES), dtype=np.float32)[reader.table.label[rows]]
        yield images.torch(), torch.from_numpy(plan.weights @ one_hot)


def main() -> None:
    """Train."""
    folder = Path(*sys.argv[1:2] or ["example-slides"])
    if not sys.argv[1:]:
        render_slides(folder, count=4, side=2048)
    slides = [next(s for s in folder.glob(f"{of.stem}.*") if s != of) for of in sorted(folder.glob("*.geojson"))]

    curriculum = Curriculum(epochs=EPOCHS, tile_size=TILE)
    reader = TileReader(TileTable.concat([labelled_tiles(path) for path in slides]))
    order = EpochOrder(len(reader.table), BATCH)
    plans = PlanSource(CellMix("CellMix-Group", p=0.5), tile_size=TILE, batch_size=BATCH, curriculum=curriculum)
    device = torch.device("cuda" if DEVICE == "gpu" else "cpu")
    model, criterion = make_model().to(device), SoftTargetCrossEntropy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(EPOCHS):
        total = 0.0
        for images, soft_labels in batches(reader, order, plans, epoch):
            loss = criterion(model(images.to(device)), soft_labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        patch_size, fix_ratio, mean = curriculum.patch_size, curriculum.fix_ratio, total / len(order)
        curriculum.step(mean)
        print(f"epoch {epoch + 1}: loss {mean:.3f}, patch {patch_size}, fix ratio {fix_ratio:.2f}")
    reader.close()


if __name__ == "__main__":
    main()
