"""How a run trains, and what is refused before anything slow begins, PyTorch and DALI among it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ..curriculum import Curriculum
from ..errors import ArgumentError, unknown_name
from ..mixing import METHODS, canonical_method, make_mixer, mixes
from .configuration import ModelConfiguration
from .models import check_model, default_learning_rate

if TYPE_CHECKING:
    from ..plugins import Augment

__all__ = ["SCHEDULES", "Schedule", "TrainingSettings", "check_settings", "fitting_batch_size"]

#: How the learning rate goes: a short rise and half a cosine; PyTorch's OneCycleLR; the same in all steps.
Schedule: TypeAlias = Literal["cosine", "one-cycle", "constant"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)

_MAKE_ONE = "put stain_normalisation into a recipe, or make an Augmentation of your function."
_ANY_SIZE = 224  # that every model takes


@dataclass(frozen=True)
class TrainingSettings:
    """How a run trains, whatever it trains on.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the training samples, and samples per batch.
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
    augment : str, optional
        What changes training images before they are mixed, as `cellmix_dali.augment.augmentation` takes a text: a
        preset's name, a file, ``module:object``.
    augment_strength : (float, float), optional
        How strong it is in the first and in the last epoch: see `cellmix_dali.Curriculum`.
    also_test : tuple of str
        Augmentations under which the test samples are tested once more each, by the same model: how much it suffers
        from other stains. The draws are the same in every run.
    stains : str, optional
        File of ``cellmix-dali stain``: tiles of slides are normalised by it, those of the validation and the test, too.
    stain_target : str
        What they are normalised to: see `cellmix_dali.augment.StainNormalisation`.
    model : str
        "small_cnn", "vit", "timm:NAME", or "module:callable": see `cellmix_dali.training.models.make_model`.
    pretrained : bool
        Whether a timm model begins with timm's weights.
    mean, std : tuple of 3 floats, optional
        By which images are normalised, of R, G and B in [0, 1]; by default what the model says of itself, see
        `cellmix_dali.training.ModelConfiguration.of_module`, or else ImageNet's.
    learning_rate : float, optional
        Highest of the schedule; by default the model's own.
    schedule : str
        One of `SCHEDULES`.
    weight_decay : float
        Of AdamW.
    best : bool
        Whether the epoch with the best balanced accuracy on the validation samples gives the model; else, and where
        there are none, the last one.
    amp : bool
        Automatic mixed precision on a GPU.
    tensorboard : bool
        Whether to write TensorBoard's event files beside log.csv.
    device, engine : str
        Of `cellmix_dali.pipelines.train_loader`.
    threads : int, optional
        DALI's threads; by default as many as the loaders choose.
    seed : int
        Of weights, order and mixing.
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
    augment: str | None = None
    augment_strength: tuple[float, float] | None = None
    also_test: tuple[str, ...] = ()
    stains: str | None = None
    stain_target: str = "median"
    model: str = "small_cnn"
    pretrained: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    learning_rate: float | None = None
    schedule: str = "one-cycle"
    weight_decay: float = 1e-2
    best: bool = True
    amp: bool = True
    tensorboard: bool = False
    device: str = "cpu"
    engine: str | None = None
    threads: int | None = None
    seed: int = 0

    @property
    def mixer(self) -> str | None:
        """The method's canonical name, or None for "none"."""
        return canonical_method(self.method) if mixes(self.method) else None

    @property
    def steered(self) -> bool:
        """Whether a curriculum steers the method."""
        return self.mixer is not None and METHODS[self.mixer].is_cellmix

    def augmentations(self) -> tuple[Augment | None, Augment | None]:
        """Return what changes images of the training, and of the validation and the test.

        Raises
        ------
        ArgumentError
            If one cannot be made.
        """
        from ..augment import Augmentation, Compose, StainNormalisation, augmentation

        own = None if self.augment is None else augmentation(self.augment)
        if self.stains is None:
            return own, None
        normalisation = StainNormalisation(stains=self.stains, target=self.stain_target)
        if own is None:
            return normalisation, normalisation
        if not isinstance(own, Augmentation):
            raise ArgumentError(
                f"augment={self.augment!r} is a function, and stains are normalised before it: {_MAKE_ONE}"
            )
        return Compose([normalisation, own]), normalisation

    def normalisation(self, model: object = None) -> ModelConfiguration:
        """Return what images are normalised by: what is set, or what the model says of itself.

        Raises
        ------
        ArgumentError
            If a value cannot be used.
        """
        told = ModelConfiguration.of_module(model)
        given = {name: of for name in ("mean", "std") if (of := getattr(self, name)) is not None}
        return replace(told, **given, said_by=f"{' and '.join(given)} as given") if given else told

    @property
    def highest_rate(self) -> float:
        """The learning rate, the model's own where none is set."""
        return default_learning_rate(self.model) if self.learning_rate is None else self.learning_rate


