"""From a pipeline over slide tiles to PyTorch: exact epochs, exact resume, and bad tiles survived."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.plugins.tile_source import TileSource
from cellmix_dali.reading.faults import Fault

from ._undecodable import undecodable
from .epoch_loader import EpochLoader, Stateful

__all__ = ["Stateful", "TileLoader"]

# What the graph's own assertions look like from outside; see plugins/cellmix.py and plugins/_labels.py.
_EXPLAINED = {
    "require_tile_size": "The images are not of the size that the mixing plans are drawn for: correct tile_size.",
    "_one_hot": "A label is out of range: labels go from 0 to num_classes - 1.",
    "decoders": "A tile could not be decoded: its block in the slide file is damaged.",
}
_ROWS_OF_A_DIGEST = 1024


class TileLoader(EpochLoader[TileSource]):
    """Iterates over a pipeline fed by a `TileSource`, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes is in force from the first batch of the next pass and in none before.
    A pass that is left early is over: the next one begins the next epoch, but after a single batch, a mere look, the
    same epoch again. `state_dict` says where it was left. Another pass that begins meanwhile makes the first one raise.

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
    follows_group : bool, default False
        Whether the source's rank was not asked for, so that it must be that of the process group, if there is one.
    seen : mapping, optional
        What else changes the batches' tensors, such as the mean that is taken out: part of the state's settings.
    """

    _DIGESTS: ClassVar[Mapping[str, str]] = {
        "table": "the tile table holds other tiles or labels",
        "order": "the tiles come in another order",
    }

    @property
    def faults(self) -> list[Fault]:
        """Tiles that could not be read so far, each once."""
        return self.source.faults

    def close(self) -> None:
        """Stop the reading threads, and close the slides and the pipeline; a pass under way ends with an error."""
        super().close()
        self.source.close()

    def _own_state(self) -> dict[str, Any]:
        return {"bad": dict(self.source.bad)}

    def _take_own_state(self, state: Mapping[str, Any]) -> None:
        self.source.bad.clear()
        self.source.bad.update({int(row): reason for row, reason in state["bad"].items()})

    def _restart(self) -> None:
        self.source.forget()
        super()._restart()

    def _next(self) -> dict[str, Tensor]:
        """One batch. A tile that cannot be decoded is found and replaced; the pipeline goes on at that batch."""
        while True:
            try:
                return self._fetch()
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
                self._begin()

    def _find_undecodable(self) -> dict[int, str]:
        """Mark the tiles that DALI cannot decode in this batch, or in one fetched ahead; give them with the reasons."""
        self.source.forget()
        for iteration in self._fetched():
            batch = self.source.batch(self._epoch, iteration)
            bad = undecodable({row: tile.streams for row, tile in zip(batch.rows, batch.tiles, strict=True)})
            for row, reason in bad.items():
                self.source.mark_bad(row, reason)
            if bad:
                return bad
        return {}

    def _drop_fetched(self) -> None:
        """Empty the pipeline, and keep it: a new one costs more than the batches that are dropped."""
        if self._iterator is None:  # it could not be made anew
            super()._drop_fetched()
            return
        self.source.clock.cut_short()
        try:
            while True:
                self._fetch()
        except StopIteration:
            self.source.forget()
        except RuntimeError:
            self._restart()  # a batch fetched ahead could not be made: it is not missed, but the pipeline is lost
        finally:
            self.source.clock.cut_short(False)

    def _own_settings(self) -> dict[str, Any]:
        return {
            "tiles": len(self.source.table),
            "tile_size": self.source.tile_size,
            "edge": "pad" if self.source.reader.pad else "skip",
            "balance": self.source.balance,
            "verify": self.source.verify,
            **self._digests,
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Digests of some rows of the table, and of some iterations' rows; the same on every rank."""
        table, order = self.source.table, self.source.order
        rows = np.unique(np.linspace(0, len(table) - 1, _ROWS_OF_A_DIGEST).astype(np.int64))
        last = max(0, len(table) // (order.batch_size * order.world_size) - 1)
        columns: list[NDArray[Any] | None] = [table.slide, table.level, table.x, table.y, table.size, table.label]
        return {
            "table": _digest(*(column[rows] for column in columns if column is not None)),
            "order": _digest(
                *(order.of_all_ranks(epoch, number) for epoch in range(2) for number in sorted({0, last}))
            ),
        }


def _digest(*arrays: NDArray[Any]) -> str:
    """A short digest of arrays, the same whatever size their numbers are stored in."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
    return digest.hexdigest()[:16]


def _explained(error: RuntimeError, where: Sequence[str] = ()) -> CellMixDaliError:
    """DALI's error with a person's words before it, and the tiles to blame."""
    text = str(error)
    known = [words for place, words in _EXPLAINED.items() if place in text]
    lines = [known[0] if known else "DALI could not make a batch.", *where, text]
    return CellMixDaliError("\n".join(lines))
