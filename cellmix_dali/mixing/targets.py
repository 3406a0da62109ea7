"""Targets beside the class labels, and how each kind of them is mixed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._registry import Registry
from ..errors import ArgumentError
from .mixing_matrix import MixingMatrix

if TYPE_CHECKING:
    from ..tables.tile_table import TileTable

__all__ = [
    "TARGET_KINDS",
    "Target",
    "TargetKind",
    "TargetValues",
    "Targets",
    "mixed_target",
    "register_target_kind",
    "values_by_name",
]


@dataclass(frozen=True, eq=False)
class TargetKind:
    """A kind of targets.

    Attributes
    ----------
    name : str
        Its name.
    mixed : bool
        Whether the mixing matrix is applied: ``weights @ values``. If not, values stay with their samples, and the
        matrix is handed over with them, by which a loss weighs.
    rule : str
        A sentence that says how it is mixed.
    asks : str
        What its values must be, for messages.
    low, high : float
        The range of all its numbers, both ends included; none is infinite.
    fits : callable, optional
        ``fits(values)`` says of values in that range, float64 (samples, numbers), which rows can be used, bool
        (samples,); by default all.
    """

    name: str
    mixed: bool
    rule: str
    asks: str
    low: float = -math.inf
    high: float = math.inf
    fits: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None

    def usable(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which rows of values, (samples, numbers), can be used."""
        inside = np.isfinite(values) & (values >= self.low) & (values <= self.high)
        usable: NDArray[np.bool_] = np.asarray(inside.all(axis=1))
        return usable if self.fits is None else usable & self.fits(values)


#: Every kind of targets by name. Packages add theirs by entry points of the group ``cellmix_dali.target_kinds``.
TARGET_KINDS: Registry[TargetKind] = Registry(
    "kind of targets", "cellmix_dali.target_kinds", lambda _, kind: register_target_kind(kind)
)


def register_target_kind(kind: TargetKind) -> TargetKind:
    """Enter a kind of targets; loaders, operators and tensors then take it by its name.

    Raises
    ------
    ArgumentError
        If it is not a `TargetKind`, or the name is taken.
    """
    if not isinstance(kind, TargetKind):
        raise ArgumentError(f"{kind!r} cannot be a kind of targets: give a TargetKind.")
    TARGET_KINDS.add(kind.name, kind)
    return kind


@dataclass(frozen=True, eq=False)
class TargetValues:
    """Values of a target, one row per sample; checked when they are given.

    Attributes
    ----------
    kind : str
        One of `TARGET_KINDS`.
    values : float32 array (samples, numbers)
        Given as any array of numbers (samples,) or (samples, numbers).

    Raises
    ------
    ArgumentError
        If there is no such kind, or values are not such as it asks for.
    """

    kind: str
    values: NDArray[Any]
    of: TargetKind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kind = TARGET_KINDS[TARGET_KINDS.canonical(self.kind)]
        given = np.asarray(self.values)
        if given.ndim not in (1, 2) or given.dtype.kind not in "biuf" or (given.ndim == 2 and not given.shape[1]):
            raise ArgumentError(
                f"Targets of kind {kind.name!r} have shape {given.shape} and type {given.dtype}: give numbers, "
                "(samples,) or (samples, numbers)."
            )
        exact = given.astype(np.float64).reshape(len(given), -1)
        fits = kind.usable(exact)
        if not fits.all():
            first = int(np.argmin(fits))
            raise ArgumentError(
                f"The target of sample {first} is {exact[first].tolist()}: {kind.asks}. {np.count_nonzero(~fits)} of "
                f"{len(fits)} samples have a value that {kind.name!r} does not take; correct them, or leave them out."
            )
        object.__setattr__(self, "kind", kind.name)
        object.__setattr__(self, "of", kind)
        object.__setattr__(self, "values", np.ascontiguousarray(exact, np.float32))

    def told(self) -> str:
        """Return kind and values in a word, by which states of loaders are told apart."""
        return f"{self.kind} {hashlib.sha256(self.values.astype('<f4').tobytes()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Target:
    """A target that stands in columns of the tile table.

    Attributes
    ----------
    kind : {"multi_label", "regression", "survival"}
        One of `TARGET_KINDS`, which say how each is mixed.
    columns : str or tuple of str
        The columns, in order: of "multi_label" one per label, 0 or 1 or a share between, or one column of lists; of
        "regression" one or several numbers; of "survival" the time, and 1 where the event was seen, 0 where the sample
        was censored.

    Raises
    ------
    ArgumentError
        If there is no such kind, or no column is named.
    """

    kind: str
    columns: str | tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", TARGET_KINDS.canonical(self.kind))
        given: object = self.columns
        names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise ArgumentError(f"columns={given!r}: name one or more columns of the tile table.")
        object.__setattr__(self, "columns", names)

    def values_for(self, table: TileTable) -> TargetValues:
        """Return the values of a table's tiles.

        Raises
        ------
        ArgumentError
            If a column is not there, or holds what the kind does not take; names the columns.
        """
        from ..tables.target_columns import column_numbers

        numbers = column_numbers(table, self.columns)
        try:
            return TargetValues(self.kind, numbers)
        except ArgumentError as error:
            raise ArgumentError(f"Columns {', '.join(map(repr, self.columns))} of the tile table: {error}") from error


