"""One batch through the CUDA kernel: tensors of PyTorch in, one tensor out, nothing waits.

Importing it raises ImportError where numba-cuda is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numba import cuda
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError

from . import cuda_kernel as kernel

__all__ = ["launch", "mixed_and_normalised"]

_TYPES = {"float32": torch.float32, "float16": torch.float16}


def mixed_and_normalised(
    images: Sequence[torch.Tensor],
    tables: Sequence[torch.Tensor] | None,
    numbers: NDArray[np.float32],
    dtype: str,
    stream: int,
) -> torch.Tensor:
    """Run the pass over a batch; nothing waits for it.

    Parameters
    ----------
    images : sequence of Tensor, uint8 (height, width, 3)
        On one device, each contiguous.
    tables : sequence of Tensor, int32, or None
        Of each sample, see `cell_tables`; None: nothing is mixed.
    numbers : float32, (6,)
        See `Normalisation.constants`.
    dtype : {"float32", "float16"}
        Of the result.
    stream : int
        Address of the CUDA stream on which everything is done.

    Returns
    -------
    Tensor, (batch, 3, height, width)
        On the same device.

    Raises
    ------
    ArgumentError
        If the images are not what the kernel takes.
    """
    shape, place = images[0].shape, images[0].device
    if len(shape) != 3 or shape[2] != 3 or any(image.shape != shape for image in images):
        found = sorted({tuple(image.shape) for image in images})
        raise ArgumentError(f"engine='numba' takes RGB images of one size, (height, width, 3), got {found}.")
    if any(image.dtype != torch.uint8 or not image.is_contiguous() for image in images):
        raise ArgumentError("engine='numba' takes uint8 images whose pixels lie one after another.")
    on_device = place.type == "cuda"
    # The allocator of torch gives memory out again only to what comes later on the same stream, and pinned memory only
    # when the copy from it is done: nothing here needs to be kept.
    with torch.cuda.stream(_external(stream, place)) if on_device else nullcontext():
        numbered = [each.data_ptr() for each in (*images, *(tables or ()))]
        addresses = torch.tensor(numbered, dtype=torch.int64, pin_memory=on_device).to(place, non_blocking=True)
        target = torch.empty((len(images), 3, *shape[:2]), dtype=_TYPES[dtype], device=place)
        launch(target, addresses, numbers, dtype, mixing=tables is not None, stream=stream)
    return target


def _external(stream: int, place: torch.device) -> torch.cuda.Stream:
    """A stream of DALI's, for torch."""
    found: torch.cuda.Stream = torch.cuda.ExternalStream(stream, device=place)  # type: ignore[no-untyped-call]
    return found


def launch(
    target: torch.Tensor,
    addresses: torch.Tensor,
    numbers: NDArray[np.float32],
    dtype: str,
    *,
    mixing: bool,
    stream: int,
) -> None:
    """Launch the kernel alone, on tensors that are there; see `cuda_kernel.mix_float32`."""
    batch, _, height, width = target.shape
    run: Any = {"float32": kernel.mix_float32, "float16": kernel.mix_float16}[dtype]
    queue = cuda.external_stream(stream) if target.is_cuda else 0
    run[kernel.grid(batch, height, width, dtype), kernel.BLOCK, queue](
        target.data_ptr(), addresses.data_ptr(), batch, height, width, int(mixing), *numbers
    )
