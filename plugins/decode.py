"""Decoding in a DALI graph, with the options that give the pixels OpenSlide gives."""

from __future__ import annotations

from .dali import DataNode, fn, types

__all__ = ["decode"]

_OPTIONS = {
    "output_type": types.RGB,
    "jpeg_fancy_upsampling": True,  # what OpenSlide's libjpeg does for 4:2:0; without it pixels differ
    "adjust_orientation": False,
}
# On the GPU everything that the hardware decoder takes goes there. It is within 1 level of the CPU's decoder where the
# hybrid one has 3, needs no host cores, and which decoder a tile gets does not depend on its place in the batch. It was
# seen on an H200: docs/gpu.md.
_ON_GPU = {"hw_decoder_load": 1.0}


def decode(
    encoded: DataNode, device: str = "cpu", *, anchor: DataNode | None = None, shape: DataNode | None = None
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

    Returns
    -------
    DataNode, uint8 HWC
        No turning by EXIF.
    """
    options = _OPTIONS | (_ON_GPU if device == "mixed" else {})
    if anchor is None:
        return fn.decoders.image(encoded, device=device, **options)
    return fn.decoders.image_slice(
        encoded, anchor, shape, device=device, axes=[0, 1], normalized_anchor=False, **options
    )
