"""Where a pipeline runs."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali._arguments import integer
from cellmix_dali._cores import usable_cores
from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.plugins.dali import Pipeline, fn, types
from cellmix_dali.plugins.decode import decode
from cellmix_dali.plugins.device_names import DEVICES, device_name
from cellmix_dali.plugins.source import Source
from cellmix_dali.slides import stream_kinds as decoding
from cellmix_dali.slides.jpeg import BlockStreams, segments
from cellmix_dali.slides.stream_kinds import KINDS, DecoderRoute

__all__ = [
    "DEVICES",
    "KINDS",
    "decoder_device",
    "decoder_routes",
    "device_id",
    "device_name",
    "keeps_colours",
    "pipeline_on",
    "probe_stream",
    "routes_taken",
    "source_decoder",
]

# Well between what decoders' rounding makes, and another colour space (RGB taken for YCbCr differs by 52 on average).
_LARGEST_MEAN_DIFFERENCE = 4
_PROBES = 4
_MOST_THREADS = 16
# Batches that are made ahead. With 2 the host's part and the GPU's wait for each other: 4 was 1.4 times as fast on an
# H200 (docs/gpu.md).
_AHEAD = {"cpu": 2, "gpu": 4}


def device_id(device: str | torch.device) -> int | None:
    """Return DALI's device id: None for the CPU; for the GPU the number that is given ("cuda:1"), or the current one.

    Raises
    ------
    ArgumentError
        If the device is unknown, or there is no GPU of that number.
    MissingDependencyError
        If there is no GPU.
    """
    if device_name(device) == "cpu":
        return None
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            "device='gpu' was asked for, but this machine has no usable CUDA device (torch.cuda.is_available() is "
            "False). Use device='cpu', or check the driver (nvidia-smi) and that PyTorch is a CUDA build."
        )
    index = None if device == "gpu" else torch.device(device).index
    if index is None:
        return torch.cuda.current_device()
    if index >= torch.cuda.device_count():
        raise ArgumentError(f"device={str(device)!r}: this machine's GPUs are 0 to {torch.cuda.device_count() - 1}.")
    return index


def pipeline_on(
    device: str | torch.device, *, batch_size: int, num_threads: int | None, prefetch_queue_depth: int | None = 1
) -> Pipeline:
    """Make a pipeline to define a graph in.

    Without a number of threads it has one per usable core, at most 16; without a depth 2 batches are made ahead, on
    the GPU 4.

    Raises
    ------
    ArgumentError
        If the device is unknown, or a number is not a whole one of at least 1.
    MissingDependencyError
        If there is no GPU, and it is asked for.
    """
    threads = min(_MOST_THREADS, usable_cores()) if num_threads is None else num_threads
    ahead = _AHEAD[device_name(device)] if prefetch_queue_depth is None else prefetch_queue_depth
    return Pipeline(
        batch_size=integer("batch_size", batch_size, low=1),
        num_threads=integer("num_threads", threads, low=1),
        device_id=device_id(device),
        prefetch_queue_depth=integer("prefetch_queue_depth", ahead, low=1),
    )


def decoder_device(device: str | torch.device, kinds: Iterable[str] = KINDS) -> str:
    """Return the device of `fn.decoders.image` for streams of those kinds: the GPU only where it is right about all.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        Of the pipeline.
    kinds : iterable of str
        Of `KINDS`.

    Returns
    -------
    {"cpu", "mixed"}
    """
    routes, held = decoder_routes(device), list(kinds)
    return "mixed" if held and all(routes[kind] == "mixed" for kind in held) else "cpu"


def source_decoder(source: Source, device: str | torch.device) -> str:
    """Choose the device of `fn.decoders.image` for a source, and keep from it what it would get wrong.

    The first slides of the table decide. Slides whose blocks the chosen decoder gets wrong, and which come later in
    the table, are read through OpenSlide.

    Parameters
    ----------
    source : TileSource or ImageSource
        Is told which kinds the decoder gets right.
    device : {"cpu", "gpu"}
        Of the pipeline.

    Returns
    -------
    {"cpu", "mixed"}
    """
    chosen = decoder_device(device, source.kinds)
    if chosen == "mixed":
        source.only(kind for kind, route in decoder_routes(device).items() if route == "mixed")
    return chosen


def decoder_routes(device: str | torch.device) -> dict[str, str]:
    """Say of each kind of streams which decoder is right about it on this device, "cpu" or "mixed".

    On the GPU each kind is tried once per process: some decoders take RGB JPEG for YCbCr. What a pipeline takes, which
    may hold several kinds, is in `routes_taken`.
    """
    number = device_id(device)
    if number is None:
        return dict.fromkeys(KINDS, "cpu")
    return {kind: "mixed" if fault is None else "cpu" for kind, fault in _gpu_faults(number).items()}


def routes_taken(device: str, kinds: Iterable[str] = KINDS) -> dict[str, DecoderRoute]:
    """Say of each kind of streams, and of pixels that OpenSlide has read, how a pipeline on this device decodes it.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        Of the pipeline.
    kinds : iterable of str
        Of `KINDS`, what the table holds.

    Returns
    -------
    dict of str to DecoderRoute
        See `cellmix_dali.slides.stream_kinds.decoder_routes`.

    Raises
    ------
    ArgumentError
        If the device's name is unknown.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """
    number = device_id(device)
    return decoding.decoder_routes(device, {} if number is None else _gpu_faults(number), kinds)


