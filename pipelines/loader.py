"""From a DALI pipeline to PyTorch: a loader with a right length, whose epochs the tile source ends."""

from __future__ import annotations

from collections.abc import Iterator

from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins._dali import Pipeline
from cellmix_dali.plugins.tile_source import TileSource

__all__ = ["TileLoader"]

# What the graph's own assertions look like from outside; see plugins/cellmix.py and plugins/_labels.py.
_EXPLAINED = {
    "_require_tile_size": "The images are not of the size that the mixing plans are drawn for: correct tile_size.",
    "_one_hot": "A label is out of range: labels go from 0 to num_classes - 1.",
    "decoders": "A tile could not be decoded: its block in the slide file is damaged.",
}


class TileLoader:
    """Iterates over a pipeline fed by a `TileSource`, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes is in force from the first batch of the next pass and in none before.
    A pass that is broken off is over: the next one starts the next epoch.

    Parameters
    ----------
    pipeline : nvidia.dali.Pipeline
        Fed by `source`.
    source : TileSource
        The pipeline's source.
    outputs : list of str
        Names of the pipeline's outputs, in order.
    """

    def __init__(self, pipeline: Pipeline, source: TileSource, outputs: list[str]) -> None:
        self.pipeline = pipeline
        self.source = source
        self.outputs = outputs
        self.epoch = 0
        self._iterator = DALIGenericIterator([pipeline], outputs, size=-1, auto_reset=False, prepare_first_batch=False)
        self._used = False
        self._closed = False

    @property
    def batch_size(self) -> int:
        """Tiles a batch."""
        return self.source.batch_size

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.source)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Go through one epoch.

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
            for _ in range(len(self)):
                yield self._next()
            finished = self._is_over()
        finally:
            if not finished and not self._closed:
                self._abandon()
            self.epoch += 1

    def close(self) -> None:
        """Stop the reading threads and close the slides."""
        self._closed = True
        self.source.close()

    def __enter__(self) -> TileLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> dict[str, Tensor]:
        """One batch, or an error that a person understands."""
        try:
            batch: dict[str, Tensor] = next(self._iterator)[0]
        except CellMixDaliError:
            self.close()  # raised by the source: DALI's pipeline is no longer valid
            raise
        except RuntimeError as error:
            self.close()
            text = str(error)
            known = [words for place, words in _EXPLAINED.items() if place in text]
            raise CellMixDaliError(f"{known[0] if known else 'DALI could not make a batch.'}\n{text}") from error
        return batch

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
