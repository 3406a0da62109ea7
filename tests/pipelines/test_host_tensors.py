"""Tensors in memory that is used again: never by two at a time."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from cellmix_dali.pipelines.views import host_tensor
from cellmix_dali.storage.buffers import BufferPool

SIDE = 256  # smaller pieces are not kept


@pytest.fixture
def memory() -> BufferPool:
    return BufferPool(1 << 24)


def square(memory: BufferPool) -> Tensor:
    return host_tensor(memory, (SIDE, SIDE), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_memory_is_used_again_once_nothing_holds_it(memory: BufferPool, dtype: torch.dtype) -> None:
    first = host_tensor(memory, (SIDE, 3 * SIDE), dtype)
    assert (first.shape, first.dtype, first.is_contiguous()) == ((SIDE, 3 * SIDE), dtype, True)
    place, part = first.data_ptr(), first[1:].t()
    del first
    gc.collect()
    other = host_tensor(memory, (3 * SIDE, SIDE), dtype)
    assert other.data_ptr() != place  # a part of it is in use
    del part
    gc.collect()
    assert host_tensor(memory, (SIDE, SIDE, 3), dtype).data_ptr() == place
    assert host_tensor(memory, (0, 3), dtype).shape == (0, 3)


def test_what_else_holds_it_keeps_it(memory: BufferPool) -> None:
    """An array, and the graph of gradients."""
    tensor = square(memory)
    place, array = tensor.data_ptr(), tensor.numpy()
    del tensor
    gc.collect()
    assert square(memory).data_ptr() != place
    del array
    gc.collect()
    factor = torch.ones(SIDE, requires_grad=True)
    tensor = square(memory).fill_(2)
    place, loss = tensor.data_ptr(), (factor * tensor).sum()
    del tensor
    gc.collect()
    assert square(memory).fill_(5).data_ptr() != place
    loss.backward()
    assert factor.grad is not None
    assert factor.grad.tolist() == [2.0 * SIDE] * SIDE
