"""The data set that people write over OpenSlide; alone in its module, as worker processes import no more than that."""

from __future__ import annotations

import torch
from openslide import OpenSlide
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["Regions"]


class Regions(Dataset[tuple[Tensor, int]]):
    """A region, RGB, a tensor: uint8 as it comes, or float as of torchvision's ToTensor.

    Each worker opens the slide for itself.
    """

    def __init__(
        self, path: str, corners: list[tuple[int, int]], size: int, labels: list[int], *, floats: bool
    ) -> None:
        self._path, self._corners, self._size, self._labels, self._floats = path, corners, size, labels, floats
        self._slide: OpenSlide | None = None

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self._slide is None:
            self._slide = OpenSlide(self._path)
        region = self._slide.read_region(self._corners[index], 0, (self._size, self._size)).convert("RGB")
        # frombytes would be read-only; this is one copy, as ToTensor makes.
        image = torch.frombuffer(bytearray(region.tobytes()), dtype=torch.uint8).view(self._size, self._size, 3)
        if self._floats:
            image = image.permute(2, 0, 1).contiguous().float().div(255)
        return image, self._labels[index]
