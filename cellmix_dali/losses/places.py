"""Losses of places within an image: tokens of a vision transformer, pixels of class masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._arguments import IGNORED
from ..errors import ArgumentError
from ..mixing import NOBODY

__all__ = ["MaskLoss", "TokenLoss", "token_labels"]

_UNCOUNTED = -100  # what PyTorch's cross-entropy leaves out


def token_labels(source_map: Tensor, labels: Tensor) -> Tensor:
    """Return the label of each token: that of the sample which it comes from.

    Parameters
    ----------
    source_map : int64 Tensor (batch, tokens)
        Which sample each token comes from, as batches have it; -1 for none.
    labels : int Tensor (batch,), or floating Tensor (batch, classes)
        The samples' own labels, before mixing: class indices, or shares. Those in a batch are mixed: take the table's,
        ``torch.tensor(table.label)[batch["tile"]]``.

    Returns
    -------
    int64 Tensor (batch, tokens), or floating Tensor (batch, tokens, classes)
        -100, which PyTorch's cross-entropy leaves out, or shares of 0 where a token comes from no sample.

    Raises
    ------
    ArgumentError
        If the shapes do not fit.
    """
    if source_map.ndim != 2 or labels.ndim not in (1, 2) or len(labels) != len(source_map):
        raise ArgumentError(
            f"A map of shape {tuple(source_map.shape)} does not fit labels of shape {tuple(labels.shape)}: give "
            "(batch, tokens), and (batch,) or (batch, classes)."
        )
    if labels.is_floating_point() != (labels.ndim == 2):
        raise ArgumentError(
            f"Labels of {labels.dtype} and shape {tuple(labels.shape)}: class indices are whole numbers (batch,), "
            "shares are floating (batch, classes)."
        )
    of = source_map.to(labels.device).long()
    found = labels[of.clamp_min(0)]
    if labels.ndim == 2:
        return found * (of != NOBODY)[..., None]
    return torch.where(of == NOBODY, _UNCOUNTED, found.long())


class TokenLoss(nn.Module):
    """Cross-entropy of every token against the label of the sample that it comes from, the mean over all tokens.

    For the labels of tokens see "All Tokens Matter: Token Labeling for Training Better Vision Transformers"
    (arXiv 2104.10858) and TokenMix (arXiv 2207.08409). Tokens that come from no sample are not counted.
    """

    def forward(self, logits: Tensor, source_map: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : Tensor (batch, tokens, classes), floating
            What the model puts out for each token, row by row.
        source_map, labels
            See `token_labels`.

        Returns
        -------
        Tensor ()
            0 where no token counts.

        Raises
        ------
        ArgumentError
            If the shapes do not fit.
        """
        target = token_labels(source_map, labels).to(logits.device)
        if logits.ndim != 3 or logits.shape[:2] != source_map.shape or target.shape[2:] not in ((), logits.shape[2:]):
            raise ArgumentError(
                f"Logits of shape {tuple(logits.shape)} do not fit a map of shape {tuple(source_map.shape)} and labels "
                f"of shape {tuple(labels.shape)}: give (batch, tokens, classes), tokens without a class token."
            )
        counted = (source_map != NOBODY).sum().clamp_min(1)
        if target.ndim == 3:
            total = -(target * torch.log_softmax(logits, dim=2)).sum()
        else:
            total = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
        return total / counted.to(logits.device)


class MaskLoss(nn.Module):
    """Cross-entropy of every pixel against its class in a mask, the mean over the pixels that count."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : Tensor (batch, classes, height, width), floating
            What the model puts out.
        masks : integer Tensor (batch, height, width)
            Class of each pixel, as batches have it; 255 is not counted.

        Returns
        -------
        Tensor ()
            0 where no pixel counts.

        Raises
        ------
        ArgumentError
            If the shapes do not fit, or, on the CPU, a mask has a class that the logits have not.
        """
        if logits.ndim != 4 or masks.shape != (len(logits), *logits.shape[2:]):
            raise ArgumentError(
                f"Masks of shape {tuple(masks.shape)} do not fit logits of shape {tuple(logits.shape)}: give (batch, "
                "height, width) and (batch, classes, height, width)."
            )
        counted = masks != IGNORED
        if masks.device.type == "cpu" and bool((counted & (masks >= logits.shape[1])).any()):
            raise ArgumentError(
                f"A mask has class {int(masks[counted].max())}, the logits have {logits.shape[1]}: classes of polygons "
                "count from 1, beside 0 for what is not annotated."
            )
        target = masks.to(logits.device).long()
        total = functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
        return total / counted.sum().clamp_min(1).to(logits.device)
