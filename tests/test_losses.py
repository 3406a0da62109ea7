"""The soft-label loss."""

from __future__ import annotations

import pytest
import torch

from cellmix_dali import SoftCrossEntropy, SoftTargetCrossEntropy
from cellmix_dali.errors import ArgumentError


def test_it_is_the_mean_cross_entropy_a_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, requires_grad=True)
    index = torch.tensor([0, 1, 2, 3, 0, 1])
    hard = torch.nn.functional.one_hot(index, 4).float()
    loss = SoftTargetCrossEntropy()(logits, hard)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, index))
    soft = torch.rand(6, 4, generator=generator)
    soft /= soft.sum(dim=1, keepdim=True)
    by_hand = sum(-(soft[i] * torch.log(torch.softmax(logits[i], 0))).sum() for i in range(6)) / 6
    loss = SoftTargetCrossEntropy()(logits, soft)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    torch.testing.assert_close(logits.grad, (torch.softmax(logits.detach(), 1) - soft) / 6)


def test_class_indices_are_refused() -> None:
    with pytest.raises(ArgumentError, match="For class indices use"):
        SoftTargetCrossEntropy()(torch.zeros(3, 2), torch.zeros(3))


def test_the_sum_and_the_authors_name() -> None:
    """`SoftCrossEntropy` is called as a function, or made first as the authors' README does."""
    logits, target = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.eye(3)[[0, 1, 2, 1, 0]]
    mean = SoftTargetCrossEntropy()(logits, target)
    torch.testing.assert_close(SoftTargetCrossEntropy("sum")(logits, target), 5 * mean)
    torch.testing.assert_close(SoftCrossEntropy(logits, target), 5 * mean)
    torch.testing.assert_close(SoftCrossEntropy()(logits, target), 5 * mean)
    torch.testing.assert_close(SoftCrossEntropy(input=logits, target=target, reduction="average"), mean)
    torch.testing.assert_close(SoftCrossEntropy(reduction="mean")(logits, target), mean)
    assert isinstance(SoftCrossEntropy(), torch.nn.Module)


def test_wrong_reductions_and_halves_of_a_call_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"Unknown reduction 'none'.*mean, sum"):
        SoftTargetCrossEntropy("none")
    with pytest.raises(ArgumentError, match=r"Unknown reduction 'avg'.*sum, average, mean"):
        SoftCrossEntropy(reduction="avg")
    with pytest.raises(ArgumentError, match="logits and soft labels, or neither"):
        SoftCrossEntropy(torch.zeros(2, 2))  # type: ignore[call-overload]
