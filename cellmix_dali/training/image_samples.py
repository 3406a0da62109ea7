"""Image files as the samples of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..pipelines import ImageCache, ImageSource, Loader, evaluate_image_loader, train_image_loader
from ..plugins import Augment, PlanSource
from .data import Making
from .settings import TrainingSettings

__all__ = ["ImageSamples", "ImageSet"]

_THREADS = 2


@dataclass(frozen=True)
class ImageSet:
    """Images with labels.

    Attributes
    ----------
    files : tuple of str
        Paths.
    labels : int32 array (files,)
        Class indices.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.files)

    def without(self, bad: Mapping[str, str]) -> ImageSet:
        """Leave some files out."""
        kept = np.array([file not in bad for file in self.files], bool)
        return ImageSet(tuple(file for file in self.files if file not in bad), self.labels[kept])


@dataclass(frozen=True)
class ImageSamples:
    """Image files of any size.

    Attributes
    ----------
    size : int
        Side in pixels to which images are resized.
    folder : str
        Where they are.
    kept : ImageCache, optional
        Decoded, resized images in memory, see `shared`.
    """

    unit: ClassVar[str] = "images"

    size: int = 224
    folder: str = ""
    kept: ImageCache | None = None

    def labels(self, samples: ImageSet) -> NDArray[Any]:
        """Return the class index of each image."""
        return samples.labels

    def train_loader(self, samples: ImageSet, making: Making) -> Loader[ImageSource]:
        """Make the loader of the training."""
        settings = making.settings
        return train_image_loader(
            samples.files,
            samples.labels,
            num_classes=making.classes,
            curriculum=making.curriculum,
            method=settings.mixer,
            p=settings.p,
            seed=settings.seed,
            augment=settings.augmentations()[0],
            **self._given(making),
        )

    def evaluate_loader(self, samples: ImageSet, making: Making, change: Augment | None = None) -> Loader[ImageSource]:
        """Make a loader that gives every image once, changed by an augmentation where one is given."""
        return evaluate_image_loader(samples.files, samples.labels, augment=change, **self._given(making))

    def batch_source(self, samples: ImageSet, rows: NDArray[Any], plans: PlanSource, classes: int) -> ImageSource:
        """Make a source of some images."""
        return ImageSource(
            [samples.files[row] for row in rows.tolist()],
            samples.labels[rows],
            batch_size=len(rows),
            image_size=self.size,
            plans=plans,
            num_classes=classes,
            shuffle=False,
        )

    def shared(self, settings: TrainingSettings) -> ImageSamples:
        """Return the same, with room for decoded images."""
        return replace(self, kept=ImageCache(self.size, device=settings.device, **_threads(settings)))

    def told(self, loaders: Sequence[Any], earlier: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: every image is decoded once beforehand."""
        return {}

    def report(self, loaders: Sequence[Any], told: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return where the images are, and whether they were kept."""
        return {"folder": self.folder, "cache": self.kept is not None}

    def about(self) -> dict[str, Any]:
        """Return nothing: neither the folder nor the memory changes a training."""
        return {}

    def _given(self, making: Making) -> dict[str, Any]:
        """What both kinds of loaders are given."""
        settings = making.settings
        return {
            "batch_size": making.batch_size,
            "image_size": self.size,
            "device": settings.device,
            "engine": settings.engine,
            "mean": making.normalisation.mean,
            "std": making.normalisation.std,
            "cache": self.kept,
            **_threads(settings),
        }


def _threads(settings: TrainingSettings) -> dict[str, Any]:
    """Of DALI; two by default, as images are decoded while the model learns."""
    return {"num_threads": settings.threads or _THREADS}
