"""What a training run trains and tests on, whatever the samples are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..curriculum import Curriculum
    from ..pipelines import Loader
    from ..plugins import Augment, PlanSource, Source
    from .configuration import ModelConfiguration
    from .settings import TrainingSettings

__all__ = ["Making", "Samples", "TrainingData"]

S = TypeVar("S")


@dataclass(frozen=True)
class Making:
    """What a source is told when it makes a loader.

    Attributes
    ----------
    settings : TrainingSettings
        How the run trains.
    classes : int
        Number of classes.
    batch_size : int
        Samples per batch; smaller than the settings' where there are few samples.
    normalisation : ModelConfiguration
        What images are normalised by.
    curriculum : Curriculum, optional
        Of CellMix's methods.
    fault_file : Path, optional
        Where bad samples are listed.
    """

    settings: TrainingSettings
    classes: int
    batch_size: int
    normalisation: ModelConfiguration
    curriculum: Curriculum | None = None
    fault_file: Path | None = None


class Samples(Protocol[S]):
    """Where samples of one kind come from. A new kind of samples is one class with these methods.

    Attributes
    ----------
    unit : str
        What its samples are called, in the plural: "tiles".
    size : int
        Side in pixels of the images that reach the model.
    """

    @property
    def unit(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    def labels(self, samples: S) -> NDArray[Any]:
        """Return the class index of each sample."""
        ...

    def train_loader(self, samples: S, making: Making) -> Loader[Any]:
        """Make the loader of the training, with soft labels."""
        ...

    def evaluate_loader(self, samples: S, making: Making, change: Augment | None = None) -> Loader[Any]:
        """Make a loader that gives every sample once, changed by an augmentation where one is given."""
        ...

    def batch_source(self, samples: S, rows: NDArray[Any], plans: PlanSource, classes: int) -> Source:
        """Make a source of some rows, in their order, with plans and labels that they mix."""
        ...

    def shared(self, settings: TrainingSettings) -> Samples[S]:
        """Return the same source with what several runs of one process may share, such as decoded images."""
        ...

    def told(self, loaders: Sequence[Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
        """Return, as plain values, what loaders have met, with what was met before the run was stopped."""
        ...

    def report(self, loaders: Sequence[Any], told: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the report says of this kind of samples only, as JSON values."""
        ...

    def about(self) -> dict[str, Any]:
        """Return, as plain values, what of the source changes a training."""
        ...


@dataclass(frozen=True)
class TrainingData(Generic[S]):
    """Samples to train on, to choose the best epoch by, and to test on.

    Attributes
    ----------
    source : Samples
        Makes the loaders of the three sets.
    train : samples of that source
        To train on.
    validation : samples or None
        Chooses the best epoch.
    test : samples or None
        Is looked at once, when the model is made.
    classes : tuple of str
        Names of the labels.
    task, split : str
        For a person: what is learned, and what was held out.
    notes : tuple of str
        What a person should know of the data, such as a class without test tiles.
    left_out : mapping of str to str
        Files that cannot be used, and what is wrong with each.
    """

    source: Samples[S]
    train: S
    validation: S | None
    test: S | None
    classes: tuple[str, ...]
    task: str
    split: str
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def sets(self) -> dict[str, S]:
        """The sets that there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}

    @property
    def counts(self) -> dict[str, int]:
        """Samples of each set."""
        return {name: len(self.source.labels(samples)) for name, samples in self.sets.items()}
