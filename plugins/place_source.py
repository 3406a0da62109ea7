"""Random places in slides as a DALI external source: a `TileSource` whose order has no end."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from cellmix_dali.errors import ArgumentError
from cellmix_dali.reading import TileReader
from cellmix_dali.reading.faults import ON_ERROR
from cellmix_dali.sampling.place_table import OtherPlaces, PlaceOrder, PlaceTable
from cellmix_dali.sampling.places import Places
from cellmix_dali.storage.patience import Retry

from .clock import BatchPosition
from .tile_source import TileParts, TileSource

__all__ = ["PlaceSource"]


class _Steps:
    """A clock that counts batches from the first, whatever passes they are in: by it all draws are keyed."""

    def __init__(self, source: PlaceSource) -> None:
        self._source = source

    def at(self, info: BatchPosition) -> tuple[int, int]:
        """Return (0, number of the batch)."""
        epoch, iteration = self._source.clock.at(info)
        return 0, epoch * len(self._source) + iteration


class PlaceSource(TileSource):
    """Feeds random places to a DALI graph, batch by batch; see `TileSource`.

    Parameters
    ----------
    places : Places
        Draws them.
    batch_size : int
        Tiles per batch.
    steps : int
        Batches of a pass over the loader.
    seed, rank, world_size
        See `cellmix_dali.sampling.place_table.PlaceOrder`.
    on_error, fault_file, num_workers, retry_seconds, verify, slide_cache, index
        See `TileSource`; another place takes that of a tile that cannot be read.
    """

    digests: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        places: Places,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        rank: int,
        world_size: int,
        on_error: str,
        **reading: Any,
    ) -> None:
        order = PlaceOrder(batch_size, steps, seed=seed, rank=rank, world_size=world_size)
        table = PlaceTable(places, order)
        if on_error not in ON_ERROR:
            raise ArgumentError(f"on_error={on_error!r} is not known. Known: {', '.join(ON_ERROR)}.")
        self.places = places
        substitutes = OtherPlaces(table, batch_size=order.batch_size, on_error=on_error)
        parts = TileParts(order, substitutes, self._reader(table, on_error, **reading))
        super().__init__(
            table,
            batch_size=batch_size,
            tile_size=places.settings.tile_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            on_error=on_error,
            parts=parts,
            **reading,
        )

    @staticmethod
    def _reader(
        table: PlaceTable,
        on_error: str,
        *,
        retry_seconds: float,
        verify: str,
        slide_cache: int | str,
        index: Any,
        **_: Any,
    ) -> TileReader:
        """What reads the places."""
        return TileReader(
            table,
            lenient=on_error == "replace",
            retry=Retry(seconds=retry_seconds),
            verify=verify,
            slide_cache=slide_cache,
            index=index,
            like=table.sample,
        )

    @property
    def draws_by(self) -> Any:
        """The clock by which draws are keyed: a batch's number, whatever pass it is in."""
        return _Steps(self)

    def own_settings(self) -> dict[str, Any]:
        """Return what says which places are drawn, and how they are read; not which slides there are."""
        return {**self.places.settings.told(), "verify": self.verify}

    def state_dict(self) -> dict[str, Any]:
        """Return which tiles are bad, and which slides there are."""
        return {**super().state_dict(), "slides": self.places.digest()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take which tiles are bad; other slides than then are allowed, and said."""
        super().load_state_dict(state)
        if state.get("slides") != self.places.digest():
            warnings.warn(
                "The state is of a loader with other slides, or other weights: the places that come now are drawn "
                "from these, from the same batch on.",
                stacklevel=4,
            )