#: What loaders take: by the name of the output, columns of the tile table, or values of all samples.
Targets: TypeAlias = Mapping[str, Target | TargetValues]

_TAKEN = {"images", "labels", "tile", "item", "masks", "source_map", "weights", "parameters"}
_TAKEN |= {"patch_size", "fix_ratio", "triggered", "epoch", "iteration"}


def values_by_name(targets: Targets | None, samples: int, table: TileTable | None = None) -> dict[str, TargetValues]:
    """Return the values of targets under the names of their outputs.

    Parameters
    ----------
    targets : mapping of str to Target or TargetValues, optional
        By the names under which batches will have them.
    samples : int
        How many there must be.
    table : TileTable, optional
        Where columns are looked up; without it, only values can be given.

    Raises
    ------
    ArgumentError
        If a name is taken by another output, or values are not one row per sample.
    """
    found: dict[str, TargetValues] = {}
    for name, target in (targets or {}).items():
        if not isinstance(name, str) or not name.isidentifier() or name in _TAKEN:
            raise ArgumentError(
                f"A target cannot be called {name!r}: give it a plain name that no other output has "
                f"({', '.join(sorted(_TAKEN))})."
            )
        if not isinstance(target, Target | TargetValues) or (table is None and isinstance(target, Target)):
            wanted = "TargetValues(kind, values)" if table is None else "Target(kind, columns)"
            raise ArgumentError(f"targets={{{name!r}: {target!r}}}: give {wanted}.")
        values = target.values_for(table) if isinstance(target, Target) and table is not None else target
        assert isinstance(values, TargetValues)
        if len(values.values) != samples:
            raise ArgumentError(f"Target {name!r} has {len(values.values)} rows, there are {samples} samples.")
        found[name] = values
    return found


def mixed_target(kind: str, values: ArrayLike, weights: MixingMatrix | NDArray[np.floating]) -> NDArray[np.float32]:
    """Mix the targets of a batch as its pixels were mixed.

    Parameters
    ----------
    kind : str
        One of `TARGET_KINDS`.
    values : array (batch,) or (batch, numbers)
        The samples' values, before mixing.
    weights : MixingMatrix or float array (batch, batch)
        The mixing matrix, `MixPlan.matrix` or `MixPlan.weights`.

    Returns
    -------
    float32 array (batch, numbers)
        ``weights @ values``; of a kind that stays (survival), the values as they are.

    Raises
    ------
    ArgumentError
        If the kind does not take the values, or they do not fit the batch.
    """
    target = TargetValues(kind, np.asarray(values))
    batch = weights.batch_size if isinstance(weights, MixingMatrix) else len(weights)
    if len(target.values) != batch:
        raise ArgumentError(f"{len(target.values)} targets do not fit a batch of {batch} samples.")
    if not target.of.mixed:
        return np.asarray(target.values, np.float32)
    if isinstance(weights, MixingMatrix):
        return weights.mixed(target.values).astype(np.float32)
    mixed: NDArray[np.float32] = (np.asarray(weights, np.float64) @ target.values).astype(np.float32)
    return mixed


def _times_and_events(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows are a time and whether the event was seen."""
    if values.shape[1] != 2:
        return np.zeros(len(values), bool)
    return np.isin(values[:, 1], (0.0, 1.0))


register_target_kind(
    TargetKind(
        "multi_label",
        True,
        "by the mixing matrix: a label's share is the share of the image that has it",
        "each label is 0, 1, or a share between",
        0.0,
        1.0,
    )
)
register_target_kind(TargetKind("regression", True, "by the mixing matrix: a weighted mean", "give finite numbers"))
# A mixed time would be of nobody: of a censored sample it is only known that it is longer. The likelihood of each
# sample's own time and event, weighted by its share, is what mixup's loss does with class indices (arXiv 1710.09412).
register_target_kind(
    TargetKind(
        "survival",
        False,
        "stays with its sample, and the mixing matrix comes along: each output counts for all its samples, by their "
        "shares",
        "give two numbers, the time, 0 or more, and the event, 1 or 0 (censored)",
        0.0,
        fits=_times_and_events,
    )
)
