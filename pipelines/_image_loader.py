"""From a pipeline over image files to PyTorch: exact epochs, exact resume, and errors that name the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins._dali import Pipeline

from ._image_decoding import failure
from ._image_source import ImageSource
from .loader import Stateful, with_parameters

__all__ = ["ImageLoader"]


class ImageLoader:
    """Iterates over a pipeline fed by an `ImageSource`, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes is in force from the first batch of the next pass and in none before.
    A pass that is broken off is over: the next one starts the next epoch.

    Parameters
    ----------
    build : callable
        Defines the pipeline over `source`; called again where a pipeline must be made anew.
    source : ImageSource
        The pipeline's source.
    outputs : list of str
        Names of the pipeline's outputs, in order.
    curriculum : Stateful, optional
        Its state is kept with the loader's.
    """

    def __init__(
        self,
        build: Callable[[], Pipeline],
        source: ImageSource,
        outputs: list[str],
        *,
        curriculum: Stateful | None = None,
    ) -> None:
        self.source = source
        self.outputs = outputs
        self._build = build
        self._curriculum = curriculum
        self._epoch = self._iteration = 0
        self._pass: object | None = None  # the pass under way; one that is no longer this one yields no more
        self._iterator: DALIGenericIterator | None = None
        self._used = self._closed = False
        self.pipeline: Pipeline | None = None
        self._make_iterator()  # what cannot work is refused now

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return self.source.batch_size

    @property
    def epoch(self) -> int:
        """Number of the epoch that runs, or that the next pass will be."""
        return self._epoch

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
            If DALI cannot make a batch; names the files that it cannot decode.
        """
        if self._closed:
            raise ArgumentError("This loader is closed: make a new one.")
        if self._pass is not None:
            self._break_off()
        if self._iterator is None:
            self._make_iterator()
        elif self._used:
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

        Small, picklable, and fit for JSON. Within a pass, the batch that was handed out last counts as done. After an
        error, the batch that could not be made is the next.
        """
        return {
            "epoch": self._epoch,
            "iteration": self._iteration,
            "settings": self._settings,
            "curriculum": None if self._curriculum is None else self._curriculum.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader stood that gave the state, and its curriculum; a pass under way is over.

        Raises
        ------
        ArgumentError
            If the state is of a loader that was set up otherwise; says what differs. The loader is then as it was.
        """
        theirs = state.get("settings") if isinstance(state, Mapping) else None
        if not isinstance(theirs, Mapping):
            raise ArgumentError("This is no state of a loader: pass the dict that ImageLoader.state_dict() returned.")
        mine = self._settings
        differing = [name for name in {**mine, **theirs} if theirs.get(name) != mine.get(name)]
        if differing:
            told = "; ".join(f"{name} was {theirs.get(name)!r}, is {mine.get(name)!r}" for name in differing)
            raise ArgumentError(f"The state is of a loader that was set up otherwise, so batches would differ: {told}.")
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        self._epoch, self._iteration = state["epoch"], state["iteration"]
        self._pass = self._iterator = None

    def close(self) -> None:
        """Let the pipeline go, and with it the files that it maps into memory."""
        self._closed = True
        self._pass = self._iterator = self.pipeline = None

    def __enter__(self) -> ImageLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_iterator(self) -> None:
        """Define the pipeline at the present place, and the iterator over it; no batch is fetched yet."""
        self.source.clock.start(self._epoch, self._iteration)
        self.pipeline = self._build()
        self._iterator = DALIGenericIterator(
            [self.pipeline], self.outputs, size=-1, auto_reset=False, prepare_first_batch=False
        )
        self._used = False

    def _next(self) -> dict[str, Tensor]:
        """One batch."""
        assert self._iterator is not None
        try:
            batch: dict[str, Tensor] = next(self._iterator)[0]
        except (RuntimeError, CellMixDaliError) as error:
            self._pass = self._iterator = None  # DALI's pipeline is no longer valid; the place stays
            if isinstance(error, CellMixDaliError):
                raise
            raise failure(self._tried(), error) from error
        return with_parameters(batch)

    def _tried(self) -> list[str]:
        """Files of this batch, or of one fetched ahead, that DALI was to read."""
        assert self.pipeline is not None
        if self.source.cache is not None:
            return []
        last = min(len(self), self._iteration + self.pipeline.prefetch_queue_depth + 1)
        order = self.source.order
        batches = [order.batch(self._epoch, batch).tolist() for batch in range(self._iteration, last)]
        return [self.source.files[item] for items in batches for item in items]

    def _finish(self) -> None:
        """End a pass that gave all its batches: take the StopIteration, so that the iterator can be reset."""
        assert self._iterator is not None
        try:
            next(self._iterator)
        except StopIteration:
            self._pass = None
            self._epoch, self._iteration = self._epoch + 1, 0
        else:
            raise CellMixDaliError("The image source gave more batches than an epoch has.")

    def _break_off(self) -> None:
        """End a pass that is under way: the next one is of the next epoch, with a new pipeline."""
        self._epoch, self._iteration = self._epoch + 1, 0
        self._pass = self._iterator = None

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """All that the batches depend on, as far as the loader knows it."""
        source, plans = self.source, self.source.plans
        digest = hashlib.sha256("\0".join(source.files).encode("utf-8", "surrogateescape"))
        digest.update(source.labels.astype("<i4").tobytes())
        settings: dict[str, Any] = {
            "images": len(source.files),
            "files_and_labels": digest.hexdigest()[:16],
            "image_size": source.image_size,
            "batch_size": source.batch_size,
            "shuffle": source.order.shuffle,
            "drop_last": source.order.drop_last,
            "rank": source.order.rank,
            "world_size": source.order.world_size,
            "seed": source.seed,
            "flips": source.flips,
            "method": None if plans is None else plans.mixer.method,
            "p": None if plans is None else plans.mixer.p,
            "curriculum": None if self._curriculum is None else type(self._curriculum).__name__,
        }
        if plans is not None and self._curriculum is None:
            settings["patch_size"], settings["fix_ratio"] = plans.parameters()
        return settings
