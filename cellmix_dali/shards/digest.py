"""The digest of a shard, for which no image has to be hashed a second time."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["ShardDigest", "shard_digest"]


class ShardDigest:
    """SHA-256 of a shard's bytes in which every image is replaced by its own SHA-256 (32 bytes)."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def update(self, content: bytes | memoryview) -> None:
        """Go on with bytes that are not of the image: headers, padding, other members."""
        self._sha256.update(content)

    def image(self, sha256: bytes) -> None:
        """Go on with an image, given by its digest."""
        self._sha256.update(sha256)

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._sha256.hexdigest()


def shard_digest(path: Path) -> str:
    """Read a shard and work out its digest; the index beside it says where its images lie.

    Parameters
    ----------
    path : Path
        ``NAME.tar``, with ``NAME.idx`` beside it.

    Raises
    ------
    OSError
        If one of the two cannot be read.
    ValueError
        If it is not an index, or goes beyond the shard.
    """
    digest = ShardDigest()
    lines = path.with_suffix(".idx").read_text("ascii").splitlines()[1:]
    with path.open("rb") as file:
        place = 0
        for line in lines:
            _, offset, size, *_ = line.split()
            first, length = int(offset), int(size)
            digest.update(_exactly(file.read(first - place), first - place))
            digest.image(hashlib.sha256(_exactly(file.read(length), length)).digest())
            place = first + length
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _exactly(content: bytes, length: int) -> bytes:
    if len(content) != length:
        raise ValueError("the index goes beyond the shard")
    return content
