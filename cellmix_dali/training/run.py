"""A training run: epochs under the curriculum, the best one kept, and one look at the test samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from ..augment import augmentation
from .configuration import ModelConfiguration
from .data import Making, TrainingData
from .epochs import Entry, Epochs, Listener, Optimisation
from .keeping import Kept
from .loop import answers
from .metrics import confusion_matrix, scores
from .models import make_model
from .settings import TrainingSettings, check_settings, fitting_batch_size

__all__ = ["TestedSet", "TrainingRun", "train_and_test", "warm_up_and_cosine"]

_WARM_UP = 0.05  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class TestedSet:
    """What the kept model does on a set of samples.

    Attributes
    ----------
    scores : mapping of str to (float or None)
        See `cellmix_dali.training.metrics.scores`.
    confusion : Tensor int64 (classes, classes)
        Samples by class (rows) and answer (columns).
    """

    scores: Mapping[str, float | None]
    confusion: Tensor


@dataclass(frozen=True)
class TrainingRun:
    """A finished training.

    Attributes
    ----------
    epochs : list of dict
        Figures of every epoch; ``epoch`` counts from 1.
    batch_losses : list of list of float
        Training loss per sample of every batch, by epoch.
    best_epoch : int
        The epoch that was kept, from 1.
    state : dict of str to Tensor
        The kept model's state, on the CPU.
    parameters : int
        Numbers that the model learns.
    tested : dict of str to TestedSet
        Of "validation" and "test", so far as they are there; of "test, NAME" for each of ``settings.also_test``.
    told : dict
        What the source says of its samples, see `cellmix_dali.training.data.Samples.report`.
    normalisation : ModelConfiguration
        What images were normalised by.
    """

    epochs: list[Entry]
    batch_losses: list[list[float]]
    best_epoch: int
    state: dict[str, Tensor]
    parameters: int
    tested: dict[str, TestedSet]
    told: dict[str, Any]
    normalisation: ModelConfiguration


def train_and_test(
    data: TrainingData[Any],
    settings: TrainingSettings,
    *,
    listener: Listener | None = None,
    keep: Kept | None = None,
    fault_file: Path | None = None,
) -> TrainingRun:
    """Train, choose the best epoch, test once; write nothing but, where it is asked, the state and the bad samples.

    The best epoch is that with the highest balanced accuracy on the validation samples, of equal ones that with the
    lower loss. The test samples are looked at once, by the model that is kept. The same seed gives the same initial
    weights, the same order of samples and the same flips whatever the method.

    Parameters
    ----------
    data : TrainingData
        What to train and test on.
    settings : TrainingSettings
        How.
    listener : Listener, optional
        Told of every batch and every epoch.
    keep : Kept, optional
        Where the state is kept, so that the run can go on where it was stopped.
    fault_file : Path, optional
        Where bad samples are listed.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work, or the training diverges.
    """
    source = data.source
    curriculum, listener = check_settings(settings, source.size), listener or Listener()
    batch, _ = fitting_batch_size(settings.batch_size, data.counts["train"])
    device = torch.device("cuda" if settings.device == "gpu" else "cpu")
    torch.manual_seed(settings.seed)
    model = make_model(settings.model, len(data.classes), source.size, pretrained=settings.pretrained).to(device)
    making = Making(settings, len(data.classes), batch, settings.normalisation(model), curriculum, fault_file)
    earlier: dict[str, Any] = {}
    with ExitStack() as stack:
        loader: Any = stack.enter_context(source.train_loader(data.train, making))
        held_out: dict[str, Any] = {
            name: stack.enter_context(source.evaluate_loader(samples, making))
            for name, samples in data.sets.items()
            if name != "train"
        }
        loaders = [loader, *held_out.values()]
        validation = held_out.get("validation")
        training = Epochs(
            settings.epochs,
            _optimisation(model, settings, device, settings.epochs * len(loader)),
            loader,
            curriculum=curriculum,
            validate=None if validation is None else lambda: scores(*answers(model, validation, device)),
            goodness=_goodness if settings.best and validation is not None else None,
        )
        if keep is None:
            training.run(listener)
        else:
            kept = replace(keep, extra=lambda: source.told(loaders, earlier), take_extra=earlier.update)
            kept.run(training, listener, held_out)
        tested = {}
        for name, of_set in held_out.items():
            logits, labels = answers(model, of_set, device)
            tested[name] = TestedSet(scores(logits, labels), confusion_matrix(logits, labels))
        for change in settings.also_test:
            with source.evaluate_loader(data.test, making, augmentation(change)) as changed:
                logits, labels = answers(model, changed, device)
            tested[f"test, {change}"] = TestedSet(scores(logits, labels), confusion_matrix(logits, labels))
        told = source.report(loaders, source.told(loaders, earlier))
    return TrainingRun(
        epochs=training.entries,
        batch_losses=training.batch_losses,
        best_epoch=training.best,
        state={name: value.cpu() for name, value in model.state_dict().items()},
        parameters=sum(value.numel() for value in model.parameters()),
        tested=tested,
        told=told,
        normalisation=making.normalisation,
    )


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Return the learning rate's share of its highest: it rises for a twentieth of the steps, then falls as a cosine.

    Half a cosine's period down to zero, without restarts (Loshchilov & Hutter, "SGDR", ICLR 2017).
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _goodness(entry: Mapping[str, Any]) -> tuple[float, float]:
    """What makes an epoch the best one; where the validation samples are of one class, its loss alone."""
    return entry["balanced_accuracy"] or 0.0, -entry["validation_loss"]


def _optimisation(model: nn.Module, settings: TrainingSettings, device: torch.device, steps: int) -> Optimisation:
    """What changes the model."""
    rate = settings.highest_rate
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=settings.weight_decay)
    schedule: LRScheduler
    if settings.schedule == "one-cycle":
        schedule = OneCycleLR(optimizer, rate, total_steps=steps)
    elif settings.schedule == "cosine":
        schedule = LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, steps))
    else:
        schedule = LambdaLR(optimizer, lambda _: 1.0)
    amp = settings.amp and device.type == "cuda"
    return Optimisation(model, optimizer, schedule, device, torch.amp.GradScaler(device.type) if amp else None)