def check_settings(settings: TrainingSettings, size: int | None) -> Curriculum | None:
    """Refuse settings that cannot work before anything slow begins; return CellMix's curriculum, None for others.

    Parameters
    ----------
    settings : TrainingSettings
        How the run trains.
    size : int or None
        Side in pixels of the images that reach the model. None where the data say it and have not been read: what
        depends on it is checked later, and no curriculum returned.

    Raises
    ------
    CellMixDaliError
        Saying what cannot work.
    """
    if settings.mixer is not None:
        make_mixer(settings.mixer, p=settings.p, seed=settings.seed).check_batch_size(settings.batch_size)
    if not 0 < settings.highest_rate < 1:
        raise ArgumentError(f"learning_rate={settings.learning_rate}: give a number between 0 and 1.")
    if not 0 <= settings.weight_decay < math.inf:
        raise ArgumentError(f"weight_decay={settings.weight_decay}: give a number, 0 or more.")
    if settings.schedule not in SCHEDULES:
        raise unknown_name("schedule", settings.schedule, SCHEDULES)
    if settings.augment_strength is not None and not (settings.steered and settings.augment is not None):
        raise ArgumentError(
            f"augment_strength={settings.augment_strength}: a curriculum says how strong augmentations are, so give "
            "augment, too, and one of CellMix's methods."
        )
    if settings.augment is not None or settings.stains is not None:
        settings.augmentations()
    for change in settings.also_test:
        from ..augment import Augmentation, augmentation

        if not isinstance(augmentation(change), Augmentation) and settings.stains is not None:
            raise ArgumentError(f"also_test={change!r} is a function, and stains are normalised before it: {_MAKE_ONE}")
    settings.normalisation()
    check_model(settings.model, size or _ANY_SIZE, pretrained=settings.pretrained)
    curriculum = _curriculum(settings, size) if settings.steered and size is not None else None
    _check_machine(settings)
    return curriculum


def fitting_batch_size(batch_size: int, there: int) -> tuple[int, str | None]:
    """The batch size as set; smaller, in steps that any group of samples divides, where there are few samples.

    Where it is smaller, the second says so for a person.
    """
    fitting = min(batch_size, max(4, there // 4 // 4 * 4))
    if fitting == batch_size:
        return batch_size, None
    return fitting, f"batches are of {fitting}, not {batch_size}: there are {there} samples to train on"


def _check_machine(settings: TrainingSettings) -> None:
    """Refuse a device or an engine that cannot work; DALI is imported only where there is something to ask it."""
    if settings.device != "cpu":
        from ..pipelines.device import device_id

        device_id(settings.device)
    if settings.engine is not None:
        from ..plugins.engines.registry import check_engine

        check_engine(settings.engine, settings.device)


def _curriculum(settings: TrainingSettings, size: int) -> Curriculum:
    return Curriculum(
        epochs=settings.epochs,
        tile_size=size,
        patch_strategy=settings.patch_strategy,
        ratio_strategy=settings.ratio_strategy,
        patch_size=settings.patch_size,
        fix_ratio=settings.fix_ratio,
        threshold=settings.threshold,
        seed=settings.seed,
        augment_strength=settings.augment_strength,
    )
