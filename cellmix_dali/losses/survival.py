"""Losses of survival: times that may be censored, and mixed images that stand for several patients by their shares.

A mixed time would be nobody's: of a censored sample it is only known that it is longer. So each mixed image counts once
for every sample that is in it, with that sample's own time and event, weighted by its share. That is how Mixup
(arXiv 1710.09412) computes its loss; of class indices it is the cross-entropy against soft labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._arguments import number
from ..errors import ArgumentError

__all__ = ["CoxLoss", "DiscreteSurvivalLoss"]


class CoxLoss(nn.Module):
    """Cox's negative partial log-likelihood over a batch, with case weights; ties after Breslow.

    Every pair of an output i and a sample j is an observation of weight ``weights[i, j]``, risk ``risks[i]``, and the
    time and event of sample j. The weighted partial likelihood is that of Therneau's "A Package for Survival Analysis
    in R" (case weights). Divided by the weight of all events; 0 where a batch has none.
    """

    def forward(self, risks: Tensor, survival: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        risks : Tensor (batch,) or (batch, 1), floating
            Log of the relative hazards.
        survival : Tensor (batch, 2), floating
            A target of kind "survival": time, and 1 for an event, 0 for a censored sample.
        weights : Tensor (batch, batch), floating, optional
            The mixing matrix, as batches have it; by default nothing is mixed.

        Returns
        -------
        Tensor ()

        Raises
        ------
        ArgumentError
            If the shapes do not fit.
        """
        risk = risks.reshape(-1)
        risk = risk if risk.dtype == torch.float64 else risk.float()  # half precision cannot hold sums of exponentials
        if risk.numel() != len(risks):
            raise ArgumentError(f"Risks of shape {tuple(risks.shape)}: give one per sample, (batch,) or (batch, 1).")
        times, events, shares = _split(survival, weights, risk)
        # Not -inf: where all of a column is, the gradient would not be a number.
        logs = torch.where(shares > 0, shares.clamp_min(torch.finfo(risk.dtype).tiny).log(), _nothing(risk))
        by_sample = torch.logsumexp(risk[:, None] + logs, dim=0)
        at_risk = times[None, :] >= times[:, None]
        log_sums = torch.logsumexp(torch.where(at_risk, by_sample[None, :], _nothing(risk)), dim=1)
        counted = events * shares.sum(dim=0)
        log_likelihood = (events * (shares * risk[:, None]).sum(dim=0)).sum() - (counted * log_sums).sum()
        return -log_likelihood / counted.sum().clamp_min(torch.finfo(risk.dtype).eps)


class DiscreteSurvivalLoss(nn.Module):
    """The negative log-likelihood of survival in intervals of time, from the hazard of each.

    After Zadeh and Schmid, "Bias in Cross-Entropy-Based Training of Deep Survival Networks" (IEEE TPAMI 2021), as the
    survival networks of computational pathology use it: a sample with an event in interval y counts
    ``log h[y] + sum over s < y of log(1 - h[s])``, a censored one ``sum over s <= y of log(1 - h[s])``. With a mixing
    matrix it is the mean over outputs of the losses for all their samples, weighted by their shares.

    Parameters
    ----------
    edges : sequence of float
        Where the second and every later interval begins, ascending, above 0: n edges make n + 1 intervals, the first
        from 0 on, the last without end.

    Raises
    ------
    ArgumentError
        If the edges do not ascend from above 0.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        super().__init__()
        values = [number("edges", edge, low=0.0, above_low=True) for edge in edges]
        if not values or sorted(set(values)) != values:
            raise ArgumentError(f"edges={list(edges)!r}: give one or more times above 0 that ascend.")
        self.register_buffer("edges", torch.tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, logits: Tensor, survival: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : Tensor (batch, intervals), floating
            Of the hazards, before the sigmoid.
        survival : Tensor (batch, 2), floating
            A target of kind "survival": time, and 1 for an event, 0 for a censored sample.
        weights : Tensor (batch, batch), floating, optional
            The mixing matrix, as batches have it; by default nothing is mixed.

        Returns
        -------
        Tensor ()

        Raises
        ------
        ArgumentError
            If the shapes do not fit.
        """
        edges = self.get_buffer("edges")
        if logits.ndim != 2 or logits.shape[1] != len(edges) + 1:
            raise ArgumentError(
                f"Logits of shape {tuple(logits.shape)} do not fit {len(edges)} edges: give (batch, {len(edges) + 1})."
            )
        _, events, shares = _split(survival, weights, logits)
        times = survival[:, 0].to(edges.device, edges.dtype).contiguous()
        interval = torch.bucketize(times, edges, right=True).to(logits.device)
        survived = functional.logsigmoid(-logits).cumsum(dim=1)
        # Of the event itself: its hazard in the place of its survival.
        hazard = functional.logsigmoid(logits) - functional.logsigmoid(-logits)
        pairs = survived[:, interval] + events * hazard[:, interval]  # output i by sample j
        return -(shares * pairs).sum() / len(logits)


def _split(survival: Tensor, weights: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Times, events and the mixing matrix, as what the model put out."""
    batch = len(like)
    if tuple(survival.shape) != (batch, 2):
        raise ArgumentError(
            f"Survival of shape {tuple(survival.shape)} does not fit {batch} predictions: give (batch, 2), time and "
            "event."
        )
    shares = torch.eye(batch, dtype=like.dtype, device=like.device) if weights is None else weights.to(like)
    if tuple(shares.shape) != (batch, batch):
        raise ArgumentError(f"Weights of shape {tuple(shares.shape)}: give the mixing matrix, ({batch}, {batch}).")
    return survival[:, 0].to(like.device), survival[:, 1].to(like), shares


def _nothing(like: Tensor) -> Tensor:
    """What adds nothing to a sum of exponentials."""
    return torch.full((), torch.finfo(like.dtype).min / 4, dtype=like.dtype, device=like.device)
