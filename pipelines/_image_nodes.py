"""Image files as nodes of a DALI graph: read, decoded and resized; and what to say of those that cannot be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins.dali import DataNode, fn
from cellmix_dali.plugins.decode import decode
from cellmix_dali.plugins.decoder_options import USUAL, DecoderOptions
from cellmix_dali.storage.moment import may_be_file

from ._image_check import JP2_REASON, in_jp2_boxes, unreadable_images

__all__ = ["checked_files", "checked_image_size", "decoded", "encoded", "failure"]


def encoded(file: str) -> NDArray[np.uint8]:
    """Return a file's name as DALI takes it."""
    return np.frombuffer(os.fsencode(file), np.uint8)


def decoded(names: DataNode, *, image_size: int, device: str = "cpu", decoder: DecoderOptions = USUAL) -> DataNode:
    """Read, decode and resize the files of these names: RGB, 8 bits, as they are stored (no turning by EXIF)."""
    images = decode(fn.io.file.read(names), device, decoder=decoder)
    # Antialiased linear interpolation; an image that has the size already comes out as it was, to the bit.
    return fn.resize(images, size=[image_size, image_size], antialias=True)


def failure(files: Sequence[str], error: Exception) -> CellMixDaliError:
    """Make the error for a batch that DALI could not make: names those of the files that cannot be decoded."""
    where = [f"{files[place]}: {reason}" for place, reason in unreadable_images(files).items()]
    what = "These images cannot be read:" if where else "DALI could not make a batch."
    return CellMixDaliError("\n".join([what, *where, str(error)]))


def checked_files(files: Sequence[str | Path]) -> list[str]:
    """Return the names of files that are all there and safe to decode, or raise `ArgumentError`."""
    names = [str(file) for file in files]
    missing = [name for name in names if not may_be_file(name)]
    if missing:
        raise ArgumentError(
            f"{len(missing)} of {len(names)} image files are not there, the first is {missing[0]}: correct the paths."
        )
    boxed = [name for name in names if in_jp2_boxes(name)]
    if boxed:
        raise ArgumentError(
            f"{len(boxed)} of {len(names)} image files cannot be read, the first is {boxed[0]}: {JP2_REASON}."
        )
    return names


def checked_image_size(image_size: int) -> int:
    """Return the side of the images, or raise `ArgumentError`."""
    if image_size < 1:
        raise ArgumentError(f"image_size={image_size}: an image has at least one pixel.")
    return image_size
