"""Where a pipeline runs."""

from __future__ import annotations

import torch

from cellmix_dali._arguments import integer
from cellmix_dali._cores import usable_cores
from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.plugins.dali import Pipeline
from cellmix_dali.plugins.device_names import DEVICES, device_name

__all__ = ["DEVICES", "device_id", "device_name", "pipeline_on"]

_MOST_THREADS = 16
# Batches that are made ahead. With 2 the host's part and the GPU's wait for each other: 4 was 1.4 times as fast on an
# H200 (docs/gpu.md).
_AHEAD = {"cpu": 2, "gpu": 4}


def device_id(device: str | torch.device) -> int | None:
    """Return DALI's device id: None for the CPU; for the GPU the number that is given ("cuda:1"), or the current one.

    Raises
    ------
    ArgumentError
        If the device is unknown, or there is no GPU of that number.
    MissingDependencyError
        If there is no GPU.
    """
    if device_name(device) == "cpu":
        return None
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            "device='gpu' was asked for, but this machine has no usable CUDA device (torch.cuda.is_available() is "
            "False). Use device='cpu', or check the driver (nvidia-smi) and that PyTorch is a CUDA build."
        )
    index = None if device == "gpu" else torch.device(device).index
    if index is None:
        return torch.cuda.current_device()
    if index >= torch.cuda.device_count():
        raise ArgumentError(f"device={str(device)!r}: this machine's GPUs are 0 to {torch.cuda.device_count() - 1}.")
    return index


def pipeline_on(
    device: str | torch.device, *, batch_size: int, num_threads: int | None, prefetch_queue_depth: int | None = 1
) -> Pipeline:
    """Make a pipeline to define a graph in.

    Without a number of threads it has one per usable core, at most 16; without a depth 2 batches are made ahead, on
    the GPU 4.

    Raises
    ------
    ArgumentError
        If the device is unknown, or a number is not a whole one of at least 1.
    MissingDependencyError
        If there is no GPU, and it is asked for.
    """
    threads = min(_MOST_THREADS, usable_cores()) if num_threads is None else num_threads
    ahead = _AHEAD[device_name(device)] if prefetch_queue_depth is None else prefetch_queue_depth
    return Pipeline(
        batch_size=integer("batch_size", batch_size, low=1),
        num_threads=integer("num_threads", threads, low=1),
        device_id=device_id(device),
        prefetch_queue_depth=integer("prefetch_queue_depth", ahead, low=1),
    )
