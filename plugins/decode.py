"""Decoding with the options that give the pixels OpenSlide gives: in a DALI graph, at once, and as a trial."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .dali import DataNode, Pipeline, fn, types
from .decoder_options import USUAL, DecoderOptions

__all__ = ["decode", "decoded", "undecodable"]

_Key = TypeVar("_Key", bound=Hashable)

_OPTIONS = {
    "output_type": types.RGB,
    "jpeg_fancy_upsampling": True,  # what OpenSlide's libjpeg does for 4:2:0; without it pixels differ
    "adjust_orientation": False,
}


def decode(
    encoded: DataNode,
    device: str = "cpu",
    *,
    anchor: DataNode | None = None,
    shape: DataNode | None = None,
    decoder: DecoderOptions = USUAL,
) -> DataNode:
    """Decode encoded images, or the part of each that begins at `anchor` (y, x), to RGB as it is stored.

    Parameters
    ----------
    encoded : DataNode, uint8 (bytes,)
        The streams.
    device : {"cpu", "mixed"}, default "cpu"
        Where to decode: "mixed" is the GPU.
    anchor, shape : DataNode, int32 (2,), optional
        Upper left corner and extent of the part, (y, x) in pixels.
    decoder : DecoderOptions, optional
        How the GPU's decoder works.

    Returns
    -------
    DataNode, uint8 HWC
        No turning by EXIF.
    """
    options = _OPTIONS | (decoder.arguments() if device == "mixed" else {})
    if anchor is None:
        return fn.decoders.image(encoded, device=device, **options)
    return fn.decoders.image_slice(
        encoded, anchor, shape, device=device, axes=[0, 1], normalized_anchor=False, **options
    )


def decoded(
    streams: Sequence[NDArray[np.uint8]],
    *,
    device_id: int | None = None,
    part: tuple[int, int, int, int] | None = None,
    decoder: DecoderOptions = USUAL,
) -> list[NDArray[np.uint8]]:
    """Decode streams at once, as one batch.

    Parameters
    ----------
    streams : sequence of uint8 arrays (bytes,)
        At least one.
    device_id : int, optional
        DALI's number of the GPU; by default the CPU decodes.
    part : tuple of int, optional
        The part of each that is decoded: y, x, height and width in pixels. By default the whole.
    decoder : DecoderOptions, optional
        How the GPU's decoder works.

    Returns
    -------
    list of uint8 arrays (height, width, 3)
        RGB, on the host.

    Raises
    ------
    RuntimeError
        DALI's, if a stream cannot be decoded.
    """
    pipeline = Pipeline(batch_size=len(streams), num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(lambda: list(streams), batch=True, dtype=types.UINT8, ndim=1)
        cut: dict[str, DataNode] = {}
        if part is not None:
            anchor, shape = np.array(part[:2], np.int32), np.array(part[2:], np.int32)
            cut = {"anchor": types.Constant(anchor, device="cpu"), "shape": types.Constant(shape, device="cpu")}
        pipeline.set_outputs(decode(encoded, "cpu" if device_id is None else "mixed", decoder=decoder, **cut))
    pipeline.build()
    (images,) = pipeline.run()
    return [np.array(image) for image in (images if device_id is None else images.as_cpu())]


def undecodable(
    tiles: Mapping[_Key, Sequence[NDArray[np.uint8]]],
    *,
    device_id: int | None = None,
    decoder: DecoderOptions = USUAL,
) -> dict[_Key, str]:
    """Decode the streams of tiles, by default on the CPU; return the keys of those that fail, and DALI's reason.

    DALI itself says only that the batch failed.
    """
    reason = _failure([stream for streams in tiles.values() for stream in streams], device_id, decoder)
    if reason is None:
        return {}
    keys = list(tiles)
    if len(keys) == 1:
        return {keys[0]: reason}
    # A pipeline takes long to build: halves are looked through, not every tile.
    halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    first, second = (
        undecodable({key: tiles[key] for key in half}, device_id=device_id, decoder=decoder) for half in halves
    )
    return first | second


def _failure(streams: Sequence[NDArray[np.uint8]], device_id: int | None, decoder: DecoderOptions) -> str | None:
    """DALI's reason if any of the streams cannot be decoded."""
    try:
        if streams:
            decoded(streams, device_id=device_id, decoder=decoder)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = lines[lines.index("encountered:") + 1] if "encountered:" in lines else lines[-1]
        return f"DALI cannot decode its block: {told}"
    return None