def _gpu_faults(number: int) -> dict[str, str | None]:
    """What a GPU's decoder does wrong with each kind; None where it is right."""
    return {kind: _gpu_fault(kind, number) for kind in KINDS}


@functools.cache
def _gpu_fault(kind: str, device: int) -> str | None:
    """Decode a picture on the GPU and compare with its colours."""
    stream, colours = probe_stream(kind)
    try:
        right = keeps_colours(stream, colours, device)
    except RuntimeError:  # DALI's, for what the device cannot decode at all
        return f"cannot decode {kind}"
    return None if right else f"does not keep the colours of {kind}"


def keeps_colours(stream: NDArray[np.uint8], colours: NDArray[np.uint8], device: int | None) -> bool:
    """Say whether an encoded picture is decoded to its colours on a device; None: on the CPU."""
    return float(np.abs(_decoded(stream, device).astype(np.int16) - colours).mean()) < _LARGEST_MEAN_DIFFERENCE


def probe_stream(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an encoded picture of 256 x 256 px, of one of `KINDS`, and its pixels: four areas of strong colours.

    RGB JPEG is as Aperio slides hold it: the marker APP14 alone says so, the components are numbered 1, 2, 3. YCbCr
    JPEG is 4:2:0. JPEG 2000 is a bare code stream of RGB.
    """
    colours = np.zeros((256, 256, 3), np.uint8)
    colours[:128, :128], colours[:128, 128:] = (200, 60, 120), (60, 180, 40)
    colours[128:, :128], colours[128:, 128:] = (240, 230, 240), (90, 50, 160)
    encoded = io.BytesIO()
    options: dict[str, Any] = {
        "rgb jpeg": {"format": "JPEG", "quality": 95, "keep_rgb": True},
        "ycbcr jpeg 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"},
        "jpeg 2000": {"format": "JPEG2000", "no_jp2": True, "mct": 0},
    }[kind]
    Image.fromarray(colours).save(encoded, **options)
    stream = encoded.getvalue()
    if kind == "rgb jpeg":
        stream = _numbered(BlockStreams("rgb", None, stream).join(stream))
    return np.frombuffer(stream, np.uint8), colours


def _numbered(stream: bytes) -> bytes:
    """A JPEG stream of three components with the names 1, 2, 3 instead of "R", "G", "B", which decoders know, too."""
    changed = bytearray(stream)
    for marker, start, _ in segments(stream):
        first, step = {0xC0: (10, 3), 0xDA: (5, 2)}.get(marker, (0, 0))  # of SOF0 and SOS
        for number in range(3 if step else 0):
            changed[start + first + step * number] = number + 1
    return bytes(changed)


def _decoded(stream: NDArray[np.uint8], device: int | None) -> NDArray[np.uint8]:
    """A stream as a pipeline decodes it, (height, width, 3)."""
    pipeline = Pipeline(batch_size=_PROBES, num_threads=1, device_id=device, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: [stream] * _PROBES, batch=True, dtype=types.UINT8, ndim=1)
        pipeline.set_outputs(decode(node, "cpu" if device is None else "mixed"))
    pipeline.build()
    (images,) = pipeline.run()
    found: NDArray[np.uint8] = np.array((images if device is None else images.as_cpu()).as_array()[-1])
    return found
