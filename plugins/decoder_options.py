"""How the GPU's decoder works: the arguments of `fn.decoders.image` that change its speed and its memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cellmix_dali._arguments import integer, number
from cellmix_dali.errors import ArgumentError

__all__ = ["USUAL", "DecoderOptions"]

_MOST = 2**31 - 1  # DALI takes them as int32


@dataclass(frozen=True)
class DecoderOptions:
    """How the GPU's decoder works; on the CPU nothing is changed by it. None stands for DALI's own default.

    The names are those of `nvidia.dali.fn.decoders.image`, whose page says more of each.

    Parameters
    ----------
    hw_decoder_load : float, default 1.0
        Share of a batch that the hardware decoder takes, of what it can decode; the rest is decoded by the GPU's cores
        with the help of the host's. 1.0 is within 1 level of the CPU's decoder (others within 3), needs no cores of the
        host, and makes a tile's pixels not depend on its place in the batch (docs/gpu.md). With many threads a smaller
        share can be faster.
    hybrid_huffman_threshold : int, optional
        Images of more pixels are decoded on the GPU in full; of smaller ones the host's cores do the Huffman decoding.
    device_memory_padding, host_memory_padding : int, optional
        Bytes that the JPEG decoder sets aside per thread when it is made, on the GPU and in pinned memory, so that it
        need not enlarge its buffers (which stops the GPU) as long as no image needs more.
    device_memory_padding_jpeg2k, host_memory_padding_jpeg2k : int, optional
        The same of the JPEG 2000 decoder.
    preallocate_width_hint, preallocate_height_hint : int, optional
        Sides in pixels of the largest images to come, for which the hardware decoder sets memory aside.

    Raises
    ------
    ArgumentError
        If a value is out of range, or only one of the sides is given.
    """

    hw_decoder_load: float = 1.0
    hybrid_huffman_threshold: int | None = None
    device_memory_padding: int | None = None
    host_memory_padding: int | None = None
    device_memory_padding_jpeg2k: int | None = None
    host_memory_padding_jpeg2k: int | None = None
    preallocate_width_hint: int | None = None
    preallocate_height_hint: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hw_decoder_load", number("hw_decoder_load", self.hw_decoder_load, 0, 1))
        for name in (field.name for field in fields(self) if field.name != "hw_decoder_load"):
            if getattr(self, name) is not None:
                low = 1 if name.startswith("preallocate") else 0
                object.__setattr__(self, name, integer(name, getattr(self, name), low, _MOST))
        if (self.preallocate_width_hint is None) != (self.preallocate_height_hint is None):
            raise ArgumentError(
                f"preallocate_width_hint={self.preallocate_width_hint}, preallocate_height_hint="
                f"{self.preallocate_height_hint}: memory is set aside for both sides, so give both or neither."
            )

    def arguments(self) -> dict[str, Any]:
        """Return those that are set, as `fn.decoders.image` takes them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


#: What is used where nothing is said.
USUAL = DecoderOptions()
