"""Which decoder a pipeline takes for which encoded streams, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["JPEG_KINDS", "KINDS", "PIXELS", "DecoderRoute", "DecoderTrial", "decoder_routes", "stream_kind"]

#: Kinds of encoded streams that decoders may treat differently. YCbCr JPEG of any subsampling counts as 4:2:0.
KINDS = ("rgb jpeg", "ycbcr jpeg 4:2:0", "jpeg 2000")
#: Those of them that are JPEG.
JPEG_KINDS = KINDS[:2]
#: Besides them, what OpenSlide has read.
PIXELS = "pixels"


class DecoderTrial(NamedTuple):
    """What came out when a GPU's decoder was tried with a kind of streams.

    Attributes
    ----------
    fault : str or None
        What it does wrong, such as "cannot decode rgb jpeg"; None where it is right.
    difference : int or None
        Largest difference to DALI's decoder on the CPU, in levels of 255; None where nothing was decoded.
    """

    fault: str | None
    difference: int | None = None


class DecoderRoute(NamedTuple):
    """How a pipeline gets the pixels of a kind of streams.

    Attributes
    ----------
    decoder : {"cpu", "mixed"}
        Device of `fn.decoders.image`; "mixed" is the GPU's.
    reason : str
        What is done, and why, for a person.
    difference : int or None
        Largest difference to DALI's decoder on the CPU that was seen when the GPU's was tried, in levels of 255.
    """

    decoder: str
    reason: str
    difference: int | None = None


def stream_kind(compression: str | None, colour: str | None) -> str:
    """Return the kind of a level's streams.

    Parameters
    ----------
    compression, colour : str or None
        See `cellmix_dali.slides.Level`.

    Returns
    -------
    str
        One of `KINDS`, or `PIXELS` for a level that goes through OpenSlide.
    """
    if compression is None:
        return PIXELS
    if compression == "jpeg2000":
        return "jpeg 2000"
    return "rgb jpeg" if colour == "rgb" else "ycbcr jpeg 4:2:0"


def decoder_routes(device: str, trials: Mapping[str, DecoderTrial]) -> dict[str, DecoderRoute]:
    """Say of `KINDS` and `PIXELS` how a pipeline on a device decodes them.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        Of the pipeline.
    trials : mapping of str to DecoderTrial
        What came out when the GPU's decoder was tried with each of `KINDS`. Not looked at for the CPU.

    Returns
    -------
    dict of str to DecoderRoute
    """
    routes = {PIXELS: DecoderRoute("cpu", "read through OpenSlide on the CPU, and handed on as pixels")}
    for kind in KINDS:
        if device == "cpu":
            routes[kind] = DecoderRoute("cpu", "decoded by fn.decoders.image on the CPU")
            continue
        fault, difference = trials[kind]
        if fault is None:
            reason = (
                f"decoded by fn.decoders.image on the GPU, which was tried: at most {difference} of 255 from the CPU's"
            )
            routes[kind] = DecoderRoute("mixed", reason, difference)
        else:
            reason = f"decoded by fn.decoders.image on the CPU, because the GPU's decoder {fault}"
            routes[kind] = DecoderRoute("cpu", reason, difference)
    return routes
