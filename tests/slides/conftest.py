"""DALI's CPU decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from slide_files import Pixels


@pipeline_def(num_threads=2, device_id=None, prefetch_queue_depth=1)
def _decoding(streams: list[NDArray[np.uint8]]):
    encoded = fn.external_source(source=lambda: streams, batch=True, dtype=types.UINT8, ndim=1)
    return fn.decoders.image(encoded, device="cpu", output_type=types.RGB, jpeg_fancy_upsampling=True)


@pytest.fixture
def decode() -> Callable[[Sequence[bytes | NDArray[np.uint8]]], list[Pixels]]:
    """Decode streams in one batch of DALI's CPU decoder."""

    def run(streams: Sequence[bytes | NDArray[np.uint8]]) -> list[Pixels]:
        arrays = [np.frombuffer(s, np.uint8) if isinstance(s, bytes) else s for s in streams]
        pipe = _decoding(arrays, batch_size=len(arrays))
        pipe.build()
        (pictures,) = pipe.run()
        return [np.array(picture) for picture in pictures]

    return run
