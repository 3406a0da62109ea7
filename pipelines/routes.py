"""Which decoder is right about which streams on a device: tried with real blocks when a pipeline is defined.

Some decoders take RGB JPEG for YCbCr without an error. So the GPU's decoder is given blocks of each kind, whole and in
part, and what comes out is compared with what DALI's decoder on the CPU makes of them.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.plugins.decode import decoded
from cellmix_dali.plugins.decoder_options import USUAL, DecoderOptions
from cellmix_dali.plugins.source import Source
from cellmix_dali.reading.windows import MARGIN
from cellmix_dali.slides.jpeg import BlockStreams, segments
from cellmix_dali.slides.stream_kinds import KINDS, DecoderRoute, DecoderTrial, decoder_routes

from .device import device_id, device_name

__all__ = ["ALLOWED", "choose_decoder", "decoder_device", "probe_stream", "routes_taken", "try_decoder"]

#: Largest difference between the GPU's decoder and the CPU's that is taken for rounding, in levels of 255. The hardware
#: decoder had 1 on an H200, the hybrid one 3 (docs/gpu.md); colours that are taken for others differ by 100 and more.
ALLOWED = {"rgb jpeg": 4, "ycbcr jpeg 4:2:0": 4, "jpeg 2000": 2}

_AT_EDGES = 24  # where strong colours meet, rounding shows most
_PART = 32, 48, 96, 80  # y, x, height and width of what is decoded of a block for itself


def choose_decoder(source: Source, device: str | torch.device, *, decoder: DecoderOptions = USUAL) -> str:
    """Choose the device of `fn.decoders.image` for a source, and keep from the GPU's what it would get wrong.

    The blocks of the table's first slides are tried. Where the GPU is right about some of their kinds only, the graph
    has a decoder on each device, if the source can deal its blocks to both; otherwise the CPU decodes all. Slides whose
    blocks the chosen decoder gets wrong, and which come later in the table, are read through OpenSlide.

    Parameters
    ----------
    source : TileSource or ImageSource
        Is told which kinds go where; its `routes` say so, too.
    device : {"cpu", "gpu"}
        Of the pipeline.
    decoder : DecoderOptions, optional
        How the GPU's decoder will work: so it is tried.

    Returns
    -------
    {"cpu", "mixed"}
    """
    number = device_id(device)
    if number is None:
        source.routes = decoder_routes("cpu", {})
        return "cpu"
    key = number, decoder
    if key not in source.decoders:  # a loader defines its pipeline anew after errors, and where it goes elsewhere
        source.decoders[key] = _tried(source, *key)
    return source.decoders[key]


def _tried(source: Source, number: int, decoder: DecoderOptions) -> str:
    """Try a source's blocks on a GPU, tell the source which kinds go where, and return the decoder's device."""
    held = set(source.kinds)
    samples = {kind: streams for kind, streams in source.samples().items() if streams}
    real = {kind: try_decoder(kind, streams, number, decoder=decoder) for kind, streams in samples.items()}
    source.routes = decoder_routes("gpu", {**_probes(number, decoder), **real})
    right = {kind for kind in KINDS if source.routes[kind].decoder == "mixed"}
    if not held & right:
        return "cpu"
    if held <= right:
        source.only(right)
        return "mixed"
    if source.split(right):
        return "mixed"
    why = "all are decoded on the CPU: not every one of these kinds is decoded rightly on the GPU, and they come mixed"
    source.routes |= {kind: DecoderRoute("cpu", why, source.routes[kind].difference) for kind in held & right}
    return "cpu"


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
    routes, held = routes_taken(device), list(kinds)
    return "mixed" if held and all(routes[kind].decoder == "mixed" for kind in held) else "cpu"


def routes_taken(device: str | torch.device) -> dict[str, DecoderRoute]:
    """Say of each kind of streams, and of pixels that OpenSlide has read, how a pipeline on this device decodes it.

    On the GPU each kind is tried once per process with a picture of strong colours. A loader tries the blocks of its
    own table as well: see `Loader.routes`.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        Of the pipeline.

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
    return decoder_routes(device_name(device), {} if number is None else _probes(number))


def try_decoder(
    kind: str,
    streams: Sequence[NDArray[np.uint8]],
    number: int,
    *,
    allowed: int | None = None,
    decoder: DecoderOptions = USUAL,
) -> DecoderTrial:
    """Decode blocks on a GPU as one batch, whole and in part, and compare with the CPU's decoder.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    streams : sequence of uint8 arrays (bytes,)
        Blocks of that kind, of 128 px on each side or more; smaller ones are decoded whole only.
    number : int
        DALI's number of the GPU.
    allowed : int, optional
        Largest difference that is taken for rounding, in levels of 255; by default that of `ALLOWED`.
    decoder : DecoderOptions, optional
        How the GPU's decoder works.

    Returns
    -------
    DecoderTrial

    Raises
    ------
    RuntimeError
        DALI's, if the GPU fails for another reason than the streams, such as missing memory or a missing library.
    """
    largest = 0
    small = min(min(image.shape[:2]) for image in decoded(streams)) < _PART[0] + _PART[2]
    for part in (None,) if small else (None, _PART):
        want = decoded(streams, part=part)
        try:
            found = decoded(streams, device_id=number, part=part, decoder=decoder)
        except RuntimeError as error:
            if "decode" not in str(error) or "out of memory" in str(error).lower():
                raise
            return DecoderTrial(f"cannot decode {kind}")
        # At the rim of a part decoders interpolate colours differently; windows do not use it either.
        inner = slice(None) if part is None else slice(MARGIN, -MARGIN)
        pairs = [(a[inner, inner].astype(int), b[inner, inner]) for a, b in zip(found, want, strict=True)]
        largest = max(largest, *(int(np.abs(a - b).max()) for a, b in pairs))
    if largest > (ALLOWED[kind] if allowed is None else allowed):
        return DecoderTrial(f"does not keep the colours of {kind} (up to {largest} of 255 beside them)", largest)
    return DecoderTrial(None, largest)


@functools.cache
def _probes(number: int, decoder: DecoderOptions = USUAL) -> Mapping[str, DecoderTrial]:
    """What came out when a GPU's decoder was tried with a picture of each kind, once per process."""
    options: dict[str, Any] = {"allowed": _AT_EDGES, "decoder": decoder}
    return {kind: try_decoder(kind, [probe_stream(kind)] * 4, number, **options) for kind in KINDS}


def probe_stream(kind: str) -> NDArray[np.uint8]:
    """Return an encoded picture of 256 x 256 px, of one of `KINDS`: four areas of strong colours.

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
    return np.frombuffer(stream, np.uint8)


def _numbered(stream: bytes) -> bytes:
    """A JPEG stream of three components with the names 1, 2, 3 instead of "R", "G", "B", which decoders know, too."""
    changed = bytearray(stream)
    for marker, start, _ in segments(stream):
        first, step = {0xC0: (10, 3), 0xDA: (5, 2)}.get(marker, (0, 0))  # of SOF0 and SOS
        for number in range(3 if step else 0):
            changed[start + first + step * number] = number + 1
    return bytes(changed)
