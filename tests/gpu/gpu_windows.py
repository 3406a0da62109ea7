"""Windows over the seams of blocks that are decoded on the device: the CPU's pixels within the decoders' difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from standing_in import place

from cellmix_dali import TileTable, open_slide
from cellmix_dali.pipelines import DecoderOptions, evaluate_loader, train_loader
from cellmix_dali.pipelines.routes import choose_decoder
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import RenderedSlide

# Largest difference of one pixel in levels of 255: the hybrid JPEG decoder has 3 on 4:2:0, the hardware's 1 (H200).
LARGEST = 3.01 / 255 / 0.224


def of_kind(rendered: list[RenderedSlide], colour: str) -> Path:
    for slide in rendered:
        with open_slide(slide.path) as opened:
            if opened.levels[0].colour == colour:
                return slide.path
    raise AssertionError(colour)


@pytest.fixture(params=[(200, 30, 224), (100, 7, 100), (256, 128, 512)], ids=["224 px", "100 px", "512 px"])
def windows(rendered: list[RenderedSlide], request: pytest.FixtureRequest) -> TileTable:
    step, first, size = request.param
    corners = np.arange(first, 1024 - size + 1, step)
    x, y = (place.ravel() for place in np.meshgrid(corners, corners))
    table = TileTable.from_columns(of_kind(rendered, "ycbcr"), x=x, y=y, size=size)
    return table.with_labels(np.arange(len(table)) % 3)


def test_a_ycbcr_table_is_decoded_on_the_device(windows: TileTable) -> None:
    """Also where RGB JPEG is not: each table has its own route."""
    source = TileSource(windows, batch_size=len(windows))
    assert choose_decoder(source, "gpu") == "mixed"
    assert source.routes["ycbcr jpeg 4:2:0"].decoder == "mixed"
    source.close()


def test_windows_over_seams(windows: TileTable) -> None:
    options = {"batch_size": len(windows), "num_classes": 3}
    with evaluate_loader(windows, device="gpu", **options) as gpu, evaluate_loader(windows, **options) as cpu:
        (on_gpu,), (on_cpu,) = list(gpu), list(cpu)
    difference = (on_gpu["images"].cpu() - on_cpu["images"]).abs()
    assert on_gpu["images"].device.type == place()
    assert difference.max().item() <= LARGEST
    assert on_cpu["images"].std() > 0.1


@pytest.mark.parametrize(
    "decoder",
    [
        DecoderOptions(hw_decoder_load=0.0, hybrid_huffman_threshold=0),
        DecoderOptions(hw_decoder_load=0.5, preallocate_width_hint=256, preallocate_height_hint=256),
        DecoderOptions(
            device_memory_padding=1 << 20, host_memory_padding=1 << 20, device_memory_padding_jpeg2k=1 << 20
        ),
    ],
    ids=["hybrid", "both", "paddings"],
)
def test_the_decoders_options(windows: TileTable, decoder: DecoderOptions) -> None:
    options = {"batch_size": len(windows), "num_classes": 3}
    with (
        evaluate_loader(windows, device="gpu", decoder=decoder, require_gpu_decoding=True, **options) as gpu,
        evaluate_loader(windows, **options) as cpu,
    ):
        (on_gpu,), (on_cpu,) = list(gpu), list(cpu)
    assert (on_gpu["images"].cpu() - on_cpu["images"]).abs().max().item() <= LARGEST


@pytest.mark.parametrize("method", ["CellMix-Group", "ResizeMix", "CutMix"])
def test_windows_that_are_mixed(windows: TileTable, method: str) -> None:
    steering = {"patch_size": int(windows.size[0]) // 4, "fix_ratio": 0.5} if method.startswith("CellMix") else {}

    def batch(device: str) -> dict[str, torch.Tensor]:
        options = {"batch_size": 4, "method": method, "p": 1.0, "seed": 3, "device": device, **steering}
        with train_loader(windows, num_classes=3, **options) as loader:
            return {name: value.clone().cpu() for name, value in next(iter(loader)).items()}

    on_gpu, on_cpu = batch("gpu"), batch("cpu")
    assert on_gpu.keys() == on_cpu.keys()
    difference = (on_gpu["images"] - on_cpu["images"]).abs()
    assert difference.max().item() <= LARGEST
    torch.testing.assert_close(on_gpu["labels"], on_cpu["labels"], rtol=0, atol=1e-6)
    assert torch.equal(on_gpu["tile"], on_cpu["tile"])


def test_the_same_batches_again(windows: TileTable) -> None:
    """Which of a batch the hardware's decoder takes does not change from run to run, so that resume is exact."""

    def batches() -> list[torch.Tensor]:
        with evaluate_loader(windows, batch_size=8, num_classes=3, device="gpu") as loader:
            return [batch["images"].clone() for _ in range(3) for batch in loader]

    for one, other in zip(batches(), batches(), strict=True):
        assert torch.equal(one, other)
