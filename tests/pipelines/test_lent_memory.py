"""Memory that is lent to tensors: never to two at a time, and again once nothing holds it."""

from __future__ import annotations

import gc

import pytest
import torch

from cellmix_dali.pipelines._lent_memory import LentMemory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_memory_is_lent_again_once_nothing_holds_it(dtype: torch.dtype) -> None:
    memory = LentMemory()
    first = memory.tensor((4, 3), dtype)
    assert (first.shape, first.dtype, first.is_contiguous()) == ((4, 3), dtype, True)
    place, part = first.data_ptr(), first[1:].t()
    del first
    gc.collect()
    other = memory.tensor((3, 4), dtype)
    assert other.data_ptr() != place  # a part of it is in use
    del part
    gc.collect()
    assert memory.tensor((2, 6), dtype).data_ptr() == place


def test_what_else_holds_it_keeps_it() -> None:
    """An array, and the graph of gradients."""
    memory = LentMemory()
    tensor = memory.tensor((8,), torch.float32)
    place, array = tensor.data_ptr(), tensor.numpy()
    del tensor
    gc.collect()
    assert memory.tensor((8,), torch.float32).data_ptr() != place
    del array
    gc.collect()
    factor = torch.ones(8, requires_grad=True)
    tensor = memory.tensor((8,), torch.float32).fill_(2)
    place, loss = tensor.data_ptr(), (factor * tensor).sum()
    del tensor
    gc.collect()
    assert memory.tensor((8,), torch.float32).fill_(5).data_ptr() != place
    loss.backward()
    assert factor.grad is not None
    assert factor.grad.tolist() == [2.0] * 8


def test_not_all_that_was_held_at_once_is_kept() -> None:
    memory = LentMemory()
    held = [memory.tensor((16,), torch.float32) for _ in range(20)]
    assert len({tensor.data_ptr() for tensor in held}) == 20
    held.clear()
    gc.collect()
    assert [len(waiting) for waiting in memory._waiting.values()] == [4]
    assert memory.tensor((0, 3), torch.float32).shape == (0, 3)
