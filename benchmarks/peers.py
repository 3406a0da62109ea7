"""Others that read the same tiles: OpenSlide with PyTorch's DataLoader, cuCIM, fastslide."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from measure import Contestant
from plain_cellmix import plain_cellmix
from regions import Regions
from settings import BATCH, CLASSES, FIX_RATIO, PATCH, THREADS
from torch import Tensor
from torch.utils.data import DataLoader

from cellmix_dali import TileTable
from cellmix_dali.plugins.normalise import MEAN, STD

__all__ = ["cucim", "fastslide", "missing", "openslide_read", "openslide_whole"]

_GROUP = 2  # of CellMix-Group


def missing(module: str) -> str | None:
    """Say why a peer cannot be measured here, or None."""
    try:
        importlib.import_module(module)
    except Exception as error:  # packages that do not fit one another raise anything
        return f"{module} is not measured: it cannot be imported here ({error})"
    return None


def _loader(table: TileTable, *, floats: bool) -> DataLoader[tuple[Tensor, int]]:
    assert table.label is not None
    return DataLoader(
        Regions(table.slides[0], _corners(table), int(table.size[0]), table.label.tolist(), floats=floats),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=THREADS,
        persistent_workers=True,
        multiprocessing_context="spawn",  # this process has threads, which a fork does not bear
    )


def openslide_read(table: TileTable) -> Contestant:
    """uint8 tensors."""
    loader = _loader(table, floats=False)

    def run() -> int:
        return sum(len(images) for images, _ in loader)

    return Contestant("OpenSlide + DataLoader", run, _stop(loader))


def openslide_whole(table: TileTable) -> Contestant:
    """Float tensors, mixed and normalised batch by batch in this process."""
    loader = _loader(table, floats=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def run() -> int:
        count = 0
        for batch, labels in loader:
            images, _ = plain_cellmix(
                batch, labels, num_classes=CLASSES, patch_size=PATCH, fix_ratio=FIX_RATIO, group_size=_GROUP
            )
            count += len(images.sub_(mean).div_(std))
        return count

    return Contestant("OpenSlide + DataLoader + plain CellMix + normalise", run, _stop(loader))


def cucim(table: TileTable) -> Contestant:
    """cuCIM's own batches, decoded by its threads on the CPU."""
    from cucim import CuImage

    slide, size = CuImage(table.slides[0]), int(table.size[0])
    corners = _corners(table)

    def run() -> int:
        batches = slide.read_region(corners, (size, size), batch_size=BATCH, num_workers=THREADS, device="cpu")
        return sum(len(np.asarray(batch)) for batch in batches)

    return Contestant("cuCIM", run, slide.close)


def fastslide(table: TileTable) -> Contestant:
    """fastslide in a pool of threads."""
    from fastslide import FastSlide

    slide, size = FastSlide.from_file_path(table.slides[0]), int(table.size[0])
    corners = _corners(table)
    pool = ThreadPoolExecutor(THREADS)

    def read(corner: tuple[int, int]) -> np.ndarray:
        return np.asarray(slide.read_region(corner, 0, (size, size)).numpy())

    def run() -> int:
        count = 0
        for first in range(0, len(corners), BATCH):
            count += len(list(pool.map(read, corners[first : first + BATCH])))
        return count

    def close() -> None:
        pool.shutdown()
        slide.close()

    return Contestant("fastslide", run, close)


def _corners(table: TileTable) -> list[tuple[int, int]]:
    return list(zip(table.x.tolist(), table.y.tolist(), strict=True))


def _stop(loader: DataLoader[tuple[Tensor, int]]) -> Callable[[], None]:
    """End the worker processes."""

    def stop() -> None:
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()

    return stop
