"""The samples of a comparison, divided once for every fold that is tested on, and what tells them from others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .. import shards, tables, training  # what takes long to import is named where it is used: options come first
from ..errors import ArgumentError, unknown_name

if TYPE_CHECKING:
    from ..tables import TileRecipe, TileTable
    from ..training import Division, TrainingData

__all__ = ["ComparedData", "ComparedImages", "ComparedSlides", "ComparedTiles"]

Checking: TypeAlias = "Callable[[int, int], None] | None"
Divided: TypeAlias = "dict[str, TrainingData[Any]]"


class ComparedData(Protocol):
    """What a comparison is made on. Another kind of samples is one class with these methods.

    Attributes
    ----------
    size : int or None
        Side in pixels of the images that reach the model; None where the data must be read first.
    place : Path
        Where it is; its name names the comparison.
    """

    @property
    def size(self) -> int | None: ...  # noqa: D102

    @property
    def place(self) -> Path: ...  # noqa: D102

    def divided(self, test_folds: Sequence[str] | None, checking: Checking = None) -> Divided:
        """Return the samples by the fold that is tested on (by default all); the next fold chooses the epoch."""
        ...

    def digest(self, data: Divided) -> str:
        """Return the SHA-256 of the samples with their classes and folds, whatever folder they lie in."""
        ...

    def common(self) -> dict[str, object]:
        """Return what all runs must have in common, as JSON values."""
        ...

    def about(self) -> dict[str, object]:
        """Return what else is written down, and may differ."""
        ...


@dataclass(frozen=True, kw_only=True)
class ComparedImages:
    """Folders of images, and a list that divides them.

    Attributes
    ----------
    images, folds : Path
        Folder of the images, and the CSV that divides them: see `cellmix_dali.training.folded_images`.
    only : str, optional
        "COLUMN=VALUE": use only these rows of `folds`.
    class_column : str
        The column of `folds` that names the class.
    size : int
        Side in pixels to which images are resized.
    skip_bad_images : bool
        Whether images that cannot be decoded are left out instead of stopping.
    """

    images: Path
    folds: Path
    only: str | None = None
    class_column: str = "class"
    size: int = 224
    skip_bad_images: bool = False

    @property
    def place(self) -> Path:
        """The folder."""
        return self.images

    def divided(self, test_folds: Sequence[str] | None, checking: Checking = None) -> Divided:
        """Return the images by the fold that is tested on; every one is decoded once, whatever the number of folds."""
        asked = _asked(training.folds_of(self._rows()), test_folds)
        source = training.ImageSamples(self.size)
        found = {
            name: training.folded_images(
                self.images, self.folds, fold=name, only=self.only, class_column=self.class_column, source=source
            )
            for name in asked
        }
        # A fold's three sets are all the images that there are.
        first = training.readable_images(found[asked[0]], skip=self.skip_bad_images, progress=checking)
        if first.left_out:
            found = {name: training.without_images(data, first.left_out) for name, data in found.items()}
        return dict(found)

    def digest(self, data: Divided) -> str:
        """Return the SHA-256 of names, classes, folds and contents of the files."""
        left_out = next(iter(data.values())).left_out
        digest = hashlib.sha256()
        for row in sorted(self._rows(), key=lambda row: row["path"]):
            file = self.images / row["path"]
            if str(file) not in left_out:
                told = "\0".join((row["path"], row[self.class_column], row["fold"]))
                digest.update(hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def common(self) -> dict[str, object]:
        """Return which rows are used, and the size."""
        return {"only": self.only, "class_column": self.class_column, "image_size": self.size}

    def about(self) -> dict[str, object]:
        """Return where all is."""
        return {"folder": str(self.images), "folds": str(self.folds)}

    def _rows(self) -> list[dict[str, str]]:
        return training.read_folds(self.folds, only=self.only, class_column=self.class_column)


@dataclass(frozen=True, kw_only=True)
class ComparedSlides:
    """A list of slides with a column ``fold``.

    Attributes
    ----------
    place : Path
        The list, see `cellmix_dali.tables.read_slide_list`.
    recipe : TileRecipe
        Which tiles.
    mixed_resolutions, skip_bad_slides : bool
    index : Path, optional
    workers : int or None
        See `cellmix_dali.training.collection_data`.
    """

    place: Path
    recipe: TileRecipe
    mixed_resolutions: bool = False
    skip_bad_slides: bool = False
    index: Path | None = None
    workers: int | None = 0

    @property
    def size(self) -> int:
        """Side of a tile."""
        return self.recipe.tile_size

    def divided(self, test_folds: Sequence[str] | None, checking: Checking = None) -> Divided:
        """Return the tiles by the fold that is tested on; grids are laid once."""
        listed = tables.read_slide_list(self.place, classes=self.recipe.classes, check_files=not self.skip_bad_slides)

        def made(division: Division) -> TrainingData[TileTable]:
            return training.collection_data(
                self.place,
                self.recipe,
                division=division,
                mixed_resolutions=self.mixed_resolutions,
                skip_bad_slides=self.skip_bad_slides,
                index=self.index,
                workers=self.workers,
                progress=checking,
            )

        return _tiles_by_fold(self.place, listed.fold or (), test_folds, made)

    def digest(self, data: Divided) -> str:
        """Return the SHA-256 of the tiles' slides, places, classes and folds."""
        return _digest(data)

    def common(self) -> dict[str, object]:
        """Return the size; the rest is in the digest."""
        return {"image_size": self.size}

    def about(self) -> dict[str, object]:
        """Return where the list is."""
        return {"folder": str(self.place)}


