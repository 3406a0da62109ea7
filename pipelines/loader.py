"""From a DALI pipeline to PyTorch: a loader with a right length, exact resume, and bad tiles survived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.faults import Fault
from cellmix_dali.plugins._dali import Pipeline
from cellmix_dali.plugins.tile_source import TileSource

from ._decoding import undecodable

__all__ = ["Stateful", "TileLoader"]

# What the graph's own assertions look like from outside; see plugins/cellmix.py and plugins/_labels.py.
_EXPLAINED = {
    "_require_tile_size": "The images are not of the size that the mixing plans are drawn for: correct tile_size.",
    "_one_hot": "A label is out of range: labels go from 0 to num_classes - 1.",
    "decoders": "A tile could not be decoded: its block in the slide file is damaged.",
}


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
        if self._used:
            self._iterator.reset()
        self._used = True
        finished = False
        try:
            while self._iteration < len(self):
                batch = self._next()
                self._iteration += 1
                yield batch
            finished = self._is_over()
        finally:
            if not finished and not self._closed:
                self._abandon()
            self._epoch, self._iteration = self._epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Give what a new loader needs to go on with the very batches that this one would make next.

        Small and picklable. Within a pass, the batch that was handed out last counts as done.
        """
        return {
            "epoch": self._epoch,
            "iteration": self._iteration,
            "settings": self._settings(),
            "bad": dict(self.source.bad),
            "curriculum": None if self._curriculum is None else self._curriculum.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader stood that gave the state; also its curriculum, if this loader has one.

        Raises
        ------
        ArgumentError
            If the state is of a loader that was set up otherwise; says what differs.
        """
        mine, theirs = self._settings(), state.get("settings", {})
        differing = [name for name in mine if mine[name] != theirs.get(name)]
        if differing:
            what = "; ".join(f"{name} was {theirs.get(name)!r}, is {mine[name]!r}" for name in differing)
            raise ArgumentError(f"The state is of a loader that was set up otherwise, so batches would differ: {what}.")
        if self._curriculum is not None and state["curriculum"] is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        self.source.bad.update(state["bad"])
        self._epoch, self._iteration = state["epoch"], state["iteration"]
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
        self._make_iterator()

    def _next(self) -> dict[str, Tensor]:
        """One batch. Where a tile cannot be decoded, it is found and replaced, and the pipeline goes on at that batch."""
        while True:
            try:
                batch: dict[str, Tensor] = next(self._iterator)[0]
            except CellMixDaliError:
                self.close()  # raised by the source: DALI's pipeline is no longer valid
                raise
            except RuntimeError as error:
                if "decoders" not in str(error) or not self.source.replacing or not self._find_undecodable():
                    self.close()
                    raise _explained(error) from error
                self._restart()
                self._used = True
            else:
                return batch

    def _find_undecodable(self) -> bool:
        """Mark the tiles that DALI cannot decode in this batch, or in the ones fetched ahead."""
        last = min(len(self), self._iteration + self.pipeline.prefetch_queue_depth + 1)
        self.source.forget()
        for iteration in range(self._iteration, last):
            bad = undecodable(self.source.batch(self._epoch, iteration))
            for row, reason in bad.items():
                self.source.mark_bad(row, reason)
            if bad:
                return True
        return False

    def _is_over(self) -> bool:
        """Take the StopIteration that ends the epoch, so that the iterator can be reset."""
        try:
            next(self._iterator)
        except StopIteration:
            return True
        raise CellMixDaliError("The tile source gave more batches than an epoch has.")

    def _abandon(self) -> None:
        """End an epoch that was broken off: no more batches are read, those fetched ahead are dropped."""
        self.source.clock.cut_short()
        try:
            while True:
                next(self._iterator)
        except StopIteration:
            pass
        finally:
            self.source.clock.cut_short(False)
            self.source.forget()

    def _settings(self) -> dict[str, Any]:
        """All that the batches' contents depend on, but the pixels."""
        order, plans = self.source.order, self.source.plans
        mixer = None if plans is None else plans.mixer
        return {
            "tiles": len(self.source.table),
            "tile_size": self.source.tile_size,
            "batch_size": self.batch_size,
            "shuffle": order.shuffle,
            "drop_last": order.drop_last,
            "rank": order.rank,
            "world_size": order.world_size,
            "seed": self.source.seed,
            "flips": self.source.flips,
            "method": None if mixer is None else mixer.method,
            "p": None if mixer is None else mixer.p,
        }


def _explained(error: RuntimeError) -> CellMixDaliError:
    """DALI's error with a person's words before it."""
    text = str(error)
    known = [words for place, words in _EXPLAINED.items() if place in text]
    return CellMixDaliError(f"{known[0] if known else 'DALI could not make a batch.'}\n{text}")
