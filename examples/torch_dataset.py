"""CellMix in a PyTorch DataLoader with a Dataset of your own, through the DALI proxy: the page to copy from.

    python examples/torch_dataset.py [FOLDER]

FOLDER: slides with QuPath annotations, as for train_classifier.py beside this file; without it, slides are rendered.
The DataLoader's workers run the Dataset; what they read goes to one DALI pipeline in the main process. A batch of the
DataLoader is a batch of the pipeline: its samples can be mixed with each other, and labels must go through it, too.
NVIDIA calls the proxy experimental; this page runs with DALI 2.4.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch.experimental import proxy as dali_proxy
from train_classifier import CLASSES, TILE, labelled_tiles, make_model

from cellmix_dali import CellMix, Curriculum, SoftTargetCrossEntropy, TileTable, open_slide
from cellmix_dali.plugins import PlanNodes, PlanSource, cellmix
from cellmix_dali.plugins.plan_source import PlanArrays
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.synthetic import render_slides

EPOCHS, BATCH, WORKERS = 3, 32, 2
PLAN = ("in_ids", "in_anchors", "out_anchors", "shapes", "weights", "parameters")
MEAN, STD = [255 * value for value in (0.485, 0.456, 0.406)], [255 * value for value in (0.229, 0.224, 0.225)]
open_once = lru_cache(maxsize=64)(open_slide)
if not torch.backends.cuda.is_built():  # the proxy marks its steps for NVIDIA's profiler, which this PyTorch lacks
    torch.cuda.nvtx.range_push = torch.cuda.nvtx.range_pop = lambda *_: None


def batches(order: EpochOrder, plans: PlanSource, epoch: int) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Go through an epoch, in the main process: the tiles of each batch, and the plan by which they will be mixed."""
    for iteration in range(len(order)):
        plan = plans.draw(epoch, iteration)  # a few kB, and the same whichever worker reads the tiles
        rows = order.batch(epoch, iteration).tolist()
        yield [(row, {name: getattr(plan, name)[place] for name in PLAN}) for place, row in enumerate(rows)]


class Tiles(torch.utils.data.Dataset):
    """Any Dataset will do that calls the proxy with what the pipeline takes, by name."""

    def __init__(self, table: TileTable, proxy: Any) -> None:
        self.table, self.proxy = table, proxy

    def __getitem__(self, item: tuple[int, dict[str, Any]]) -> Any:
        (row, plan), of = item, self.table
        x, y, size, level = (int(column[row]) for column in (of.x, of.y, of.size, of.level))
        image = open_once(of.slides[of.slide[row]]).read_region(level, x, y, size, size)
        return self.proxy(image=image, label=of.label[row : row + 1], **plan)


@pipeline_def
def mixing_pipeline():
    """Mix and normalise; every input has a name, by which the proxy gives it. For the GPU: images = images.gpu()."""
    images = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
    labels = fn.external_source(name="label", dtype=types.INT32, ndim=1)
    kinds = zip(PLAN, PlanArrays.dtypes(PLAN), PlanArrays.ndims(PLAN), strict=True)
    plan = {name: fn.external_source(name=name, dtype=dtype, ndim=ndim) for name, dtype, ndim in kinds}
    images, soft_labels = cellmix(images, labels, num_classes=len(CLASSES), plan=PlanNodes(**plan))
    return fn.crop_mirror_normalize(images, output_layout="CHW", mean=MEAN, std=STD), soft_labels


def main() -> None:
    """Train."""
    folder = Path(*sys.argv[1:2] or ["example-slides"])
    if not sys.argv[1:]:
        render_slides(folder, count=4, side=2048)
    slides = [next(s for s in folder.glob(f"{of.stem}.*") if s != of) for of in sorted(folder.glob("*.geojson"))]
    table = TileTable.concat([labelled_tiles(path) for path in slides])
    curriculum = Curriculum(epochs=EPOCHS, tile_size=TILE)
    plans = PlanSource(CellMix("CellMix-Group", p=0.5), tile_size=TILE, batch_size=BATCH, curriculum=curriculum)
    order, model, criterion = EpochOrder(len(table), BATCH), make_model(), SoftTargetCrossEntropy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with dali_proxy.DALIServer(mixing_pipeline(batch_size=BATCH, num_threads=2, device_id=None)) as server:
        dataset = Tiles(table, server.proxy)
        setup = {"num_workers": WORKERS, "multiprocessing_context": "fork"}  # the proxy cannot be pickled: fork
        for epoch in range(EPOCHS):
            loader = dali_proxy.DataLoader(server, dataset, batch_sampler=batches(order, plans, epoch), **setup)
            total = 0.0
            for images, soft_labels in loader:
                loss = criterion(model(images), soft_labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            patch_size, fix_ratio, mean = curriculum.patch_size, curriculum.fix_ratio, total / len(order)
            curriculum.step(mean)
            print(f"epoch {epoch + 1}: loss {mean:.3f}, patch {patch_size}, fix ratio {fix_ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
