"""From a DALI pipeline to PyTorch: a loader with a right length, exact resume, and bad tiles survived."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.faults import Fault
from cellmix_dali.plugins._dali import Pipeline
from cellmix_dali.plugins.tile_source import TileSource

from ._decoding import undecodable

__all__ = ["Stateful", "TileLoader", "with_parameters"]

# As `cellmix_dali.plugins.CellMixParameters` has them.
_PARAMETERS = {
    "patch_size": torch.int32,
    "fix_ratio": torch.float32,
    "triggered": torch.int32,
    "epoch": torch.int64,
    "iteration": torch.int64,
}
# What the graph's own assertions look like from outside; see plugins/cellmix.py and plugins/_labels.py.
_EXPLAINED = {
    "require_tile_size": "The images are not of the size that the mixing plans are drawn for: correct tile_size.",
    "_one_hot": "A label is out of range: labels go from 0 to num_classes - 1.",
    "decoders": "A tile could not be decoded: its block in the slide file is damaged.",
}
# Settings that a state holds as digests, and what to say where only they differ.
_DIGESTS = {"table": "the tile table holds other tiles or labels", "order": "the tiles come in another order"}
_ROWS_OF_A_DIGEST = 1024


class Stateful(Protocol):
    """Anything with a state of its own, such as `cellmix_dali.Curriculum`."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state."""


