"""A training run on image files: epochs under the curriculum, the best one kept, and one look at the test images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..curriculum import Curriculum
from ..pipelines import ImageCache, ImageSource, Loader, evaluate_image_loader, train_image_loader
from .epochs import Epochs, Listener, Optimisation
from .images import ImageData, ImageSet
from .keeping import Kept
from .loop import answers
from .metrics import confusion_matrix, required_scores
from .models import make_model
from .settings import ImageSettings, check_image_settings, fitting_batch_size

__all__ = ["ImageRun", "TestedSet", "train_and_test", "warm_up_and_cosine"]

_WARM_UP = 0.05  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class TestedSet:
    """What the kept model does on a set of images.

    Attributes
    ----------
    scores : mapping of str to float
        See `cellmix_dali.training.metrics.scores`.
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
        Training loss per sample of every batch, by epoch.
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
    listener: Listener | None = None,
    keep: Kept | None = None,
) -> ImageRun:
    """Train, choose the best epoch, test once; write nothing but, where it is asked, the state.

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
    listener : Listener, optional
        Told of every batch and every epoch.
    keep : Kept, optional
        Where the state is kept, so that the run can go on where it was stopped.

    Raises
    ------
    CellMixDaliError
        If a setting cannot work, or the training diverges.
    """
    curriculum, listener = check_image_settings(settings), listener or Listener()
    batch, _ = fitting_batch_size(settings.batch_size, len(data.train))
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
        validation = held_out.get("validation")
        training = Epochs(
            settings.epochs,
            _optimisation(model, settings, device, settings.epochs * len(loader)),
            loader,
            unit="images",
            curriculum=curriculum,
            validate=None if validation is None else lambda: required_scores(*answers(model, validation, device)),
            goodness=_goodness if settings.best and validation is not None else None,
        )
        if keep is None:
            training.run(listener)
        else:
            keep.run(training, listener, held_out)
        tested = {}
        for name, of_set in held_out.items():
            logits, labels = answers(model, of_set, device)
            tested[name] = TestedSet(required_scores(logits, labels), confusion_matrix(logits, labels))
    return ImageRun(
        epochs=training.entries,
        batch_losses=training.batch_losses,
        best_epoch=training.best,
        state={name: value.cpu() for name, value in model.state_dict().items()},
        parameters=sum(value.numel() for value in model.parameters()),
        tested=tested,
    )


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Return the learning rate's share of its highest: it rises for a twentieth of the steps, then falls as a cosine.

    Half a cosine's period down to zero, without restarts (Loshchilov & Hutter, "SGDR", ICLR 2017).
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _goodness(entry: Mapping[str, float]) -> tuple[float, float]:
    """What makes an epoch the best one."""
    return entry["balanced_accuracy"], -entry["validation_loss"]


def _optimisation(model: nn.Module, settings: ImageSettings, device: torch.device, steps: int) -> Optimisation:
    """What changes the model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, steps))
    amp = settings.amp and device.type == "cuda"
    return Optimisation(model, optimizer, schedule, device, torch.amp.GradScaler(device.type) if amp else None)


def _train_loader(
    data: ImageData, settings: ImageSettings, batch: int, curriculum: Curriculum | None, cache: ImageCache | None
) -> Loader[ImageSource]:
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


def _evaluate_loader(
    images: ImageSet, settings: ImageSettings, batch: int, cache: ImageCache | None
) -> Loader[ImageSource]:
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
