"""Folders of labelled images: which to train on, to choose the best epoch by, and to test on."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import ArgumentError, some_of
from ..pipelines.images import IMAGE_SUFFIXES, unreadable_images
from ..storage.foreign_files import reading
from ..storage.moment import is_folder, may_be_file
from .data import TrainingData
from .image_samples import ImageSamples, ImageSet

__all__ = [
    "folded_images",
    "folds_of",
    "image_folders",
    "read_folds",
    "readable_images",
    "without_images",
]

_named = partial(some_of, separator="; ")  # files may have commas in their names

Row: TypeAlias = "dict[str, str]"
ImageData: TypeAlias = TrainingData[ImageSet]


def image_folders(folder: Path, source: ImageSamples | None = None) -> ImageData:
    """Find the images of DIR/train/CLASS, DIR/val/CLASS and, where there is one, DIR/test/CLASS.

    Parameters
    ----------
    folder : Path
        DIR. The classes are the folders in DIR/train, by name; images may lie deeper.
    source : ImageSamples, optional
        To which size they are resized.

    Raises
    ------
    ArgumentError
        If a folder, or images of two classes and more, are missing.
    """
    _require_folder(folder)
    train = folder / "train"
    validation = folder / "val"
    if not is_folder(train) or not is_folder(validation):
        raise ArgumentError(
            f"{folder} has no folders 'train' and 'val' with a folder for each class. Make them, or give --folds CSV "
            "(columns path, class, fold), which says what is tested on."
        )
    classes = tuple(sorted(each.name for each in train.iterdir() if each.is_dir() and not each.name.startswith(".")))
    others: list[Path] = []
    test = _of_classes(folder / "test", classes, others) if is_folder(folder / "test") else None
    data = TrainingData(
        source=replace(source or ImageSamples(), folder=str(folder)),
        task=_task(classes),
        train=_of_classes(train, classes, others),
        validation=_of_classes(validation, classes, others),
        test=test,
        classes=classes,
        split="folders train, val" + (", test" if test is not None else "; no folder test"),
    )
    return _checked(replace(data, notes=_not_looked_at(others)))


def folded_images(
    folder: Path,
    folds: Path,
    *,
    fold: str = "0",
    validate: bool = True,
    only: str | None = None,
    class_column: str = "class",
    source: ImageSamples | None = None,
) -> ImageData:
    """Divide the images that a list of folds names: one fold to test on, the next one to choose the best epoch by.

    Parameters
    ----------
    folder : Path
        Where the list's paths begin.
    folds : Path
        CSV with the columns ``path``, ``class`` and ``fold``; optionally ``group``, the origin of an image (patient,
        slide), which must not lie in two folds.
    fold : str, default "0"
        To test on.
    validate : bool, default True
        Whether the next fold (after the last one the first) is kept from the training, to choose the best epoch by.
    only : str, optional
        "COLUMN=VALUE": use only these rows.
    class_column : str, default "class"
        Another column that names the class.
    source : ImageSamples, optional
        To which size they are resized.

    Raises
    ------
    ArgumentError
        If the list cannot be read, names files that are missing, holds a group in two folds, or leaves a set without
        images of two classes.
    """
    _require_folder(folder)
    rows = read_folds(folds, only=only, class_column=class_column)
    missing = [row["path"] for row in rows if not may_be_file(folder / row["path"])]
    if missing:
        raise ArgumentError(
            f"{folds} names {len(missing)} files that are not in {folder}: {_named(missing)}. Correct the paths, which "
            "begin at --images, or take the rows out."
        )
    _refuse_torn_groups(rows, folds)
    names = folds_of(rows)
    if fold not in names:
        raise ArgumentError(f"There is no fold {fold!r} in {folds}: it has {', '.join(names)}. Give one by --fold.")
    if len(names) < (3 if validate else 2):
        raise ArgumentError(
            f"{folds} has {len(names)} folds: one is tested on"
            + (", one chooses the best epoch" if validate else "")
            + ", and nothing is left to train on."
            + (" With --no-best two folds are enough." if validate else "")
        )
    following = names[(names.index(fold) + 1) % len(names)]
    classes = tuple(sorted({row[class_column] for row in rows}))
    numbers = {name: number for number, name in enumerate(classes)}

    def images(of: Sequence[str]) -> ImageSet:
        chosen = [row for row in rows if row["fold"] in of]
        labels = np.array([numbers[row[class_column]] for row in chosen], np.int32)
        return ImageSet(tuple(str(folder / row["path"]) for row in chosen), labels)

    kept = [name for name in names if name != fold and not (validate and name == following)]
    data = TrainingData(
        source=replace(source or ImageSamples(), folder=str(folder)),
        task=_task(classes),
        train=images(kept),
        validation=images([following]) if validate else None,
        test=images([fold]),
        classes=classes,
        split=f"fold {fold} of {len(names)} tested on, "
        + (f"fold {following} chooses the best epoch, " if validate else "")
        + f"trained on {', '.join(kept)}"
        + (f"; only {only}" if only else ""),
    )
    return _checked(data)


def readable_images(
    data: ImageData, *, skip: bool = False, progress: Callable[[int, int], None] | None = None
) -> ImageData:
    """Decode every image once, before the training, and refuse unreadable ones or leave them out.

    A run that stops in its last hour, or an image that is silently another one, costs more than one pass of decoding.

    Parameters
    ----------
    data : ImageData
        What was found.
    skip : bool, default False
        Leave unreadable files out, and list them in ``left_out``, instead of raising.
    progress : callable, optional
        Called with (images done, images).

    Raises
    ------
    ArgumentError
        Naming the files, and what is wrong with each.
    """
    files = [file for images in data.sets.values() for file in images.files]
    bad = {files[number]: reason for number, reason in unreadable_images(files, progress=progress).items()}
    if not bad:
        return data
    if not skip:
        told = [f"{file}: {reason}" for file, reason in bad.items()]
        raise ArgumentError(
            f"{len(bad)} of {len(files)} images cannot be read. {_named(told)}. Replace or remove them, or give "
            "--skip-bad-images to leave them out."
        )
    return without_images(data, bad)


def without_images(data: ImageData, bad: Mapping[str, str]) -> ImageData:
    """Leave files out, given with what is wrong with each.

    Raises
    ------
    ArgumentError
        If what is left cannot be trained or tested on.
    """
    return _checked(
        replace(
            data,
            train=data.train.without(bad),
            validation=None if data.validation is None else data.validation.without(bad),
            test=None if data.test is None else data.test.without(bad),
            left_out=bad,
        )
    )


def _require_folder(folder: Path) -> None:
    if not is_folder(folder):
        raise ArgumentError(f"There is no folder {folder}: give the folder of the images by --images.")


def _not_looked_at(others: Sequence[Path]) -> tuple[str, ...]:
    """Say which files lie in the folders of images and are none, as their names say."""
    if not others:
        return ()
    kinds = sorted({file.suffix.lower() or "no suffix" for file in others})
    told = f"{len(others)} files were left out, as they are not called like images that DALI decodes: {_named(kinds)}"
    return (f"{told}; the first is {others[0]}",)


def _of_classes(folder: Path, classes: Sequence[str], others: list[Path]) -> ImageSet:
    """The images in a folder's class folders; other files go into `others`."""
    unknown = {each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")} - {*classes}
    if unknown:
        lacking = _named(sorted(unknown))
        raise ArgumentError(f"{folder} has classes that the folder 'train' beside it lacks: {lacking}.")
    files: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        there = [file for file in sorted((folder / name).rglob("*")) if not _is_hidden(file) and file.is_file()]
        found = [str(file) for file in there if file.suffix.lower() in IMAGE_SUFFIXES]
        others += [file for file in there if file.suffix.lower() not in IMAGE_SUFFIXES]
        if not found and folder.name == "train":
            raise ArgumentError(f"There is no image in {folder / name}: looked for {', '.join(IMAGE_SUFFIXES)}.")
        files += found
        labels += [number] * len(found)
    return ImageSet(tuple(files), np.array(labels, np.int32))


def _is_hidden(file: Path) -> bool:
    """Whether a file is none of the user's: hidden ones, and what systems leave in folders."""
    return file.name.startswith(".") or file.name == "Thumbs.db"


def _task(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes: {', '.join(classes)}"


def _folder(data: ImageData) -> str:
    assert isinstance(data.source, ImageSamples)
    return data.source.folder


def _checked(data: ImageData) -> ImageData:
    """Refuse sets that nothing can be learned from or told by."""
    for name, images in data.sets.items():
        if not len(images):
            raise ArgumentError(f"There are no {name} images in {_folder(data)} ({data.split}).")
        there = np.unique(images.labels)
        if len(there) < 2:
            raise ArgumentError(
                f"All {name} images in {_folder(data)} are of one class, {data.classes[there[0]]}: there is nothing to "
                f"tell apart ({data.split})."
            )
    lacking = [name for number, name in enumerate(data.classes) if not (data.train.labels == number).any()]
    if lacking:
        raise ArgumentError(f"There is no training image of: {', '.join(lacking)} ({data.split}).")
    return data


def read_folds(path: Path, *, only: str | None = None, class_column: str = "class") -> list[Row]:
    """Read the rows of a list of folds; the parameters are those of `folded_images`.

    Raises
    ------
    ArgumentError
        If it cannot be read, lacks a column, or has no rows to use.
    """
    with (
        reading(path, "The list of folds", f"Expected a CSV in UTF-8 with the columns path, {class_column} and fold."),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        reader = csv.DictReader(file)
        rows = [{name: value or "" for name, value in row.items() if name is not None} for row in reader]
        columns = list(reader.fieldnames or [])
    twice_named = sorted({name for name in columns if columns.count(name) > 1})
    if twice_named:
        raise ArgumentError(f"The list of folds {path} has several columns {_named(twice_named)}. Leave one of each.")
    lacking = [name for name in ("path", class_column, "fold") if name not in columns]
    if lacking or not rows:
        raise ArgumentError(
            f"The list of folds {path} has "
            + (
                f"no column {' or '.join(map(repr, lacking))}: its columns are {', '.join(columns)}."
                if lacking
                else "no rows."
            )
        )
    for line, row in enumerate(rows, start=2):
        if not (row["path"] and row[class_column] and row["fold"]):
            raise ArgumentError(f"Line {line} of {path} lacks its path, its {class_column} or its fold: fill it in.")
        row["path"] = os.path.normpath(row["path"])  # "a//b" is "a/b": one file, and not two
    paths = [row["path"] for row in rows]
    twice = sorted({name for name in paths if paths.count(name) > 1}) if len(set(paths)) < len(paths) else []
    if twice:
        raise ArgumentError(f"{path} names files more than once: {_named(twice)}. Leave one row of each.")
    return _chosen(rows, only, path)


def _chosen(rows: list[Row], only: str | None, path: Path) -> list[Row]:
    """The rows of `only`."""
    if only is None:
        return rows
    column, equals, value = only.partition("=")
    if not equals or column not in rows[0]:
        raise ArgumentError(f"--only {only}: give COLUMN=VALUE with a column of {path}: {', '.join(rows[0])}.")
    chosen = [row for row in rows if row[column] == value]
    if not chosen:
        there = sorted({row[column] for row in rows})
        raise ArgumentError(f"--only {only}: no row of {path} has it; its values are {_named(there)}.")
    return chosen


def folds_of(rows: Sequence[Row]) -> list[str]:
    """Return the folds that rows name, in their order: numbers by their value, then other names."""
    return sorted({row["fold"] for row in rows}, key=lambda name: (not name.isdigit(), name.zfill(9)))


def _refuse_torn_groups(rows: list[Row], path: Path) -> None:
    """Refuse groups in two folds: the test would be on what was trained on."""
    folds: dict[str, set[str]] = {}
    for row in rows:
        if row.get("group"):
            folds.setdefault(row["group"], set()).add(row["fold"])
    torn = sorted(group for group, of in folds.items() if len(of) > 1)
    if torn:
        raise ArgumentError(
            f"{len(torn)} groups of {path} lie in several folds, so that images of one origin would be trained on and "
            f"tested: {_named(torn)}. Give each group one fold, or leave the column 'group' out if it says no origin."
        )
