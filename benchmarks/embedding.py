"""The embedding job against TRIDENT's loop (a DataLoader over OpenSlide for each slide), on a model that takes time.

    python benchmarks/embedding.py [--out embedding.json] [--rates 500 1400] [--rounds 3]

The model stands in for one on a GPU: it takes so long per tile, without the processor. Measured for each rate: the
share of the time in which the model worked, from the first batch wanted to the last one done; seconds of the clock and
of the processor, children included, of the job and of the loop, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import torch
from openslide import OpenSlide
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cellmix_dali import TileRecipe
from cellmix_dali.embedding import FeatureModel, ModelSettings, embed_slides, read_features
from cellmix_dali.synthetic import render_slides

TILE, BATCH, WORKERS = 224, 64, 2
SIDES = (2048, 3072, 4096, 6144)
COUNTS = (8, 6, 4, 2)  # of slides of each side


class Slow(nn.Module):
    """Takes a fixed time per tile; its features are means of colours."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.seconds = 1 / rate

    def forward(self, images: Tensor) -> Tensor:
        end = time.perf_counter() + self.seconds * len(images)
        found = images[:, :, ::16, ::16].mean(dim=(2, 3))
        time.sleep(max(0.0, end - time.perf_counter()))
        return found


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """TRIDENT's data set: tiles of one slide, read one by one."""

    def __init__(self, path: Path, coords: Any) -> None:
        self.path, self.coords, self.slide = path, coords, None
        self.mean, self.std = (torch.tensor(of).view(3, 1, 1) for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def __len__(self) -> int:
        return len(self.coords)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        self.slide = self.slide or OpenSlide(self.path)
        image = self.slide.read_region(tuple(self.coords[row].tolist()), 0, (TILE, TILE)).convert("RGB")
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        return (pixels - self.mean) / self.std, torch.from_numpy(self.coords[row])


def theirs(slides: list[Path], coords: Path, out: Path, model: nn.Module) -> None:
    """Slide by slide: a DataLoader of its own, then its file."""
    out.mkdir()
    for path in slides:
        _, places = read_features(coords / f"{path.stem}.h5")
        features, found = [], []
        with torch.inference_mode():
            for images, at in DataLoader(Tiles(path, places), batch_size=BATCH, num_workers=WORKERS):
                features.append(model(images).numpy())
                found.append(at.numpy())
        with h5py.File(out / f"{path.stem}.h5", "w") as file:
            file["features"], file["coords"] = np.concatenate(features), np.concatenate(found)


def unequal_slides(folder: Path) -> list[Path]:
    """Twenty slides, large and small ones in turn."""
    paths = []
    for side, count in zip(SIDES, COUNTS, strict=True):
        (made,) = render_slides(folder / str(side), count=1, side=side, seed=side)
        paths += [(number / count, made.path, folder / f"{side}-{number}.svs") for number in range(count)]
    for _, path, copy in paths:
        shutil.copy(path, copy)
    return [copy for _, _, copy in sorted(paths)]


def measured(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the clock and of the processor, and what came of it."""
    before, began = os.times(), time.perf_counter()
    found = work()
    clock, after = time.perf_counter() - began, os.times()
    return clock, sum(after[:4]) - sum(before[:4]), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rates", type=float, nargs="*", default=[500, 1400])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    recipe, rounds = TileRecipe(TILE, level=0, tissue=0.3), []
    with TemporaryDirectory() as name:
        folder = Path(name)
        slides = unequal_slides(folder)
        for number in range(given.rounds):
            for rate in given.rates:
                model = FeatureModel(Slow(rate), settings=ModelSettings(batch_size=BATCH))
                ours, theirs_out = folder / f"ours-{number}-{rate:g}", folder / f"theirs-{number}-{rate:g}"
                clock, processor, result = measured(lambda o=ours, m=model: embed_slides(slides, o, m, recipe))
                other = measured(lambda o=ours, t=theirs_out, r=rate: theirs(slides, o, t, Slow(r)))
                for path in slides:
                    a, b = (read_features(at / f"{path.stem}.h5") for at in (ours, theirs_out))
                    assert (a[1] == b[1]).all()
                    assert np.abs(a[0] - b[0]).max() < 1e-4, "the features differ"
                found = {
                    "rate": rate,
                    "tiles": result.tiles,
                    "busy": round(result.busy, 4),
                    "whole job busy": round(result.tiles / rate / clock, 4),
                    "seconds": [round(clock, 2), round(other[0], 2)],
                    "processor seconds": [round(processor, 2), round(other[1], 2)],
                    "theirs over ours, clock": round(other[0] / clock, 2),
                    "theirs over ours, processor": round(other[1] / processor, 2),
                    "load": round(os.getloadavg()[0], 1),
                }
                rounds.append(found)
                print(json.dumps(found), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps({"cores": len(os.sched_getaffinity(0)), "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
