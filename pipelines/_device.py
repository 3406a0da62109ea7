"""Where a pipeline runs."""

from __future__ import annotations

import functools
import io

import numpy as np
import torch
from PIL import Image

from cellmix_dali.errors import MissingDependencyError, unknown_name
from cellmix_dali.plugins._dali import Pipeline, fn, types
from cellmix_dali.slides.jpeg import BlockStreams

__all__ = ["DEVICES", "decoder_device", "device_id"]

DEVICES = ("cpu", "gpu")


def device_id(device: str) -> int | None:
    """Give DALI's device id: None for the CPU, the current CUDA device for the GPU.

    Raises
    ------
    ArgumentError
        If the device's name is unknown.
    MissingDependencyError
        If there is no GPU.
    """
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    if device == "cpu":
        return None
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            "device='gpu' was asked for, but this machine has no usable CUDA device (torch.cuda.is_available() is "
            "False). Use device='cpu', or check the driver (nvidia-smi) and that PyTorch is a CUDA build."
        )
    return torch.cuda.current_device()


def decoder_device(device: str) -> str:
    """Give the device of `fn.decoders.image`: the GPU only where it is seen to keep the colours of RGB JPEG."""
    return "mixed" if device == "gpu" and _gpu_keeps_rgb(torch.cuda.current_device()) else "cpu"


@functools.cache
def _gpu_keeps_rgb(device: int) -> bool:
    """Decode a small RGB JPEG (as Aperio slides hold them) on the GPU and compare: some decoders take it for YCbCr."""
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, :32], colours[:, 32:] = (200, 60, 120), (60, 180, 40)
    encoded = io.BytesIO()
    Image.fromarray(colours).save(encoded, "JPEG", quality=95, keep_rgb=True)
    jpeg = encoded.getvalue()
    stream = np.frombuffer(BlockStreams("rgb", None, jpeg).join(jpeg), np.uint8)
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=device, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: [stream], batch=True, dtype=types.UINT8, ndim=1)
        pipeline.set_outputs(fn.decoders.image(node, device="mixed", output_type=types.RGB))
    pipeline.build()
    (images,) = pipeline.run()
    difference = np.abs(np.asarray(images.as_cpu().as_array()[0], np.int16) - colours)
    return bool(difference.mean() < 4)
