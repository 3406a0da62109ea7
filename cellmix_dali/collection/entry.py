"""What an index holds of one slide: JSON values and arrays, in one run of bytes.

Sixteen bytes say how long the compressed JSON and the arrays are, and their checksums. Each array begins at a multiple
of eight bytes, as an entry does in its file, so that they can be used where they lie.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..slides.found import Found
from ..slides.found_record import found_of
from ..tissue.slide_mask import TissueMask

__all__ = ["Entry", "Look", "mask_key", "packed_entry", "read_entry", "thumbnail_bytes"]

_HEAD = struct.Struct("<IIII")  # bytes of the JSON, its checksum, words of the arrays, their checksum
_QUALITY = 85


@dataclass(frozen=True, eq=False)
class Look:
    """A picture of a slide and its tissue, on the way into an entry.

    Attributes
    ----------
    masks : mapping of str to TissueMask
        By `mask_key`.
    thumbnail : bytes or None
        A JPEG.
    """

    masks: Mapping[str, TissueMask]
    thumbnail: bytes | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """What an index holds of one slide.

    Attributes
    ----------
    said : mapping
        ``location``, ``identity``, ``states`` (of its files), ``asked``, ``slide`` (see
        `cellmix_dali.slides.found_record`) or None with ``fault``: why there is none.
    """

    said: Mapping[str, Any]
    _words: NDArray[np.uint64]

    def array(self, number: int) -> NDArray[Any]:
        """Return an array, where it lies."""
        kind, first, count = self.said["arrays"][number]
        of = np.dtype(kind)
        return self._words.view(np.uint8)[first : first + count * of.itemsize].view(of)

    def found(self) -> Found | None:
        """Return what is known of the slide; None where it could not be opened, or not be kept."""
        return None if self.said["slide"] is None else found_of(self.said["slide"], self.array)

    def masks(self) -> dict[str, TissueMask]:
        """Return where there is tissue, by `mask_key`."""
        return {key: self.mask(key) for key in self.said["masks"]}

    def mask(self, key: str) -> TissueMask:
        """Return where there is tissue."""
        of = self.said["masks"][key]
        rows, columns = of["shape"]
        bits = np.frombuffer(zlib.decompress(self.array(of["bits"]).tobytes()), np.uint8)
        pixels = np.unpackbits(bits, count=rows * columns).astype(bool).reshape(rows, columns)
        return TissueMask(pixels, tuple(of["scale"]), of["method"], tuple(of["origin"]))

    def thumbnail(self) -> bytes | None:
        """Return the thumbnail, a JPEG; None where there is none."""
        number = self.said["thumbnail"]
        return None if number is None else self.array(number).tobytes()

    def check(self) -> bool:
        """Whether the arrays are as they were written."""
        return zlib.crc32(self._words.data) == int(self.said["sum"])


def mask_key(method: str, size: int) -> str:
    """Return the name of a mask: how tissue was found, on a picture of which longer side."""
    return f"{method} at {size}"


def packed_entry(said: Mapping[str, Any], arrays: Sequence[NDArray[Any]], look: Look) -> bytes:
    """Make an entry.

    Parameters
    ----------
    said : mapping
        JSON values, see `Entry`.
    arrays : sequence of arrays
        By the numbers that `said` has for them.
    look : Look
        Masks and thumbnail.
    """
    kept, masks = list(arrays), {}
    for key, mask in look.masks.items():
        bits = zlib.compress(np.packbits(mask.pixels).tobytes(), 6)
        masks[key] = {
            "shape": mask.pixels.shape,
            "scale": mask.scale,
            "method": mask.method,
            "origin": mask.origin,
            "bits": len(kept),
        }
        kept.append(np.frombuffer(bits, np.uint8))
    thumbnail = None
    if look.thumbnail is not None:
        thumbnail = len(kept)
        kept.append(np.frombuffer(look.thumbnail, np.uint8))
    body, places = bytearray(), []
    for array in kept:
        places.append([array.dtype.str, len(body), array.size])
        body += array.tobytes()
        body += bytes(-len(body) % 8)
    checksum = zlib.crc32(body)
    values = {**said, "masks": masks, "thumbnail": thumbnail, "arrays": places, "sum": checksum}
    text = zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 6)
    head = _HEAD.pack(len(text), zlib.crc32(text), len(body) // 8, checksum)
    return head + text + bytes(-len(text) % 8) + bytes(body)


def read_entry(content: NDArray[np.uint8]) -> Entry:
    """Read an entry; a ValueError says that it is damaged. Its arrays lie in what was given."""
    if content.size < _HEAD.size:
        raise ValueError("an entry is cut off")
    length, checksum, words, _ = _HEAD.unpack(content[: _HEAD.size].tobytes())
    text = content[_HEAD.size : _HEAD.size + length].tobytes()
    first = _HEAD.size + length + -length % 8
    if zlib.crc32(text) != checksum or content.size != first + 8 * words:
        raise ValueError("the checksum of an entry is another one")
    return Entry(json.loads(zlib.decompress(text)), content[first:].view(np.uint64))


def thumbnail_bytes(picture: NDArray[np.uint8], side: int) -> bytes:
    """Return a picture as a JPEG whose longer side has at most so many pixels."""
    image, file = Image.fromarray(picture), BytesIO()
    image.thumbnail((side, side), Image.Resampling.BOX)
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
