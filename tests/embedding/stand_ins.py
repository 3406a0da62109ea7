"""Models that stand in for foundation models: small, drawn by a seed, and one that takes as long as it is told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellmix_dali import TileTable, open_slide


class Patches(nn.Module):
    """Tokens of patches, with a class token, as a vision transformer has them."""

    def __init__(self, width: int = 12, patch: int = 16) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.head = nn.Linear(width, 5)

    def forward_features(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        return self.block(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.forward_features(images)[:, 0])


def patches() -> nn.Module:
    torch.manual_seed(7)
    return Patches()


def told() -> tuple[nn.Module, dict[str, Any]]:
    """With a configuration of its own."""
    return patches(), {"mean": (0.7, 0.6, 0.5), "std": (0.2, 0.25, 0.3), "input_size": (3, 64, 64), "mpp": 0.5}


class Slow(nn.Module):
    """Takes a fixed time per tile, without the processor, as a GPU does; its features are the means of the colours."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, images: Tensor) -> Tensor:
        end = time.perf_counter() + self.seconds * len(images)
        found = images[:, :, ::8, ::8].mean(dim=(2, 3))
        time.sleep(max(0.0, end - time.perf_counter()))
        return found


class Undefined(nn.Module):
    """Not finite where a tile is bright."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(2, 3))
        return torch.where(mean > mean.median(), torch.nan, mean)


def undefined() -> nn.Module:
    return Undefined()


def plain_loop(model: Any, table: TileTable, mean: Any, std: Any) -> NDArray[np.float32]:
    """What everybody writes: OpenSlide, PIL, one tile after the other."""
    found = []
    for row in range(len(table)):
        with openslide.OpenSlide(table.slides[table.slide[row]]) as slide:
            side = int(table.size[row])
            image = slide.read_region((int(table.x[row]), int(table.y[row])), 0, (side, side)).convert("RGB")
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        normal = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        with torch.inference_mode():
            found.append(model(normal[None])[0].numpy())
    return np.stack(found)


def damage_block(path: Path, column: int, row: int) -> None:
    """Overwrite the second half of a block with zeros."""
    with open_slide(path) as slide:
        stream = slide.block(0, column, row)
    assert stream is not None
    data, half = bytearray(path.read_bytes()), bytes(stream[len(stream) // 2 : -2])
    at = data.index(half)
    data[at : at + len(half)] = bytes(len(half))
    path.write_bytes(data)


def slow() -> nn.Module:
    """A model of 400 tiles per second."""
    return Slow(1 / 400)
