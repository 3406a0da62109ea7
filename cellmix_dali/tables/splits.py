"""Which tiles of a collection are trained on and which are tested on, so that no patient is on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .._random import generator
from ..errors import ArgumentError, some_of, unknown_name
from .split_columns import SPLITS, check_apart, split_name
from .tile_table import TileTable

__all__ = ["TileSplit", "split_tiles"]

_STREAM = 4  # keeps the split's random numbers apart from the others under one seed


@dataclass(frozen=True)
class TileSplit:
    """Tiles to train and to test on.

    Attributes
    ----------
    train, test : TileTable
        Which are trained and tested on.
    validation : TileTable or None
        Of split "val", where there is a "test", too: they may choose the best epoch.
    held_out : tuple of str
        Paths of the slides that are tested on.
    said : str
        For a person: what was held out, and by what.
    notes : tuple of str
        What a person should know: a class without test tiles, slides that are not used.
    """

    train: TileTable
    test: TileTable
    held_out: tuple[str, ...]
    said: str
    notes: tuple[str, ...] = ()
    validation: TileTable | None = None


def split_tiles(
    table: TileTable,
    hold_out: float = 0.2,
    *,
    classes: Sequence[str] | None = None,
    fold: str | None = None,
    seed: int = 0,
) -> TileSplit:
    """Divide tiles: by the table's own column ``split`` or ``fold``, else by holding out patients, else whole slides.

    ``split`` is used as it stands: "train" is trained on, "test" is tested on, or "val" where there is no "test"; else
    "val" is left out of both, and is ``validation``. Of ``fold``, one is tested on and all others are trained on.
    Without either, patients
    (column ``patient``, or ``group``) or, without these, slides are drawn: of those whose tiles mostly have one label,
    the same share is held out for each label, at least one where there are two or more, and such that every class is in
    the training, and in the test where it can be in both.

    Parameters
    ----------
    table : TileTable
        With class indices as labels; the columns ``patient``, ``split`` and ``fold``, where it has them, as
        `cellmix_dali.tables.tiles_of_slides` and ``cellmix-dali tile`` carry them over from a slide list.
    hold_out : float, default 0.2
        Share of the patients or slides that are drawn to test on, above 0 and below 1; ignored with ``split`` or
        ``fold``.
    classes : sequence of str, optional
        Names of the labels, for messages; by default their numbers.
    fold : str, optional
        Fold to test on; by default the first. With it, the column ``fold`` counts even where there is a column
        ``split``.
    seed : int, default 0
        Of the draw.

    Returns
    -------
    TileSplit

    Raises
    ------
    ArgumentError
        If the share is out of range, there are too few slides or patients, there is no such fold, a patient is on both
        sides, a side is empty, or a class has tiles but none to train on.
    """
    if not 0 < hold_out < 1:
        raise ArgumentError(f"hold_out={hold_out}: give the share of slides to test on, above 0 and below 1.")
    if table.label is None or table.label.ndim != 1:
        raise ArgumentError("To be divided, tiles need class indices as labels: label them first (with_labels).")
    origin = next((name for name in ("patient", "group") if name in table.arrow.column_names), None)
    columns = set(table.arrow.column_names)
    if fold is not None and "fold" not in columns:
        raise ArgumentError(
            f"fold={fold!r}, and the tiles have no column 'fold': add it to the slide list, or leave it out."
        )
    if "split" in columns and fold is None:
        given = _by_split(table, origin)
    elif "fold" in columns:
        given = _by_fold(table, origin, fold)
    else:
        given = _drawn(table, origin, hold_out, seed)
    train, test, by, notes, validation = given
    names = classes or tuple(map(str, range(int(table.label.max()) + 1)))
    notes = [*notes, *_missing_classes(table, train, test, names, origin)]
    numbers = np.unique(table.slide[test]).tolist()
    held_out = tuple(table.slides[number] for number in numbers)
    shown = some_of([Path(path).name for path in held_out])
    said = f"{len(held_out)} of {len(table.slides)} slides held out ({shown}){by}"
    return TileSplit(
        table.select(train),
        table.select(test),
        held_out,
        said,
        tuple(notes),
        None if validation is None else table.select(validation),
    )


_Sides = tuple[NDArray[np.bool_], NDArray[np.bool_], str, list[str], NDArray[np.bool_] | None]


def _text(table: TileTable, name: str) -> tuple[list[str], NDArray[np.int64]]:
    """A column's different values, and which of them each row has."""
    column = table.arrow[name]
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise ArgumentError(
            f"Column {name!r} of the tile table has {column.null_count} empty cells; the first is of "
            f"{table.describe(row)}. Fill them, or leave those rows out."
        )
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    of = [str(value).strip() for value in encoded.dictionary.to_pylist()]
    values, numbers = np.unique(np.asarray(of, object), return_inverse=True)
    codes = numbers[encoded.indices.to_numpy(zero_copy_only=False)]
    used, codes = np.unique(codes, return_inverse=True)
    return [str(values[number]) for number in used.tolist()], codes.astype(np.int64)


