"""Whole loaders on the GPU: the CPU's batches, but for the decoders' difference; resume to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standing_in import place

from cellmix_dali import AnnotationMasks, Curriculum, TargetValues, TileTable
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import RenderedSlide

SMALLEST_DEVIATION = 0.224  # of ImageNet's
# Mean difference of decoded pixels, in levels of 255: the larger of gpu_decoding.py's bounds, over all batches.
MEAN_LEVELS = 1.2


def training(table: TileTable, **options: Any) -> Loader[TileSource]:
    chosen: dict[str, Any] = {"curriculum": Curriculum(epochs=2, tile_size=256), "p": 0.7, "seed": 4} | options
    return train_loader(table, num_classes=3, batch_size=8, **chosen)


def assert_alike(on_gpu: dict[str, torch.Tensor], on_cpu: dict[str, torch.Tensor]) -> None:
    assert on_gpu.keys() == on_cpu.keys()
    assert on_gpu["images"].device.type == place()
    for name, value in on_cpu.items():
        if name != "images":
            torch.testing.assert_close(on_gpu[name].cpu(), value, rtol=0, atol=1e-6)
    images = on_gpu["images"].cpu()
    assert images.shape == on_cpu["images"].shape
    difference = (images.float() - on_cpu["images"].float()).abs().mean().item()
    assert difference <= MEAN_LEVELS / 255 / SMALLEST_DEVIATION
    assert images.float().std() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("engine", ["native", "numba"])
def test_training_batches(table: TileTable, engine: str, dtype: str) -> None:
    options = {"engine": engine, "dtype": dtype}
    curricula = [Curriculum(epochs=2, tile_size=256) for _ in range(2)]
    makers = [
        training(table, device=device, curriculum=curriculum, **options)
        for device, curriculum in zip(("gpu", "cpu"), curricula, strict=True)
    ]
    with makers[0] as gpu, makers[1] as cpu:
        for _ in range(2):
            count = 0
            for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
                assert_alike(on_gpu, on_cpu)
                count += 1
            assert count == len(gpu) == 4
            for curriculum in curricula:
                curriculum.step(0.5)


@pytest.mark.parametrize("method", ["CellMix-Group", "Cutout", "CutMix", "ResizeMix", "FMix"])
def test_masks_tokens_and_targets(table: TileTable, method: str) -> None:
    """To the bit those of the CPU: they do not depend on the decoder."""
    times = TargetValues("survival", np.stack([np.arange(len(table)), np.arange(len(table)) % 2], axis=1))
    options: dict[str, Any] = {
        "method": method,
        "curriculum": Curriculum(epochs=2, tile_size=256, token_size=32) if method == "CellMix-Group" else None,
        "source_map": 32,
        "masks": AnnotationMasks(Path(table.slides[0]).parent, ("stroma", "tumour")),
        "targets": {"age": TargetValues("regression", np.arange(len(table)) / 7), "risk": times},
    }
    with training(table, device="gpu", **options) as gpu, training(table, **options) as cpu:
        for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
            assert_alike(on_gpu, on_cpu)
            assert on_gpu["masks"].is_cuda
            assert torch.equal(on_gpu["masks"].cpu(), on_cpu["masks"])


def test_windows_over_several_blocks(rendered: list[RenderedSlide]) -> None:
    x, y = (30 + 200 * place.ravel() for place in np.meshgrid(np.arange(4), np.arange(4)))
    tables = [TileTable.from_columns(slide.path, x=x, y=y, size=256) for slide in rendered]
    windows = TileTable.concat(tables).with_labels(np.arange(32) % 3)
    with training(windows, device="gpu") as gpu, training(windows, device="cpu", engine="native") as cpu:
        for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
            assert_alike(on_gpu, on_cpu)


def test_engines_agree(table: TileTable) -> None:
    with training(table, device="gpu", engine="native") as one, training(table, device="gpu", engine="numba") as other:
        for native, numba in zip(one, other, strict=True):
            torch.testing.assert_close(native["images"], numba["images"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", ["Mixup", "CutMix", "SaliencyMix"])
def test_other_methods(table: TileTable, method: str) -> None:
    def make(device: str) -> Loader[TileSource]:
        return train_loader(table, num_classes=3, batch_size=8, method=method, p=1.0, seed=2, device=device)

    with make("gpu") as gpu, make("cpu") as cpu:
        for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
            if method == "SaliencyMix":  # a box's place, and the labels with it, hang on pixels that may differ by some
                assert torch.isfinite(on_gpu["images"]).all()
                torch.testing.assert_close(on_gpu["labels"].sum(1).cpu(), torch.ones(8))
            else:
                assert_alike(on_gpu, on_cpu)


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_resume(table: TileTable, engine: str) -> None:
    with training(table, device="gpu", engine=engine) as loader:
        whole, state = [], None
        for number, batch in enumerate(loader):
            whole.append({name: value.clone() for name, value in batch.items()})
            if number == 1:
                state = loader.state_dict()
    assert state is not None
    with training(table, device="gpu", engine=engine) as loader:
        loader.load_state_dict(state)
        rest = list(loader)
    assert len(rest) == len(whole) - 2
    for got, want in zip(rest, whole[2:], strict=True):
        for name in want:
            assert torch.equal(got[name], want[name]), name


def test_evaluation(table: TileTable) -> None:
    def make(device: str) -> Loader[TileSource]:
        return evaluate_loader(table, batch_size=12, num_classes=3, device=device)

    with make("gpu") as gpu, make("cpu") as cpu:
        for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
            assert_alike(on_gpu, on_cpu)
