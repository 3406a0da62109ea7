"""Which tiles of a batch DALI cannot decode: it says only that the batch failed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .dali import Pipeline, fn, types
from .decode import decode

__all__ = ["undecodable"]


_Key = TypeVar("_Key", bound=Hashable)


def undecodable(tiles: Mapping[_Key, Sequence[NDArray[np.uint8]]]) -> dict[_Key, str]:
    """Decode the streams of tiles on the CPU; give the keys of those that fail, and DALI's reason."""
    reason = _failure([stream for streams in tiles.values() for stream in streams])
    if reason is None:
        return {}
    keys = list(tiles)
    if len(keys) == 1:
        return {keys[0]: reason}
    # A pipeline takes long to build: halves are looked through, not every tile.
    halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    first, second = (undecodable({key: tiles[key] for key in half}) for half in halves)
    return first | second


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
