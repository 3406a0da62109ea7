"""Long runs on the GPU: late streams, two loaders at once, memory."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cellmix_dali import TileTable
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource

BATCHES, BATCH = 500, 8


@pytest.fixture(scope="module")
def long_table(table: TileTable) -> TileTable:
    """Tiles of both kinds of blocks for 500 batches."""
    return table.select(np.arange(BATCHES * BATCH) % len(table))


@pytest.fixture(scope="module")
def ycbcr_table(long_table: TileTable) -> TileTable:
    """Those of the slide whose blocks the device decodes."""
    tiff = next(number for number, path in enumerate(long_table.slides) if Path(path).suffix == ".tiff")
    rows = np.flatnonzero(long_table.slide == tiff)
    return long_table.select(np.resize(rows, BATCHES * BATCH))


def training(table: TileTable, **options: object) -> Loader[TileSource]:
    chosen = {"patch_size": 32, "fix_ratio": 0.5, "p": 0.8, "seed": 3, "batch_size": BATCH} | options
    return train_loader(table, num_classes=3, device="gpu", **chosen)  # type: ignore[arg-type]


def fingerprints(images: torch.Tensor) -> torch.Tensor:
    """A whole number of each image, in which every bit of it counts."""
    bits = images.contiguous().view(torch.int32 if images.dtype == torch.float32 else torch.int16)
    weights = torch.arange(1, bits[0].numel() + 1, device=bits.device).reshape(bits[0].shape)
    return (bits.to(torch.int64) * weights).sum(dim=(1, 2, 3))


def in_time(loader: Loader[TileSource]) -> torch.Tensor:
    """All batches' fingerprints, each batch waited for."""
    found = []
    for batch in loader:
        found.append(fingerprints(batch["images"]).cpu())
        torch.cuda.synchronize()
    return torch.stack(found)


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_batches_stay_as_they_are_until_late_work_has_read_them(ycbcr_table: TileTable, engine: str) -> None:
    """PyTorch's stream is far behind; each batch is dropped before its work has begun."""
    with training(ycbcr_table, engine=engine) as loader:
        want = in_time(loader)
    late: list[torch.Tensor] = []
    busy = torch.randn(4096, 4096, device="cuda")
    with training(ycbcr_table, engine=engine) as loader:
        for batch in loader:
            for _ in range(2):
                busy @ busy  # some milliseconds of work that comes before
            late.append(fingerprints(batch["images"]))
            del batch
    got = torch.stack(late).cpu()
    assert got.shape == want.shape == (BATCHES, BATCH)
    assert len(want.unique()) > 100
    wrong = (got != want).any(dim=1)
    assert not wrong.any(), f"{int(wrong.sum())} of {BATCHES} batches were read after they had changed"


def test_work_on_a_stream_of_its_own(ycbcr_table: TileTable) -> None:
    """Batches that are asked for and used within `torch.cuda.stream`."""
    rows = ycbcr_table.select(np.arange(60 * BATCH))
    with training(rows) as loader:
        want = in_time(loader)
    own, found = torch.cuda.Stream(), []
    busy = torch.randn(4096, 4096, device="cuda")
    own.wait_stream(torch.cuda.current_stream())
    with training(rows) as loader, torch.cuda.stream(own):
        for batch in loader:
            busy @ busy
            found.append(fingerprints(batch["images"]))
            del batch
    own.synchronize()
    assert torch.equal(torch.stack(found).cpu(), want)


def test_two_loaders_in_turn(long_table: TileTable, ycbcr_table: TileTable) -> None:
    """Training and validation, a batch of each in turn, are as each alone."""
    few, others = long_table.select(np.arange(60 * BATCH)), ycbcr_table.select(np.arange(60 * BATCH))

    def validation() -> Loader[TileSource]:
        return evaluate_loader(others, batch_size=BATCH, num_classes=3, device="gpu", dtype="float16")

    with training(few) as one, validation() as other:
        want = in_time(one), in_time(other)
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    with training(few) as one, validation() as other:
        for train, test in zip(one, other, strict=True):
            found[0].append(fingerprints(train["images"]))
            found[1].append(fingerprints(test["images"]))
    for got, expected in zip(found, want, strict=True):
        assert torch.equal(torch.stack(got).cpu(), expected)


def test_two_loaders_in_threads(long_table: TileTable, ycbcr_table: TileTable) -> None:
    """Two loaders that are read at the same time are as each alone."""
    makers: list[Callable[[], Loader[TileSource]]] = [
        lambda: training(long_table.select(np.arange(60 * BATCH)), engine="numba"),
        lambda: training(ycbcr_table.select(np.arange(60 * BATCH)), engine="native", seed=8),
    ]

    def read(make: Callable[[], Loader[TileSource]]) -> torch.Tensor:
        with make() as loader:
            return in_time(loader)

    want = [read(make) for make in makers]
    with ThreadPoolExecutor(2) as threads:
        got = list(threads.map(read, makers))
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other)


def used(passes: Iterator[object]) -> tuple[int, int]:
    """Bytes of the device and of the process after the next pass."""
    next(passes)
    gc.collect()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return total - free, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_memory_stays_flat(ycbcr_table: TileTable) -> None:
    """1,000 batches after the first 500 take no more memory of the device, and hardly any of the host."""
    with training(ycbcr_table) as loader:
        passes = (sum(len(batch["images"]) for batch in loader) for _ in range(3))
        device, host = used(passes)
        next(passes)
        device_later, host_later = used(passes)
    assert device_later - device <= 32 << 20
    assert host_later - host <= 128 << 20


def test_loaders_give_their_memory_back(ycbcr_table: TileTable) -> None:
    """Twelve loaders, one after the other, take no more of the device than four."""
    few = ycbcr_table.select(np.arange(4 * BATCH))

    def run() -> Iterator[int]:
        for number in range(12):
            with training(few, seed=number) as loader:
                count = sum(len(batch["images"]) for batch in loader)
            if number in (3, 11):
                yield count

    passes = run()
    four, _ = used(passes)
    twelve, _ = used(passes)
    assert twelve - four <= 64 << 20