@dataclass(frozen=True, kw_only=True)
class ComparedTiles:
    """Finished tiles whose list of slides had a column ``fold``.

    Attributes
    ----------
    place : Path
        The folder that ``cellmix-dali tile --out`` wrote.
    tile_size : int, optional
        Side in pixels to which tiles are resized; by default their own.
    """

    place: Path
    tile_size: int | None = None

    @property
    def size(self) -> int | None:
        """Side of a tile, where it is asked for."""
        return self.tile_size

    def divided(self, test_folds: Sequence[str] | None, checking: Checking = None) -> Divided:  # noqa: ARG002
        """Return the tiles by the fold that is tested on."""
        table = shards.open_tiles(self.place).arrow
        folds = table["fold"].unique().to_pylist() if "fold" in table.column_names else ()
        return _tiles_by_fold(
            self.place,
            folds,
            test_folds,
            lambda division: training.shard_data(self.place, tile_size=self.tile_size, division=division),
        )

    def digest(self, data: Divided) -> str:
        """Return the SHA-256 of the tiles' slides, places, classes and folds."""
        return _digest(data)

    def common(self) -> dict[str, object]:
        """Return nothing: the size is that of the data."""
        return {}

    def about(self) -> dict[str, object]:
        """Return where the tiles are."""
        return {"folder": str(self.place)}


def _asked(names: Sequence[str], test_folds: Sequence[str] | None) -> tuple[str, ...]:
    """The folds to test on, which must be there."""
    asked = tuple(dict.fromkeys(test_folds or names))
    for name in asked:
        if name not in names:
            raise unknown_name("fold", name, names)
    return asked


def _tiles_by_fold(
    place: Path,
    folds: Sequence[Any],
    test_folds: Sequence[str] | None,
    made: Callable[[Division], TrainingData[TileTable]],
) -> Divided:
    """Divide all tiles anew for every fold; they are made once."""
    names = training.folds_of([{"fold": str(fold).strip()} for fold in folds])
    if len(names) < 3:
        raise ArgumentError(
            f"{place} has {len(names)} folds: one is tested on, one chooses the best epoch, and nothing is left to "
            "train on. Give the list of slides a column 'fold' with three values and more."
        )
    asked = _asked(names, test_folds)
    divisions = {
        name: training.Division(fold=name, validation_fold=names[(names.index(name) + 1) % len(names)])
        for name in asked
    }
    first = made(divisions[asked[0]])
    table = tables.TileTable.concat(list(first.sets.values()))
    found: Divided = {}
    for name, division in divisions.items():
        sides = division.of(table, first.classes)
        data = replace(first, train=sides.train, validation=sides.validation, test=sides.test, split=sides.said)
        for of_set, samples in data.sets.items():
            if len(np.unique(np.asarray(samples.label))) < 2:
                raise ArgumentError(
                    f"With fold {name} tested on, all {of_set} tiles of {place} are of one class: figures mean "
                    "nothing. Give every fold slides of two classes and more."
                )
        found[name] = data
    return found


def _digest(data: Mapping[str, TrainingData[Any]]) -> str:
    """Of tiles, whatever the order of the sets."""
    some = next(iter(data.values()))
    table = tables.TileTable.concat(list(some.sets.values()))
    folds = table.arrow["fold"].to_pylist()
    names = [Path(path).name for path in table.slides]
    columns = (table.slide, table.level, table.x, table.y, table.size, some.source.labels(table))
    rows = sorted(
        "\0".join((names[slide], *map(str, rest)))
        for slide, *rest in zip(*(column.tolist() for column in columns), folds, strict=True)
    )
    return hashlib.sha256("\n".join([*some.classes, *rows]).encode("utf-8", "surrogateescape")).hexdigest()
