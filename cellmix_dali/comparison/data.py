"""The images of a comparison, divided once for every fold that is tested on, and what tells them from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from ..errors import unknown_name
from ..training import (
    ImageSamples,
    ImageSet,
    TrainingData,
    folded_images,
    folds_of,
    read_folds,
    readable_images,
    without_images,
)
from .settings import ComparisonSettings

__all__ = ["data_digest", "divided_images"]


def divided_images(
    settings: ComparisonSettings, checking: Callable[[int, int], None] | None = None
) -> dict[str, TrainingData[ImageSet]]:
    """Return the images by the fold that is tested on; every one is decoded once, whatever the number of folds.

    Parameters
    ----------
    settings : ComparisonSettings
        Says where they are.
    checking : callable, optional
        Called with (images done, images).

    Raises
    ------
    ArgumentError
        If the list of folds cannot be used, has no such fold, or images cannot be read.
    """
    names = folds_of(read_folds(settings.folds, only=settings.only, class_column=settings.class_column))
    asked = tuple(dict.fromkeys(settings.test_folds or names))
    for name in asked:
        if name not in names:
            raise unknown_name("fold", name, names)
    found = {
        name: folded_images(
            settings.images,
            settings.folds,
            fold=name,
            only=settings.only,
            class_column=settings.class_column,
            source=ImageSamples(settings.image_size),
        )
        for name in asked
    }
    # A fold's three sets are all the images that there are.
    first = readable_images(found[asked[0]], skip=settings.skip_bad_images, progress=checking)
    if first.left_out:
        found = {name: without_images(data, first.left_out) for name, data in found.items()}
    return found


def data_digest(settings: ComparisonSettings, left_out: Mapping[str, str]) -> str:
    """Return the SHA-256 of the images with their classes and folds, whatever folder they lie in.

    Parameters
    ----------
    settings : ComparisonSettings
        Says where they are.
    left_out : mapping
        Files that are not used.
    """
    digest = hashlib.sha256()
    rows = read_folds(settings.folds, only=settings.only, class_column=settings.class_column)
    for row in sorted(rows, key=lambda row: row["path"]):
        file = settings.images / row["path"]
        if str(file) not in left_out:
            told = "\0".join((row["path"], row[settings.class_column], row["fold"]))
            digest.update(hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
