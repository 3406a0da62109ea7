"""Which tiles of a batch DALI cannot decode: it says only that the batch failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.plugins._dali import Pipeline, fn, types
from cellmix_dali.plugins._decode import decode
from cellmix_dali.plugins.tile_source import DeliveredTile

__all__ = ["undecodable"]


def undecodable(tiles: Sequence[DeliveredTile]) -> dict[int, str]:
    """Decode tiles on the CPU; give the rows that fail, and DALI's reason."""
    reason = _failure([stream for each in tiles for stream in each.tile.streams])
    if reason is None:
        return {}
    if len(tiles) == 1:
        return {tiles[0].row: reason}
    # A pipeline takes long to build: halves are looked through, not every tile.
    half = len(tiles) // 2
    return undecodable(tiles[:half]) | undecodable(tiles[half:])


def _failure(streams: Sequence[NDArray[np.uint8]]) -> str | None:
    """DALI's reason if any of the streams cannot be decoded."""
    if not streams:
        return None
    pipeline = Pipeline(batch_size=len(streams), num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(lambda: list(streams), batch=True, dtype=types.UINT8, ndim=1)
        pipeline.set_outputs(decode(encoded))
    pipeline.build()
    try:
        pipeline.run()
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = lines[lines.index("encountered:") + 1] if "encountered:" in lines else lines[-1]
        return f"DALI cannot decode its block: {told}"
    return None
