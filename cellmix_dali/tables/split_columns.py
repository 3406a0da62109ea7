"""The columns of a slide list that say what must stay together, and what is trained or tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import ArgumentError, unknown_name
from .columns import UserTable

__all__ = ["SPLITS", "SPLIT_COLUMNS", "check_apart", "read_split_columns", "split_name"]

SPLITS = ("train", "val", "test")
"""Sides of a split."""

SPLIT_COLUMNS = ("patient", "split", "fold")
"""Columns of a tile table that are carried over from a slide list, all text."""

_ALIASES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def split_name(given: str) -> str:
    """Return the side of a split that a word means, in lower case; the word itself if it does not mean any."""
    word = given.strip().lower()
    return _ALIASES.get(word, word)


def read_split_columns(table: UserTable) -> dict[str, tuple[str, ...]]:
    """Read the columns ``patient`` (or ``group``), ``split`` and ``fold`` of a slide list, those that are there.

    Parameters
    ----------
    table : UserTable
        The list.

    Returns
    -------
    dict of str to tuple of str
        By the names in `SPLIT_COLUMNS`. ``group`` stands for ``patient`` where there is no such column.

    Raises
    ------
    ArgumentError
        If a cell is empty or not a side of a split, or a patient is on two sides or in two folds; with the lines.
    """
    found: dict[str, tuple[str, ...]] = {}
    origin = "patient" if "patient" in table else "group"
    for name, column in (("patient", origin), ("split", "split"), ("fold", "fold")):
        if column not in table:
            continue
        cells = table.text(column)
        for row, cell in enumerate(cells):
            if not cell:
                hint = "Where it is unknown, give the slide's own name." if name == "patient" else "Fill it in."
                table.fail(row, f"column {column!r} is empty. {hint}")
            if name == "split" and split_name(cell) not in SPLITS:
                table.fail(row, str(unknown_name("split", cell, SPLITS)))
        found[name] = tuple(split_name(cell) if name == "split" else cell for cell in cells)
    if "patient" in found:
        for column in ("split", "fold"):
            if column in found:
                check_apart(found["patient"], found[column], column, table.where, called=origin)
    return found


def check_apart(
    patients: Sequence[str], sides: Sequence[str], column: str, where: Callable[[int], str], *, called: str = "patient"
) -> None:
    """Refuse a patient with slides on two sides.

    Parameters
    ----------
    patients, sides : sequence of str
        Of each slide.
    column : str
        Name of the sides: "split" or "fold".
    where : callable
        Says for a person where a row stands.
    called : str, default "patient"
        What a patient is called in the list.

    Raises
    ------
    ArgumentError
        With both rows of the first such patient.
    """
    first: dict[str, int] = {}
    torn: dict[str, tuple[int, int]] = {}
    for row, patient in enumerate(patients):
        other = first.setdefault(patient, row)
        if sides[other] != sides[row]:
            torn.setdefault(patient, (other, row))
    if not torn:
        return
    patient, (one, two) = next(iter(torn.items()))
    more = f" So do {len(torn) - 1} more." if len(torn) > 1 else ""
    raise ArgumentError(
        f"The {called} {patient!r} lies on two sides of the column {column!r}: {sides[one]!r} in {where(one)}, and "
        f"{sides[two]!r} in {where(two)}.{more} What is learned from a {called} must not be tested on the same one: "
        f"give all slides of a {called} one {column}."
    )
