"""What a comparison is asked for, and what of it must stay the same for its runs to be comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._arguments import integer
from ..errors import ArgumentError, unknown_name
from ..training import TrainingSettings, check_settings
from ..training.models import is_ours
from .arms import Arm, candidates, make_arms, recipe_of
from .records import BASELINE

if TYPE_CHECKING:
    from .data import ComparedData

__all__ = ["ComparisonSettings"]

# All runs of a comparison have these in common.
_COMMON = ("epochs", "batch_size", "model", "pretrained", "mean", "std", "weight_decay", "device", "threads")


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What is compared, on what, and how every run trains.

    Attributes
    ----------
    data : ComparedData
        On what: `ComparedImages`, `ComparedSlides` or `ComparedTiles`.
    test_folds : sequence of str, optional
        Folds to test on, one after the other; by default all.
    methods, curricula : sequence of str
        As `cellmix_dali.comparison.arms.parse_methods` and `parse_curricula` give them.
    augmentations : sequence of str
        What changes training images, as `parse_augmentations` gives them; "none" for nothing. Every method is trained
        under each.
    also_test : sequence of str
        Augmentations under which the test images are tested once more, see `cellmix_dali.training.TrainingSettings`.
    seeds : int
        So many runs of everything: seeds 0, 1, ...
    learning_rate, p, threshold : sequence of float
        Values to choose among by the validation images.
    epochs, batch_size, model, pretrained, mean, std, weight_decay, device
        See `cellmix_dali.training.TrainingSettings`.
    threads : int
        Of PyTorch and DALI, per run.
    """

    data: ComparedData
    test_folds: Sequence[str] | None = None
    methods: Sequence[str]
    curricula: Sequence[str] = ("loss_hold",)
    augmentations: Sequence[str] = (BASELINE,)
    also_test: Sequence[str] = ()
    seeds: int = 3
    learning_rate: Sequence[float]
    p: Sequence[float] = (0.5,)
    threshold: Sequence[float] = (0.5,)
    epochs: int = 10
    batch_size: int = 32
    model: str = "small_cnn"
    pretrained: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    weight_decay: float = 1e-2
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, low=1)
        integer("threads", self.threads, low=1)

    @property
    def arms(self) -> list[Arm]:
        """What is compared, "none" first."""
        return make_arms(self.methods, self.curricula, self.augmentations)

    @property
    def values(self) -> dict[str, Sequence[float]]:
        """The values of the options that may have several."""
        return {"learning_rate": self.learning_rate, "p": self.p, "threshold": self.threshold}

    def several(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """Of one candidate's values, those of options with several values."""
        return {option: value for option, value in chosen.items() if len(self.values[option]) > 1}

    def of_run(self, arm: Arm, chosen: Mapping[str, float], seed: int = 0) -> TrainingSettings:
        """Return the settings of one training."""
        patch_strategy, ratio_strategy = arm.strategies
        given: dict[str, Any] = {name: getattr(self, name) for name in _COMMON} | dict(chosen)
        return TrainingSettings(
            method=arm.method,
            patch_strategy=patch_strategy,
            ratio_strategy=ratio_strategy,
            augment=arm.augment,
            also_test=tuple(self.also_test),
            schedule="cosine",
            seed=seed,
            **given,
        )

    def check(self, size: int | None, against: str = BASELINE) -> None:
        """Refuse what cannot work before anything slow begins.

        Parameters
        ----------
        size : int or None
            Side in pixels of the images that reach the model; None where the data must be read first.
        against : str, default "none"
            Name of the arm that the others are compared with.

        Raises
        ------
        CellMixDaliError
            Naming what, and the arm.
        """
        arms = [arm.name for arm in self.arms]
        if against not in (BASELINE, *arms):  # in Python, "none" may be left out
            raise unknown_name("arm to compare with", against, arms)
        for arm in self.arms:
            for chosen in candidates(arm, self.values):
                try:
                    check_settings(self.of_run(arm, chosen), size)
                except ArgumentError as error:
                    raise ArgumentError(f"{arm.name}: {error}") from error

    def common(self) -> dict[str, object]:
        """Return what all runs of a comparison have in common, as JSON values."""
        common = self.data.common() | {name: getattr(self, name) for name in _COMMON}
        for name in ("mean", "std"):
            given = common.pop(name)
            if given is not None or not is_ours(self.model):  # those say nothing: ImageNet's, as ever
                common[name] = given or "the model's"
        if self.also_test:
            common["also_test"] = {change: recipe_of(change) for change in self.also_test}
        # The former version's name: its folders go on.
        return common | {"model": "cnn"} if self.model == "small_cnn" else common
