"""Losses for soft labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import ArgumentError

__all__ = ["SoftTargetCrossEntropy"]


class SoftTargetCrossEntropy(nn.Module):
    """Cross-entropy against soft labels: ``-sum(target * log_softmax(logits))``, the mean over samples.

    The mean per sample is what `cellmix_dali.Curriculum` expects: the authors' threshold T=4 on a loss summed over a
    batch of 8 is 0.5 here.
    """

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
            Mean loss a sample.

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
        return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
