"""How well a model does, by torchmetrics: figures, and the confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ArgumentError

__all__ = ["confusion_matrix", "confusion_picture", "figure", "scores"]


def scores(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Work out loss, accuracy, balanced accuracy, macro-F1 and AUROC.

    Parameters
    ----------
    logits : Tensor (images, classes), floating
        What the model put out.
    labels : Tensor (images,), int64
        Class indices.

    Returns
    -------
    dict of str to (float or None)
        ``loss`` (cross-entropy); ``accuracy``; ``balanced_accuracy``, the mean recall, and ``auroc``, one class against
        the rest, over the classes that the labels hold; ``macro_f1`` over the classes that labels or answers hold. None
        where one is undefined: balanced accuracy, macro-F1 and AUROC where the labels hold a single class.

    Raises
    ------
    ArgumentError
        If there are no labels, or the model's answers are not numbers.
    """
    from torchmetrics.functional import classification  # takes seconds, which the first batch need not wait for

    classes = logits.shape[1]
    if not len(labels):
        raise ArgumentError("There is nothing to test on: the test holds no labels.")
    if not torch.isfinite(logits).all():
        raise ArgumentError("The model's answers are no longer numbers: the training diverged. Lower --learning-rate.")
    plain = {
        "loss": float(nn.functional.cross_entropy(logits, labels)),
        "accuracy": float(classification.multiclass_accuracy(logits, labels, num_classes=classes, average="micro")),
    }
    there = torch.bincount(labels, minlength=classes) > 0
    if there.sum() < 2:
        return plain | dict.fromkeys(("balanced_accuracy", "macro_f1", "auroc"))
    recall = classification.multiclass_recall(logits, labels, num_classes=classes, average="none")
    kept = logits.softmax(dim=1)[:, there]
    # Of classes that are not there nothing can be ranked: those that are, are numbered anew.
    auroc = classification.multiclass_auroc(
        kept, (torch.cumsum(there, 0) - 1)[labels], num_classes=int(there.sum()), average="none", thresholds=None
    )
    return {
        **plain,
        "balanced_accuracy": float(recall[there].mean()),
        "macro_f1": float(classification.multiclass_f1_score(logits, labels, num_classes=classes, average="macro")),
        "auroc": float(auroc.mean()),
    }


def figure(value: float | None) -> str:
    """Return a figure for a person: three digits, or "undefined"."""
    return "undefined" if value is None else f"{value:.3f}"


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """Count the images by class (rows) and the model's answer (columns), int64 (classes, classes)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix: Tensor = multiclass_confusion_matrix(logits, labels, num_classes=logits.shape[1])
    return matrix


def confusion_picture(path: Path, matrix: Tensor, classes: Sequence[str], *, title: str) -> None:
    """Draw a confusion matrix.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    matrix : Tensor (classes, classes), int64
        Counts: rows are the true classes.
    classes : sequence of str
        Their names.
    title : str
        Written on top.
    """
    from matplotlib.figure import Figure
    from torchmetrics.utilities.plot import plot_confusion_matrix

    side = 3.5 + 0.7 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    plot_confusion_matrix(matrix, ax=axes, labels=list(classes), cmap="Blues")
    axes.set_title(title, fontsize=11)
    figure.savefig(path, dpi=110)