def _check_patients(
    table: TileTable, origin: str | None, column: str, sides: Sequence[str], codes: NDArray[np.int64]
) -> None:
    """Refuse a patient on two sides; without patients, a slide. `codes` says which side each row is on."""
    names: Sequence[str] = table.slides
    units = np.asarray(table.slide, np.int64)
    if origin is not None:
        names, units = _text(table, origin)
    # One row for each pair of unit and side: tables have millions of rows.
    pairs, rows = np.unique(units * len(sides) + codes, return_index=True)
    check_apart(
        [names[pair // len(sides)] for pair in pairs.tolist()],
        [sides[pair % len(sides)] for pair in pairs.tolist()],
        column,
        lambda number: table.slides[table.slide[rows[number]]],
        called=origin or "slide",
    )


def _by_split(table: TileTable, origin: str | None) -> _Sides:
    """The sides that the column says."""
    words, codes = _text(table, "split")
    sides = [split_name(word) for word in words]
    for word, side in zip(words, sides, strict=True):
        if side not in SPLITS:
            raise unknown_name("split", word, SPLITS)
    codes = np.array([SPLITS.index(side) for side in sides])[codes]
    _check_patients(table, origin, "split", SPLITS, codes)
    on_train, on_val, on_test = (codes == number for number in range(3))
    tested = "test" if on_test.any() else "val"
    train, test = on_train, on_test if tested == "test" else on_val
    for name, rows in (("train", train), ("test", test)):
        if not rows.any():
            raise ArgumentError(
                f"By the column 'split' there is no tile to {name} on: the slides with tiles are of split "
                f"{' and '.join(sorted(set(sides)))}. Give some slides split={name!r}, or remove the column, so that "
                "slides are drawn."
            )
    by = f", by the column 'split'{'' if tested == 'test' else ' (val, as there is no test)'}"
    return train, test, by, [], on_val if tested == "test" and on_val.any() else None


def _by_fold(table: TileTable, origin: str | None, fold: str | None) -> _Sides:
    """One fold against the others."""
    words, codes = _text(table, "fold")
    names = sorted(words, key=lambda name: (not name.isdigit(), name.zfill(9)))
    chosen = names[0] if fold is None else str(fold)
    if chosen not in names:
        raise ArgumentError(f"There is no fold {chosen!r} among the tiles: they have {', '.join(names)}.")
    if len(names) < 2:
        raise ArgumentError(f"All tiles are of fold {chosen}: one is tested on, and nothing is left to train on.")
    _check_patients(table, origin, "fold", words, codes)
    test = codes == words.index(chosen)
    return ~test, test, f", fold {chosen} of {', '.join(names)}", [], None


def _drawn(table: TileTable, origin: str | None, share: float, seed: int) -> _Sides:
    """Hold out patients, or slides where patients are not known."""
    assert table.label is not None
    unit = np.asarray(table.slide, np.int64)
    if origin is not None:
        # Patients who share a slide go together, as its tiles are neighbours.
        unit = _joined(_text(table, origin)[1], unit)
    numbers, unit = np.unique(unit, return_inverse=True)
    if len(numbers) < 2:
        raise ArgumentError(
            f"All tiles are of one {origin or 'slide'}: give at least two, so that one can be held out."
        )
    classes = int(table.label.max()) + 1
    flat = np.bincount(unit * classes + table.label.astype(np.int64), minlength=len(numbers) * classes)
    counts = flat.reshape(len(numbers), classes)
    mostly = counts.argmax(axis=1)
    random = generator(seed, stream=_STREAM)
    held_out: list[int] = []
    every = np.arange(len(numbers))
    for label in np.unique(mostly):
        alike = random.permutation(every[mostly == label])
        if len(alike) > 1:
            held_out += alike[: min(len(alike) - 1, math.ceil(share * len(alike)))].tolist()
    if not held_out:  # one a label: any may go
        held_out = random.permutation(every)[: max(1, int(share * len(numbers)))].tolist()
    held = _with_all_classes(counts > 0, np.isin(every, held_out))
    test = held[unit]
    by = "" if origin is None else f", {int(held.sum())} of {len(numbers)} {origin}s"
    return ~test, test, by, [], None


def _joined(unit: NDArray[np.int64], slide: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number units anew, such that those with a common slide have the same number."""
    pairs = np.unique(np.stack([unit, slide], axis=1), axis=0)
    number = np.arange(int(unit.max()) + 1)
    while True:
        least = np.full(int(slide.max()) + 1, len(number))
        np.minimum.at(least, pairs[:, 1], number[pairs[:, 0]])
        before = number.copy()
        np.minimum.at(number, pairs[:, 0], least[pairs[:, 1]])
        if (before == number).all():
            joined: NDArray[np.int64] = number[unit]
            return joined


def _with_all_classes(has: NDArray[np.bool_], held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Change a draw where a class would be on one side alone though it could be on both.

    `has` says which unit has which class. The training comes first: what it lacks goes back to it.
    """
    drawn, held = held, held.copy()
    labels = np.flatnonzero(has.any(axis=0)).tolist()
    for label in labels:
        own = np.flatnonzero(has[:, label])
        if held[own].all():
            held[own[-1]] = False

    def spare(units: NDArray[np.int64]) -> int | None:
        """The first of these without which the training still has all of its classes."""
        for one in units[~held[units]].tolist():
            rest = ~held
            rest[one] = False
            if (has[rest].any(axis=0) == has[~held].any(axis=0)).all():
                return int(one)
        return None

    for label in labels:
        own = np.flatnonzero(has[:, label])
        if not held[own].any() and len(own) > 1 and (one := spare(own)) is not None:
            held[one] = True
    if not held.any():
        one = spare(np.arange(len(held)))
        if one is None:
            return drawn  # each has a class of its own
        held[one] = True
    return held


def _missing_classes(
    table: TileTable, train: NDArray[np.bool_], test: NDArray[np.bool_], names: Sequence[str], origin: str | None
) -> list[str]:
    """Refuse a class that is tested on and never trained on; say which are not tested on, or have no tile."""
    assert table.label is not None
    there, trained, tested = (
        np.bincount(table.label[rows], minlength=len(names)) > 0 for rows in (slice(None), train, test)
    )
    what = "slide" if origin is None else origin

    def called(labels: NDArray[np.bool_]) -> str:
        return some_of([names[label] for label in np.flatnonzero(labels).tolist()])

    if (there & ~trained).any():
        raise ArgumentError(
            f"No training tile is of class {called(there & ~trained)}: all its tiles are held out, and what was never "
            f"trained on cannot be told in the test. Add {what}s of it (two at least), give a column 'split' or 'fold' "
            "that has it in the training, try another seed or fold, or leave the class out."
        )
    notes = []
    if (trained & ~tested).any():
        notes.append(
            f"no test tile is of class {called(trained & ~tested)}, so the test says nothing about it: add {what}s of "
            "it (two at least), or give a column 'split' or 'fold' that has it on both sides"
        )
    if (~there).any():
        notes.append(f"no tile at all is of class {called(~there)}: it is neither trained nor tested on")
    return notes
