"""Which decoder a pipeline takes for which encoded streams, and why, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["KINDS", "PIXELS", "DecoderRoute", "decoder_routes", "stream_kind"]

#: Kinds of encoded streams that decoders may treat differently. YCbCr JPEG of any subsampling counts as 4:2:0.
KINDS = ("rgb jpeg", "ycbcr jpeg 4:2:0", "jpeg 2000")
#: Besides them, what OpenSlide has read, which comes as PPM.
PIXELS = "pixels"


class DecoderRoute(NamedTuple):
    """How a pipeline gets the pixels of a kind of streams.

    Attributes
    ----------
    decoder : {"cpu", "mixed"}
        Device of `fn.decoders.image`; "mixed" is the GPU's.
    reason : str
        What is done, and why, for a person.
    """

    decoder: str
    reason: str


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


def decoder_routes(
    device: str, faults: Mapping[str, str | None], kinds: Iterable[str] = KINDS
) -> dict[str, DecoderRoute]:
    """Say of `KINDS` and `PIXELS` how a pipeline on a device decodes them.

    A pipeline has one decoder for all its streams: the GPU's only where it is right about all kinds of its table.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        Of the pipeline.
    faults : mapping of str to (str or None)
        What the GPU's decoder was found to do wrong with each of `KINDS`, such as "does not keep the colours of rgb
        jpeg"; None where it is right. Not looked at for the CPU.
    kinds : iterable of str
        Which of `KINDS` the table holds, as its first slides show. Without any of them OpenSlide reads all tiles, and
        the CPU decodes.

    Returns
    -------
    dict of str to DecoderRoute
    """
    held = set(kinds) & set(KINDS)
    faulty = {} if device == "cpu" else {kind: fault for kind, fault in faults.items() if fault is not None}
    wrong = {kind: fault for kind, fault in faulty.items() if kind in held}
    decoder = "mixed" if device == "gpu" and held and not wrong else "cpu"
    told = " and ".join(wrong.values())
    routes = {PIXELS: DecoderRoute(decoder, "read through OpenSlide on the CPU, and handed on as plain pixels (PPM)")}
    for kind in KINDS:
        if decoder == "mixed" and kind in faulty:
            reason = f"read through OpenSlide, because the GPU's decoder {faulty[kind]}"
        elif decoder == "mixed":
            reason = "decoded by fn.decoders.image on the GPU, which was tried and keeps the colours"
        elif kind in wrong:
            reason = f"decoded by fn.decoders.image on the CPU, because the GPU's decoder {wrong[kind]}"
        elif wrong:
            reason = (
                "decoded by fn.decoders.image on the CPU, because a pipeline has one decoder for all streams and the "
                f"GPU's {told}"
            )
        else:
            reason = "decoded by fn.decoders.image on the CPU"
        routes[kind] = DecoderRoute(decoder, reason)
    return routes
