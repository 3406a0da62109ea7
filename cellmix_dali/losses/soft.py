"""Cross-entropy against soft class labels."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, unknown_name

__all__ = ["REDUCTIONS", "SoftCrossEntropy", "SoftTargetCrossEntropy"]

REDUCTIONS = ("mean", "sum")


class SoftTargetCrossEntropy(nn.Module):
    """Cross-entropy against soft labels: ``-sum(target * log_softmax(logits))`` of each sample.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the samples. The mean is what `cellmix_dali.Curriculum` expects: the authors' threshold T=4 on
        a loss summed over a batch of 8 is 0.5 here.

    Raises
    ------
    ArgumentError
        If there is no such reduction.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : Tensor (batch, classes), floating
            What the model puts out.
        target : Tensor (batch, classes), floating
            Shares of the classes; rows sum to 1.

        Returns
        -------
        Tensor ()
            Mean loss per sample, or the sum.

        Raises
        ------
        ArgumentError
            If the shapes differ; class indices are not accepted.
        """
        if logits.shape != target.shape or logits.ndim != 2:
            raise ArgumentError(
                f"Soft labels of shape {tuple(target.shape)} do not fit logits of shape {tuple(logits.shape)}: both "
                "must be (batch, classes). For class indices use torch.nn.CrossEntropyLoss."
            )
        losses = -(target * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return losses.mean() if self.reduction == "mean" else losses.sum()


@overload
def SoftCrossEntropy(input: None = None, target: None = None, reduction: str = "sum") -> SoftTargetCrossEntropy: ...


@overload
def SoftCrossEntropy(input: Tensor, target: Tensor, reduction: str = "sum") -> Tensor: ...


def SoftCrossEntropy(  # noqa: N802
    input: Tensor | None = None,  # noqa: A002
    target: Tensor | None = None,
    reduction: str = "sum",
) -> Tensor | SoftTargetCrossEntropy:
    """Compute `SoftTargetCrossEntropy` under the authors' name, and summed over the batch as theirs is.

    Called with logits and soft labels, it gives the loss, as the authors' function does; called without, the module, as
    their README uses it: ``criterion = SoftCrossEntropy()`` (and their training script's ``SoftlabelCrossEntropy()``).

    Parameters
    ----------
    input, target : Tensor (batch, classes), floating
        Logits and soft labels; both or none.
    reduction : {"sum", "average", "mean"}, default "sum"
        Sum over the samples, or their mean ("average" is the authors' word). A sum grows with the batch: gradients and
        a loss threshold with it.

    Returns
    -------
    Tensor () or SoftTargetCrossEntropy

    Raises
    ------
    ArgumentError
        If the shapes differ, only one of the two is given, or there is no such reduction.
    """
    if reduction not in ("sum", "average", "mean"):
        raise unknown_name("reduction", reduction, ("sum", "average", "mean"))
    loss = SoftTargetCrossEntropy("mean" if reduction == "average" else reduction)
    if input is None and target is None:
        return loss
    if input is None or target is None:
        raise ArgumentError("SoftCrossEntropy needs logits and soft labels, or neither of them to get the module.")
    return torch.as_tensor(loss(input, target))
