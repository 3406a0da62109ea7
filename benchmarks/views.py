"""Views for self-supervised training against a torch Dataset as pathology labs write it, and against decoding alone.

The Dataset opens each slide by OpenSlide, reads a region per sample, and makes its views by Pillow and scikit-image's
HED, as OpenMidnight's does. Both make the same views by the same probabilities: 2 of 224 and 8 of 98 pixels. Figures
are processor time of one process, all threads, alternately; run it as ``python benchmarks/views.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from skimage.color import hed2rgb, rgb2hed

from cellmix_dali import TileTable, grid_tiles, open_slide, view_loader
from cellmix_dali.augment import Compose, Flip, GaussianBlur, Greyscale, HEDJitter, View
from cellmix_dali.augment.colour_jitter import ColourJitter
from cellmix_dali.pipelines import GraphOptions, source_pipeline
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import render_slides

_REGION, _BATCH = 448, 32
_AUGMENT = Compose(
    [
        Flip(horizontal=0.5, vertical=0.0),
        HEDJitter(alpha=0.05, beta=0.01, p=0.5),
        ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=36, p=0.8),
        Greyscale(p=0.2),
        GaussianBlur(sigma=(0.1, 2.0), p=0.5),
    ]
)
_GLOBAL = View("global", 224, count=2, scale=(0.32, 1.0), augment=_AUGMENT, interpolation="cubic")
_LOCAL = View("local", 98, count=8, scale=(0.05, 0.32), augment=_AUGMENT, interpolation="cubic")
_FEW = (
    View("global", 224, count=2, scale=(0.32, 1.0)),
    View("local", 96, count=4, scale=(0.05, 0.32)),
)


def _plain_view(region: Image.Image, view: View, random: np.random.Generator) -> NDArray[np.float32]:
    """One view, by Pillow and scikit-image."""
    top, left, bottom, right, _ = view.crop_of(_REGION).boxes(random, 1, 1.0)[0] * _REGION
    box = (round(left), round(top), max(round(right), round(left) + 1), max(round(bottom), round(top) + 1))
    image = region.crop(box).resize((view.size, view.size), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.5:
        hed = rgb2hed(np.asarray(image))
        hed = hed * random.uniform(0.95, 1.05, 3) + random.uniform(-0.01, 0.01, 3)
        image = Image.fromarray((np.clip(hed2rgb(hed), 0, 1) * 255).astype(np.uint8))
    if random.random() < 0.8:
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = change(image).enhance(random.uniform(0.6, 1.4))
        hue, *others = image.convert("HSV").split()
        by = int(random.integers(-25, 26))
        turned = hue.point([(level + by) % 256 for level in range(256)])
        image = Image.merge("HSV", (turned, *others)).convert("RGB")
    if random.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    values = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    return (values - np.float32([[[0.485]], [[0.456]], [[0.406]]])) / np.float32([[[0.229]], [[0.224]], [[0.225]]])


def _plain(table: TileTable, count: int) -> Callable[[], int]:
    """The Dataset: samples one after the other, stacked as a loader does."""
    slides = [openslide.OpenSlide(path) for path in table.slides]
    order = np.random.default_rng(0)

    def run() -> int:
        views: dict[str, list[NDArray[np.float32]]] = {"global": [], "local": []}
        for row in order.integers(0, len(table), count).tolist():
            place = (int(table.x[row]), int(table.y[row]))
            region = slides[int(table.slide[row])].read_region(place, 0, (_REGION, _REGION)).convert("RGB")
            for view in (_GLOBAL, _LOCAL):
                views[view.name] += [_plain_view(region, view, order) for _ in range(view.count)]
        for of in views.values():
            np.stack(of)
        return count

    return run


def _ours(table: TileTable, views: Any, dtype: str) -> Callable[[], int]:
    loader = view_loader(table, views, batch_size=_BATCH, num_threads=1, num_workers=1, dtype=dtype)

    def run() -> int:
        return sum(len(batch["tile"]) for batch in loader)

    return run


def _decoded(table: TileTable) -> Callable[[], int]:
    """The same tiles, decoded and put together, and nothing else."""
    source = TileSource(table, batch_size=_BATCH, num_workers=1)
    options = GraphOptions(num_threads=1)
    pipeline = source_pipeline(source, options, lambda batch, *_: [batch.images, batch.tile])

    def run() -> int:
        tiles = 0
        while True:
            try:
                tiles += len(pipeline.run()[1])
            except StopIteration:
                pipeline.reset()
                return tiles

    return run


def main() -> None:
    """Measure, and write what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--side", type=int, default=4096)
    arguments.add_argument("--samples", type=int, default=24)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slides = render_slides(Path(folder), count=1, side=given.side, seed=5)
        with open_slide(slides[0].path) as slide:
            table = grid_tiles(slide, _REGION, stride=300)
        contestants = {
            "plain": _plain(table, given.samples),
            "ours": _ours(table, (_GLOBAL, _LOCAL), "float32"),
            "ours, float16": _ours(table, (_GLOBAL, _LOCAL), "float16"),
            "2 x 224 + 4 x 96": _ours(table, _FEW, "float16"),
            "decoded": _decoded(table),
        }
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(given.rounds + 1):
            for name, run in contestants.items():
                began = time.process_time()
                tiles = run()
                if turn:  # the first compiles and opens
                    times[name].append((time.process_time() - began) / tiles * 1e6)
        micros = {name: round(statistics.median(of)) for name, of in times.items()}
        ratios = {
            "views_over_plain": statistics.median(a / b for a, b in zip(times["plain"], times["ours"], strict=True)),
            "few_over_decoded": statistics.median(
                a / b for a, b in zip(times["decoded"], times["2 x 224 + 4 x 96"], strict=True)
            ),
        }
        report = {"cpu_us_per_tile": micros, "ratios": {name: round(value, 2) for name, value in ratios.items()}}
        print(json.dumps(report, indent=2))
        if given.out is not None:
            given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
