"""Losses of targets that are mixed by the mixing matrix: several labels at once, and numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._arguments import number
from ..errors import ArgumentError, unknown_name
from .soft import REDUCTIONS

__all__ = ["MultiLabelLoss", "RegressionLoss"]


class MultiLabelLoss(nn.Module):
    """Binary cross-entropy of several labels at once, against shares from 0 to 1.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the samples; of a sample it is the mean over its labels.

    Raises
    ------
    ArgumentError
        If there is no such reduction.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = _checked(reduction)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : Tensor (batch, labels), floating
            What the model puts out, before the sigmoid.
        target : Tensor (batch, labels), floating
            Share of each label: a target of kind "multi_label".

        Returns
        -------
        Tensor ()

        Raises
        ------
        ArgumentError
            If the shapes differ.
        """
        _require_same(logits, target, "labels")
        each = functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return _reduced(each.mean(dim=1), self.reduction)


_ERRORS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "squared": lambda found, wanted, _: (found - wanted).square(),
    "absolute": lambda found, wanted, _: (found - wanted).abs(),
    "huber": lambda found, wanted, delta: functional.huber_loss(found, wanted, reduction="none", delta=delta),
}


class RegressionLoss(nn.Module):
    """The error of numbers, one or several per sample.

    Shapes must be the same: PyTorch's own losses would spread (batch,) and (batch, 1) to (batch, batch).

    Parameters
    ----------
    error : {"squared", "absolute", "huber"}, default "squared"
        Of each number.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the samples; of a sample it is the mean over its numbers.
    delta : float, default 1.0
        Of "huber": the error up to which it is squared (and halved), above 0.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    def __init__(self, error: str = "squared", reduction: str = "mean", *, delta: float = 1.0) -> None:
        super().__init__()
        if error not in _ERRORS:
            raise unknown_name("error", error, _ERRORS)
        self.error, self.reduction = error, _checked(reduction)
        self.delta = number("delta", delta, low=0.0, above_low=True)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        predicted : Tensor (batch, numbers), floating
            What the model puts out.
        target : Tensor (batch, numbers), floating
            A target of kind "regression".

        Returns
        -------
        Tensor ()

        Raises
        ------
        ArgumentError
            If the shapes differ.
        """
        _require_same(predicted, target, "numbers")
        each = _ERRORS[self.error](predicted, target.to(predicted.dtype), self.delta)
        return _reduced(each.mean(dim=1), self.reduction)


def _checked(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    return reduction


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.mean() if reduction == "mean" else torch.sum(losses)


def _require_same(found: Tensor, target: Tensor, what: str) -> None:
    if found.shape != target.shape or found.ndim != 2:
        raise ArgumentError(
            f"Targets of shape {tuple(target.shape)} do not fit predictions of shape {tuple(found.shape)}: both must "
            f"be (batch, {what}). Of a single number per sample, (batch, 1): predictions[:, None]."
        )
