"""How a run trains, and what is refused before anything slow begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..curriculum import Curriculum
from ..errors import ArgumentError
from ..mixing import METHODS, canonical_method, make_mixer, mixes
from ..pipelines.device import device_id
from ..plugins.engines.registry import check_engine, default_engine
from .models import check_model

__all__ = ["ImageSettings", "TrainingSettings", "check_image_settings", "check_settings", "fitting_batch_size"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a run trains.

    Attributes
    ----------
    epochs, batch_size : int
        As usual.
    method : str
        One of `cellmix_dali.mixing.METHODS`, or "none".
    p : float
        Probability that a batch is mixed.
    patch_strategy, ratio_strategy : str
        Of `cellmix_dali.Curriculum`.
    patch_size, fix_ratio : int and float, optional
        Constant values, for the strategies "fixed".
    threshold : float
        Loss per sample, of the curriculum.
    learning_rate : float
        Highest of the schedule.
    device, engine : str
        Of `cellmix_dali.pipelines.train_loader`.
    seed : int
        Of everything.
    verify : str
        Of `cellmix_dali.pipelines.train_loader`; for tiles.
    """

    epochs: int = 12
    batch_size: int = 32
    method: str = "CellMix-Group"
    p: float = 0.5
    patch_strategy: str = "loss_hold"
    ratio_strategy: str = "loss_hold"
    patch_size: int | None = None
    fix_ratio: float | None = None
    threshold: float = 0.5
    learning_rate: float = 3e-3
    device: str = "cpu"
    engine: str | None = None
    seed: int = 0
    verify: str = "headers"

    @property
    def mixer(self) -> str | None:
        """The method's canonical name, or None for "none"."""
        return canonical_method(self.method) if mixes(self.method) else None

    @property
    def steered(self) -> bool:
        """Whether a curriculum steers the method."""
        return self.mixer is not None and METHODS[self.mixer].is_cellmix


@dataclass(frozen=True)
class ImageSettings(TrainingSettings):
    """How a run on image files trains.

    Attributes
    ----------
    image_size : int
        Side in pixels to which images are resized.
    model : str
        "cnn", "vit", or "timm:NAME".
    pretrained : bool
        Whether a timm model begins with timm's weights.
    weight_decay : float
        Of AdamW.
    best : bool
        Whether the epoch with the best balanced accuracy on the validation images gives the model; else the last one.
    amp : bool
        Automatic mixed precision on a GPU.
    tensorboard : bool
        Whether to write TensorBoard's event files beside log.csv.
    threads : int
        Of DALI's, that decode and resize.
    cache : bool
        Whether decoded, resized images are kept in memory.
    """

    image_size: int = 224
    model: str = "cnn"
    pretrained: bool = False
    weight_decay: float = 1e-2
    best: bool = True
    amp: bool = True
    tensorboard: bool = False
    threads: int = 2
    cache: bool = False


def check_settings(settings: TrainingSettings, tile_size: int) -> Curriculum | None:
    """Refuse settings that cannot work before anything slow begins; give CellMix's curriculum, None for others.

    Raises
    ------
    CellMixDaliError
        Saying what cannot work.
    """
    _check_method(settings)
    _check_machine(settings)
    return _curriculum(settings, tile_size) if settings.steered else None


def check_image_settings(settings: ImageSettings) -> Curriculum | None:
    """Refuse settings that cannot work before anything slow begins; give CellMix's curriculum, None for others.

    Raises
    ------
    CellMixDaliError
        Saying what cannot work.
    """
    _check_method(settings)
    _check_machine(settings)
    if not 0 <= settings.weight_decay < math.inf:
        raise ArgumentError(f"weight_decay={settings.weight_decay}: give a number, 0 or more.")
    check_model(settings.model, settings.image_size, pretrained=settings.pretrained)
    return _curriculum(settings, settings.image_size) if settings.steered else None


def fitting_batch_size(batch_size: int, there: int) -> tuple[int, str | None]:
    """The batch size as set; smaller, in steps that any group of samples divides, where there are few samples.

    Where it is smaller, the second says so for a person.
    """
    fitting = min(batch_size, max(4, there // 4 // 4 * 4))
    if fitting == batch_size:
        return batch_size, None
    return fitting, f"batches are of {fitting}, not {batch_size}: there are {there} samples to train on"


def _check_method(settings: TrainingSettings) -> None:
    """Refuse a method, its probability, or a batch that cannot be mixed by it."""
    if settings.mixer is not None:
        make_mixer(settings.mixer, p=settings.p, seed=settings.seed).check_batch_size(settings.batch_size)


def _check_machine(settings: TrainingSettings) -> None:
    """Refuse a device, an engine or a learning rate that cannot work."""
    device_id(settings.device)
    check_engine(settings.engine or default_engine(settings.device), settings.device)
    if not 0 < settings.learning_rate < 1:
        raise ArgumentError(f"learning_rate={settings.learning_rate}: give a number between 0 and 1.")


def _curriculum(settings: TrainingSettings, tile_size: int) -> Curriculum:
    return Curriculum(
        epochs=settings.epochs,
        tile_size=tile_size,
        patch_strategy=settings.patch_strategy,
        ratio_strategy=settings.ratio_strategy,
        patch_size=settings.patch_size,
        fix_ratio=settings.fix_ratio,
        threshold=settings.threshold,
        seed=settings.seed,
    )
