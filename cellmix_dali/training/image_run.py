"""A training run on image files: epochs under the curriculum, the best one kept, and one look at the test images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..curriculum import Curriculum
from ..errors import ArgumentError
from ..pipelines import ImageCache, ImageLoader, evaluate_image_loader, train_image_loader
from .images import ImageData, ImageSet
from .loop import Batches, answers, train_epoch
from .metrics import confusion_matrix, required_scores
from .models import make_model
from .settings import ImageSettings, check_image_settings, fitting_batch_size

__all__ = ["Entry", "ImageRun", "TestedSet", "train_and_test", "warm_up_and_cosine"]

_ADVICE = "Lower --learning-rate."
_WARM_UP = 0.05  # share of the steps in which the learning rate rises

#: An epoch's figures by name, and so far as a curriculum steers it, what the curriculum said.
Entry: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class TestedSet:
    """What the kept model does on a set of images.

    Attributes
    ----------
    scores : mapping of str to float
        As of `cellmix_dali.training.metrics.scores`.
    confusion : Tensor int64 (classes, classes)
        Images by class (rows) and answer (columns).
    """

    scores: Mapping[str, float]
    confusion: Tensor


@dataclass(frozen=True)
class ImageRun:
    """A finished training.

    Attributes
    ----------
    epochs : list of dict of str to float
        Figures of every epoch.
    batch_losses : list of list of float
        Training loss a sample of every batch, by epoch.
    best_epoch : int
        The epoch that was kept, from 0.
    state : dict of str to Tensor
        The kept model's state, on the CPU.
    parameters : int
        Numbers that the model learns.
    tested : dict of str to TestedSet
        Of "validation" and "test", so far as they are there.
    """

    epochs: list[dict[str, float]]
    batch_losses: list[list[float]]
    best_epoch: int
    state: dict[str, Tensor]
    parameters: int
    tested: dict[str, TestedSet]


def train_and_test(
    data: ImageData,
    settings: ImageSettings,
    *,
    cache: ImageCache | None = None,
    on_batch: Callable[[Entry, float, float], None] | None = None,
    on_epoch: Callable[[Entry], None] | None = None,
) -> ImageRun:
    """Train, choose the best epoch, test once; write nothing.

    The best epoch is that with the highest balanced accuracy on the validation images, of equal ones that with the
    lower loss. The test images are looked at once, by the model that is kept. The same seed gives the same initial
    weights, the same order of images and the same flips whatever the method.

    Parameters
    ----------
    data : ImageData
        What to train and test on; see `readable_images`.
    settings : ImageSettings
        How.
    cache : ImageCache, optional
        Decoded images that several runs share; by default one of this run's own where ``settings.cache`` says so.
    on_batch : callable, optional
        Called after every batch with what is known of the epoch, images a second and the mean loss so far.
    on_epoch : callable, optional
        Called with every epoch's figures.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work, or the training diverges.
    """
    curriculum = check_image_settings(settings)
    batch = fitting_batch_size(settings.batch_size, len(data.train))
    device = torch.device("cuda" if settings.device == "gpu" else "cpu")
    torch.manual_seed(settings.seed)
    model = make_model(settings.model, len(data.classes), settings.image_size, pretrained=settings.pretrained)
    model.to(device)
    if cache is None and settings.cache:
        cache = ImageCache(settings.image_size, device=settings.device, num_threads=settings.threads)
    with ExitStack() as stack:
        loader = stack.enter_context(_train_loader(data, settings, batch, curriculum, cache))
        held_out = {
            name: stack.enter_context(_evaluate_loader(images, settings, batch, cache))
            for name, images in data.sets.items()
            if name != "train"
        }
        training = _Training(model, loader, held_out.get("validation"), settings, curriculum, device)
        training.run(on_batch or _ignore, on_epoch or _ignore)
        tested = {}
        for name, of_set in held_out.items():
            logits, labels = answers(model, of_set, device)
            tested[name] = TestedSet(required_scores(logits, labels), confusion_matrix(logits, labels))
    return ImageRun(
        epochs=training.epochs,
        batch_losses=training.batch_losses,
        best_epoch=training.best_epoch,
        state={name: value.cpu() for name, value in model.state_dict().items()},
        parameters=sum(value.numel() for value in model.parameters()),
        tested=tested,
    )


class _Training:
    """The epochs of a run."""

    def __init__(
        self,
        model: nn.Module,
        loader: ImageLoader,
        validation: Batches | None,
        settings: ImageSettings,
        curriculum: Curriculum | None,
        device: torch.device,
    ) -> None:
        self.model, self.loader, self.validation = model, loader, validation
        self.settings, self.curriculum, self.device = settings, curriculum, device
        self.epochs: list[dict[str, float]] = []
        self.batch_losses: list[list[float]] = []
        self.best_epoch = settings.epochs - 1
        steps = settings.epochs * len(loader)
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: warm_up_and_cosine(step, steps)
        )
        amp = settings.amp and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type) if amp else None

    def run(self, on_batch: Callable[[Entry, float, float], None], on_epoch: Callable[[Entry], None]) -> None:
        """Train; leave the model as it was in the best epoch, or in the last one."""
        kept = None
        for epoch in range(self.settings.epochs):
            entry = self._epoch(epoch, on_batch)
            self.epochs.append(entry)
            on_epoch(entry)
            if self.settings.best and self.validation is not None and entry is max(self.epochs, key=_goodness):
                self.best_epoch, kept = epoch, copy.deepcopy(self.model.state_dict())
        if kept is not None:
            self.model.load_state_dict(kept)

    def _epoch(self, epoch: int, on_batch: Callable[[Entry, float, float], None]) -> dict[str, float]:
        """Train for one epoch, tell the curriculum, look at the validation images."""
        entry: dict[str, float] = {"epoch": epoch, "learning_rate": float(self._schedule.get_last_lr()[0])}
        if self.curriculum is not None:
            entry["patch_size"] = self.curriculum.patch_size
            entry["fix_ratio"] = self.curriculum.fix_ratio
            entry["threshold"] = self.curriculum.threshold
        losses = train_epoch(
            self.model,
            self.loader,
            self._optimizer,
            self._schedule,
            self.device,
            lambda rate, loss: on_batch(entry, rate, loss),
            scaler=self._scaler,
        )
        if not math.isfinite(losses.mean):
            raise ArgumentError(f"The loss of epoch {epoch + 1} is no number: the training diverged. {_ADVICE}")
        self.batch_losses.append(losses.batches)
        entry |= {"train_loss": losses.mean, "images_per_second": losses.per_second}
        if self.curriculum is not None:
            self.curriculum.step(losses.mean)
        if self.validation is not None:
            figures = required_scores(*answers(self.model, self.validation, self.device))
            entry |= {"validation_loss": figures.pop("loss")} | figures
        return entry


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Give the learning rate's share of its highest: it rises for a twentieth of the steps, then falls as a cosine.

    Half a cosine's period down to zero, without restarts (Loshchilov & Hutter, "SGDR", ICLR 2017).
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _goodness(entry: Mapping[str, float]) -> tuple[float, float]:
    """What makes an epoch the best one."""
    return entry["balanced_accuracy"], -entry["validation_loss"]


def _ignore(*_: object) -> None:
    """Tell nobody."""


def _train_loader(
    data: ImageData, settings: ImageSettings, batch: int, curriculum: Curriculum | None, cache: ImageCache | None
) -> ImageLoader:
    return train_image_loader(
        data.train.files,
        data.train.labels,
        num_classes=len(data.classes),
        batch_size=batch,
        image_size=settings.image_size,
        curriculum=curriculum,
        method=settings.mixer,
        p=settings.p,
        device=settings.device,
        engine=settings.engine,
        seed=settings.seed,
        num_threads=settings.threads,
        cache=cache,
    )


def _evaluate_loader(images: ImageSet, settings: ImageSettings, batch: int, cache: ImageCache | None) -> ImageLoader:
    return evaluate_image_loader(
        images.files,
        images.labels,
        batch_size=batch,
        image_size=settings.image_size,
        device=settings.device,
        engine=settings.engine,
        num_threads=settings.threads,
        cache=cache,
    )