class TileLoader:
    """Iterates over a pipeline fed by a `TileSource`, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes is in force from the first batch of the next pass and in none before.
    A pass that is broken off is over: the next one starts the next epoch.

    Parameters
    ----------
    build : callable
        Defines the pipeline over `source`; called again where a pipeline must be made anew.
    source : TileSource
        The pipeline's source.
    outputs : list of str
        Names of the pipeline's outputs, in order.
    curriculum : Stateful, optional
        Its state is kept with the loader's.
    """

    def __init__(
        self,
        build: Callable[[], Pipeline],
        source: TileSource,
        outputs: list[str],
        *,
        curriculum: Stateful | None = None,
    ) -> None:
        self.source = source
        self.outputs = outputs
        self._build = build
        self._curriculum = curriculum
        self._epoch = self._iteration = 0
        self._closed = False
        self._used = False
        self._pass: object | None = None  # the pass under way; one that is no longer this one yields no more
        self._make_iterator()

    @property
    def batch_size(self) -> int:
        """Tiles a batch."""
        return self.source.batch_size

    @property
    def epoch(self) -> int:
        """Number of the epoch that runs, or that the next pass will be."""
        return self._epoch

    @property
    def faults(self) -> list[Fault]:
        """Tiles that could not be read so far, each once."""
        return self.source.faults

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.source)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Go through one epoch, or, after `load_state_dict`, through the rest of one.

        Yields
        ------
        dict of str to Tensor
            One tensor an output, the batch its first dimension.

        Raises
        ------
        CellMixDaliError
            If DALI cannot make a batch; says why, as far as it can be known.
        """
        if self._closed:
            raise ArgumentError("This loader is closed: make a new one.")
        self._break_off()
        if self._used:
            self._iterator.reset()
        self._used = True
        self._pass = mine = object()
        try:
            while self._pass is mine and self._iteration < len(self):
                batch = self._next()
                self._iteration += 1
                yield batch
            if self._pass is mine:
                self._finish()
        finally:
            if self._pass is mine:
                self._break_off()

    def state_dict(self) -> dict[str, Any]:
        """Give what a new loader needs to go on with the very batches that this one would make next.

        Small, picklable, and fit for JSON and for ``torch.load(weights_only=True)``. Within a pass, the batch that was
        handed out last counts as done. After an error, the batch that could not be made is the next.
        """
        return {
            "epoch": self._epoch,
            "iteration": self._iteration,
            "settings": self._settings(),
            "bad": dict(self.source.bad),
            "curriculum": None if self._curriculum is None else self._curriculum.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader stood that gave the state, and its curriculum; a pass under way is over.

        Raises
        ------
        ArgumentError
            If the state is of a loader that was set up otherwise; says what differs. The loader is then as it was.
        """
        if not isinstance(state, Mapping) or not isinstance(state.get("settings"), Mapping):
            raise ArgumentError("This is no state of a loader: pass the dict that TileLoader.state_dict() returned.")
        differing = _differing(state["settings"], self._settings())
        if differing:
            raise ArgumentError(
                f"The state is of a loader that was set up otherwise, so batches would differ: {differing}."
            )
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        self._pass = None
        self._epoch, self._iteration = state["epoch"], state["iteration"]
        self.source.forget()
        self.source.bad.clear()
        self.source.bad.update({int(row): reason for row, reason in state["bad"].items()})
        self._restart()

    def close(self) -> None:
        """Stop the reading threads and close the slides."""
        self._closed = True
        self.source.close()

    def __enter__(self) -> TileLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_iterator(self) -> None:
        """Define the pipeline, and the iterator over it; no batch is fetched yet."""
        self.pipeline = self._build()
        self._iterator = DALIGenericIterator(
            [self.pipeline], self.outputs, size=-1, auto_reset=False, prepare_first_batch=False
        )
        self._used = False

    def _restart(self) -> None:
        """Begin anew at the present epoch and iteration."""
        self.source.forget()
        self.source.clock.start(self._epoch, self._iteration)
        if self._used:
            self._make_iterator()

    def _next(self) -> dict[str, Tensor]:
        """One batch. A tile that cannot be decoded is found and replaced; the pipeline goes on at that batch."""
        while True:
            try:
                batch: dict[str, Tensor] = next(self._iterator)[0]
            except CellMixDaliError:
                self.close()  # raised by the source: DALI's pipeline is no longer valid
                raise
            except RuntimeError as error:
                try:
                    bad = self._find_undecodable() if "decoders" in str(error) else {}
                except CellMixDaliError:
                    self.close()
                    raise
                if not bad or not self.source.replacing:
                    self.close()
                    where = [f"{self.source.table.describe(row)}: {reason}" for row, reason in bad.items()]
                    raise _explained(error, where) from error
                self._restart()
                self._used = True
            else:
                return with_parameters(batch)

    def _find_undecodable(self) -> dict[int, str]:
        """Mark the tiles that DALI cannot decode in this batch, or in one fetched ahead; give them with the reasons."""
        last = min(len(self), self._iteration + self.pipeline.prefetch_queue_depth + 1)
        self.source.forget()
        for iteration in range(self._iteration, last):
            bad = undecodable(self.source.batch(self._epoch, iteration))
            for row, reason in bad.items():
                self.source.mark_bad(row, reason)
            if bad:
                return bad
        return {}

    def _finish(self) -> None:
        """End a pass that gave all its batches: take the StopIteration, so that the iterator can be reset."""
        try:
            next(self._iterator)
        except StopIteration:
            self._pass = None
            self._epoch, self._iteration = self._epoch + 1, 0
        else:
            raise CellMixDaliError("The tile source gave more batches than an epoch has.")

    def _break_off(self) -> None:
        """End a pass that is under way: no more batches are read, those fetched ahead are dropped.

        The next one is of the next epoch; but where the loader was closed, by an error too, its place stays.
        """
        under_way, self._pass = self._pass is not None, None
        if self._closed or not under_way:
            return
        self._epoch, self._iteration = self._epoch + 1, 0
        self.source.clock.cut_short()
        try:
            while True:
                next(self._iterator)
        except StopIteration:
            self.source.forget()
        except RuntimeError:
            self._restart()  # a batch fetched ahead could not be made: it is not missed, but the pipeline is lost
        finally:
            self.source.clock.cut_short(False)

    def _settings(self) -> dict[str, Any]:
        """All that the batches depend on, as far as the loader knows it."""
        source, order, plans = self.source, self.source.order, self.source.plans
        settings: dict[str, Any] = {
            "tiles": len(source.table),
            "tile_size": source.tile_size,
            "edge": "pad" if source.reader.pad else "skip",
            "batch_size": self.batch_size,
            "shuffle": order.shuffle,
            "balance": self.source.balance,
            "drop_last": order.drop_last,
            "rank": order.rank,
            "world_size": order.world_size,
            "seed": source.seed,
            "flips": source.flips,
            "method": None if plans is None else plans.mixer.method,
            "p": None if plans is None else plans.mixer.p,
            "curriculum": None if self._curriculum is None else type(self._curriculum).__name__,
            **self._digests,
        }
        if plans is not None and self._curriculum is None:
            settings["patch_size"], settings["fix_ratio"] = plans.parameters()
        return settings

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Digests of some rows of the table, and of some batches' rows."""
        table, order = self.source.table, self.source.order
        rows = np.unique(np.linspace(0, len(table) - 1, _ROWS_OF_A_DIGEST).astype(np.int64))
        last = len(order) - 1
        columns: list[NDArray[Any] | None] = [table.slide, table.level, table.x, table.y, table.size, table.label]
        return {
            "table": _digest(*(column[rows] for column in columns if column is not None)),
            "order": _digest(*(order.batch(epoch, iteration) for epoch in range(2) for iteration in sorted({0, last}))),
        }


def _digest(*arrays: NDArray[Any]) -> str:
    """A short digest of arrays, the same whatever size their numbers are stored in."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
    return digest.hexdigest()[:16]


def _differing(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Say which settings of two loaders differ."""
    names = [name for name in {**mine, **theirs} if theirs.get(name) != mine.get(name)]
    plain = [f"{name} was {theirs.get(name)!r}, is {mine.get(name)!r}" for name in names if name not in _DIGESTS]
    return "; ".join(plain or [_DIGESTS[name] for name in names])


def with_parameters(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the mixing's parameters, which come in one tensor: taking them apart in the graph costs much more."""
    applied = batch.pop("parameters", None)
    if applied is not None:
        for column, (name, dtype) in enumerate(_PARAMETERS.items()):
            batch[name] = applied[:, column].to(dtype)
    return batch


def _explained(error: RuntimeError, where: Sequence[str] = ()) -> CellMixDaliError:
    """DALI's error with a person's words before it, and the tiles to blame."""
    text = str(error)
    known = [words for place, words in _EXPLAINED.items() if place in text]
    lines = [known[0] if known else "DALI could not make a batch.", *where, text]
    return CellMixDaliError("\n".join(lines))
