"""The decoded blocks of one level, each decoded once while windows of a grid need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import CellMixDaliError, NotReadError, SlideError
from cellmix_dali.slides import Slide
from cellmix_dali.slides.stream_kinds import stream_kind

from ._block_decoders import AT_ONCE, block_decoder

__all__ = ["DecodedBlocks", "Place"]

Place = tuple[int, int]  # column and row of a block

_KEPT_BYTES = 1 << 27  # of decoded blocks: a row of them across 170,000 px, where they have 256 px


class DecodedBlocks:
    """Decodes blocks of a level, and keeps them until the windows that need them are cut.

    Parameters
    ----------
    slide : Slide
        On the direct route.
    number : int
        Its level.
    device : {"cpu", "gpu"}
        Where blocks are decoded. They come to the host in both cases.
    num_threads : int
        That decode at once on the host.
    scans : bool, default True
        Whether scans are followed, see `cellmix_dali.slides.damage.BlockCheck`.

    Attributes
    ----------
    decoded : int
        Blocks decoded so far; one that was dropped too early counts each time.
    """

    def __init__(self, slide: Slide, number: int, *, device: str, num_threads: int, scans: bool = True) -> None:
        level = slide.levels[number]
        width, height = level.block_width or 0, level.block_height or 0
        self.decoded = 0
        self._where = f"level {number} of {slide.path}"
        kind = stream_kind(level.compression, level.colour)
        self._decoder = block_decoder(kind, device=device, num_threads=num_threads)
        self._reader = slide.block_reader(number, scans=scans)
        self._most = max(1, _KEPT_BYTES // (3 * width * height))
        self._shape = height, width, 3
        self._pixels: dict[Place, NDArray[np.uint8]] = {}
        self._free: list[NDArray[np.uint8]] = []
        self._bad: dict[Place, SlideError | None] = {}

    def load(self, places: Iterable[Place]) -> None:
        """Decode those of these blocks that are not decoded yet."""
        new = [place for place in places if place not in self._pixels and place not in self._bad]
        for first in range(0, len(new), AT_ONCE):
            self._decode(self._read(new[first : first + AT_ONCE]))

    def pixels(self, place: Place) -> NDArray[np.uint8] | None:
        """Return a loaded block as uint8 (height, width, 3); None where it is blank or bad."""
        return self._pixels.get(place)

    def problem(self, place: Place) -> SlideError | None:
        """Say why there are no pixels of a loaded block, or None."""
        return self._bad.get(place)

    def keep(self, needed: Callable[[Place], bool]) -> None:
        """Drop the pixels of blocks that are no longer needed, and of the oldest that are, beyond 128 MiB.

        A block that could not be read just now is tried again when it is loaded again.
        """
        self._bad = {place: error for place, error in self._bad.items() if not isinstance(error, NotReadError)}
        kept = [place for place in self._pixels if needed(place)][-self._most :]
        pixels = {place: self._pixels.pop(place) for place in kept}
        self._free += self._pixels.values()
        self._pixels = pixels

    def _read(self, places: list[Place]) -> dict[Place, NDArray[np.uint8]]:
        """Read the encoded blocks, less those that are blank, or bad as far as can be told."""
        streams = {}
        for place, block in zip(places, self._reader.read(*np.array(places, np.int64).T), strict=True):
            if isinstance(block, np.ndarray):
                streams[place] = block
            else:
                self._bad[place] = block
        return streams

    def _decode(self, streams: dict[Place, NDArray[np.uint8]]) -> None:
        if not streams:
            return
        places = list(streams)
        pixels = [self._free.pop() if self._free else np.empty(self._shape, np.uint8) for _ in places]
        try:
            bad = self._decoder.decode(list(streams.values()), pixels)
        except RuntimeError as error:
            raise CellMixDaliError(f"DALI could not decode blocks of {self._where}.\n{error}") from error
        for number, place in enumerate(places):
            if number in bad:
                self._bad[place] = SlideError(bad[number])
                self._free.append(pixels[number])
            else:
                self._pixels[place] = pixels[number]
        self.decoded += len(places) - len(bad)

    def forget(self) -> None:
        """Drop all pixels, and the memory for them."""
        self._pixels.clear()
        self._bad.clear()
        self._free.clear()

    def close(self) -> None:
        """Let go of the decoder."""
        self._decoder.close()
