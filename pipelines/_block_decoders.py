"""What decodes the blocks of a level: libjpeg-turbo on the host, or DALI."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.slides.host_jpeg import decode_into
from cellmix_dali.slides.stream_kinds import JPEG_KINDS

if TYPE_CHECKING:
    from cellmix_dali.plugins.dali import Pipeline

__all__ = ["AT_ONCE", "BlockDecoder", "block_decoder"]

Pixels = NDArray[np.uint8]

#: Blocks that are decoded at once, at most.
AT_ONCE = 64
_FEW = 4


class BlockDecoder(ABC):
    """Decodes blocks of one kind."""

    @abstractmethod
    def decode(self, streams: Sequence[Pixels], into: Sequence[Pixels]) -> dict[int, str]:
        """Decode streams into arrays of the blocks' shape.

        Parameters
        ----------
        streams : sequence of uint8 arrays (bytes,)
            At most `AT_ONCE`.
        into : sequence of uint8 arrays (height, width, 3)
            As many.

        Returns
        -------
        dict of int to str
            Which cannot be decoded, and why.

        Raises
        ------
        RuntimeError
            DALI's, for a reason that lies in none of the streams.
        """

    def close(self) -> None:  # noqa: B027 (most have nothing to let go of)
        """Let go of threads."""


class _Host(BlockDecoder):
    """Decodes JPEG blocks by libjpeg-turbo; those that it is not sure of by DALI."""

    def __init__(self, num_threads: int) -> None:
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._num_threads = num_threads

    def decode(self, streams: Sequence[Pixels], into: Sequence[Pixels]) -> dict[int, str]:
        # Waking threads takes as long as decoding a block.
        run = map if self._pool is None or len(streams) <= _FEW else self._pool.map
        unsure = [number for number, good in enumerate(run(decode_into, streams, into)) if not good]
        if not unsure:
            return {}
        found = _Dali("cpu", self._num_threads).decode([streams[n] for n in unsure], [into[n] for n in unsure])
        return {unsure[number]: reason for number, reason in found.items()}

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


class _Dali(BlockDecoder):
    """Decodes blocks of any kind by DALI."""

    def __init__(self, device: str, num_threads: int, kind: str | None = None) -> None:
        self._device, self._num_threads, self._kind = device, num_threads, kind
        self._pipeline = self._built()

    def decode(self, streams: Sequence[Pixels], into: Sequence[Pixels]) -> dict[int, str]:
        from cellmix_dali.plugins.decode import undecodable

        given = dict(enumerate(streams))
        bad: dict[int, str] = {}
        while given:
            try:
                (decoded,) = self._pipeline.run(blocks=list(given.values()))
            except RuntimeError:
                found = undecodable({number: (stream,) for number, stream in given.items()})
                if not found:
                    raise
                self._pipeline = self._built()  # after an error DALI's pipeline is lost
                bad |= found
                given = {number: stream for number, stream in given.items() if number not in bad}
                continue
            # DALI uses its buffers again: what is kept must be copied. New memory costs more than the copy.
            for number, pixels in zip(given, decoded, strict=True):
                np.copyto(into[number], pixels)
            break
        return bad

    def _built(self) -> Pipeline:
        from cellmix_dali.plugins.dali import Pipeline, fn, types
        from cellmix_dali.plugins.decode import decode

        number, decoder = None, "cpu"
        if self._device != "cpu":
            from .device import device_id
            from .routes import decoder_device

            number = device_id(self._device)
            decoder = decoder_device(self._device, [] if self._kind is None else [self._kind])
        pipeline = Pipeline(batch_size=AT_ONCE, num_threads=self._num_threads, device_id=number, prefetch_queue_depth=1)
        with pipeline:
            encoded = fn.external_source(name="blocks", dtype=types.UINT8, ndim=1, no_copy=True)
            pipeline.set_outputs(decode(encoded, decoder).cpu())
        pipeline.build()
        return pipeline


def block_decoder(kind: str, *, device: str, num_threads: int) -> BlockDecoder:
    """Return what decodes blocks of a kind.

    Parameters
    ----------
    kind : str
        Of `cellmix_dali.slides.stream_kinds.KINDS`.
    device : {"cpu", "gpu"}
        Where they are decoded. They come to the host in both cases.
    num_threads : int
        How many decode at once on the host.
    """
    if device == "cpu" and kind in JPEG_KINDS:
        return _Host(num_threads)
    return _Dali(device, num_threads, kind)
