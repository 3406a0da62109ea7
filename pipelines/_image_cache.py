"""Decoded and resized images in memory: each file is decoded once per process, not once per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins.dali import Pipeline, fn, types

from ._image_nodes import checked_files, checked_image_size, decoded, encoded, failure
from .device import device_id
from .routes import decoder_device

__all__ = ["ImageCache"]

_BATCH = 32  # images decoded together
_AHEAD = 2  # batches that DALI makes ahead
_MEMORY = Path("/proc/meminfo")


class ImageCache:
    """Holds image files decoded and resized, for any number of loaders of one process.

    Loaders give the same batches with a cache and without, to the bit, and take each other's states. A file is known
    by its path and held as it was when it was first filled in; nothing is ever dropped. Memory: files x image_size x
    image_size x 3 bytes (1000 images of 224 px: 151 MB), whatever the files' own size.

    Parameters
    ----------
    image_size : int
        Side in pixels to which every image is resized, whole: that of the loaders.
    device : {"cpu", "gpu"}, default "cpu"
        That of the loaders. The arrays lie in the host's memory on either; but the GPU's decoders round otherwise, so
        that pixels are those of uncached loaders on this device. "gpu" is untested so far.
    num_threads : int, default 2
        DALI's threads while files are decoded.

    Raises
    ------
    ArgumentError
        If the image size or the device cannot be used.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """

    def __init__(self, image_size: int, *, device: str = "cpu", num_threads: int = 2) -> None:
        self.image_size = checked_image_size(image_size)
        self.device = device
        self.num_threads = num_threads
        device_id(device)  # refuses what is not there
        self._images: dict[str, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        """Files held."""
        return len(self._images)

    def __getitem__(self, file: str | Path) -> NDArray[np.uint8]:
        """Return a file's pixels, uint8 (image_size, image_size, 3), RGB, read-only; `KeyError` if it is not held."""
        return self._images[str(file)]

    @property
    def nbytes(self) -> int:
        """Memory that the pixels take, in bytes."""
        return len(self) * self.image_size**2 * 3

    def fill(self, files: Sequence[str | Path]) -> None:
        """Decode and resize those files that are not held yet; loaders that are given the cache do so themselves.

        Parameters
        ----------
        files : sequence of path
            See `train_image_loader`.

        Raises
        ------
        ArgumentError
            If a file is not there, or the images need more than the machine's available memory (a container's or a
            batch system's own limit is not seen).
        CellMixDaliError
            If files cannot be decoded; names them.
        """
        new = checked_files([file for file in dict.fromkeys(map(str, files)) if file not in self._images])
        if not new:
            return
        self._check_memory(len(new))
        batches = [new[start : start + _BATCH] for start in range(0, len(new), _BATCH)]
        pipeline = self._pipeline(batches)
        for number, batch in enumerate(batches):
            try:
                (images,) = pipeline.run()
            except RuntimeError as error:
                tried = [file for ahead in batches[number : number + _AHEAD + 1] for file in ahead]
                raise failure(tried, error) from error
            pixels = np.array((images.as_cpu() if self.device == "gpu" else images).as_array())
            pixels.flags.writeable = False
            self._images.update(zip(batch, pixels, strict=True))

    def _pipeline(self, batches: list[list[str]]) -> Pipeline:
        """The pipeline that decodes these batches, the last of which may be short."""
        pipeline = Pipeline(
            batch_size=_BATCH,
            num_threads=self.num_threads,
            device_id=device_id(self.device),
            prefetch_queue_depth=_AHEAD,
        )
        with pipeline:
            named = [[encoded(file) for file in batch] for batch in batches]
            names = fn.external_source(named, batch=True, dtype=types.UINT8, ndim=1)
            pipeline.set_outputs(decoded(names, image_size=self.image_size, device=decoder_device(self.device)))
        return pipeline

    def _check_memory(self, count: int) -> None:
        """Raise `ArgumentError` if so many more images need more memory than is available."""
        need, free = count * self.image_size**2 * 3, _available_memory()
        if free is not None and need > free:
            raise ArgumentError(
                f"A cache of {count} more images of {self.image_size} x {self.image_size} px takes {need / 1e6:.1f} "
                f"MB, but only {free / 1e6:.1f} MB of memory are available: train without a cache (the files are then "
                "decoded every epoch), or on fewer or smaller images."
            )


def _available_memory() -> int | None:
    """Bytes that programs can take without swapping; None where the system does not say."""
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
