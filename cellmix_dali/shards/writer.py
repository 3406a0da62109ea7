"""WebDataset tar shards with DALI's index files, written byte for byte the same every time."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ..errors import ArgumentError
from ..storage.aside import Aside, WriteError, sync_folder, told
from .digest import ShardDigest

__all__ = ["ShardWriter"]

_BLOCK = tarfile.BLOCKSIZE
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,80}")
_IMAGES = ("jpg", "png")
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_INDEX_VERSION = "v1.2"  # of DALI's wds2idx
_Bytes: TypeAlias = "bytes | memoryview"
# Where a ustar header (POSIX.1-1988) has what differs from member to member.
_SIZE, _CHECKSUM = slice(124, 135), slice(148, 154)


class ShardWriter:
    """Writes the tiles of one slide, or of a part of it, into shards ``PREFIX-00000.tar``, ``PREFIX-00001.tar``, ...

    Each tile is one WebDataset sample. Its key is ``PREFIX-00000000``, counted up, so keys sort in the order in which
    tiles are added; its members are ``KEY.jpg`` or ``KEY.png``, ``KEY.cls`` (the class index, where there is one) and
    ``KEY.json`` (what the tile is). Beside each shard stands its index for DALI, ``PREFIX-00000.idx``.

    The same tiles give the same bytes. A file has its final name only when it is complete and on the disk, the index
    before its shard; one of that name is replaced. As a context manager the writer closes at the end of the block, and
    removes the unfinished file when an exception comes.

    Parameters
    ----------
    folder : Path
        Where the shards go; it must exist.
    prefix : str
        Letters, digits, "_" and "-"; another one for each writer of a collection.
    max_tiles : int, default 10000
        Tiles per shard at most.
    max_bytes : int, default 2**30
        Bytes per shard at most, unless a single tile has more.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    WriteError
        By the methods, if the disk is full or may not be written to. Only ``.part`` files can be left over then.
    """

    def __init__(self, folder: str | Path, prefix: str, *, max_tiles: int = 10_000, max_bytes: int = 1 << 30) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ArgumentError(
                f"prefix={prefix!r} cannot begin the names of shards: use 1 to 80 letters, digits, '_' or '-'."
            )
        if max_tiles < 1 or max_bytes < 1:
            raise ArgumentError(f"max_tiles={max_tiles}, max_bytes={max_bytes}: a shard holds at least one.")
        self._folder, self._prefix = Path(folder), prefix
        self._max_tiles, self._max_bytes = max_tiles, max_bytes
        self._shard: _Shard | None = None
        self._names: list[str] = []
        self._digests: list[str] = []
        # One entry per tile: which shard, where in it, how long.
        self._number, self._offset, self._length = array("i"), array("q"), array("q")
        self._sha256: list[str] = []
        self._closed = self._discarded = False

    def add(
        self,
        data: _Bytes,
        extension: str,
        *,
        about: Mapping[str, object] | bytes | None = None,
        label: int | None = None,
    ) -> None:
        """Append one tile.

        Parameters
        ----------
        data : bytes or memoryview of bytes
            The encoded image.
        extension : {"jpg", "png"}
            What it is.
        about : mapping or bytes, optional
            What ``KEY.json`` says: strings, numbers, None; or that as JSON, in ASCII.
        label : int, optional
            Class index, for ``KEY.cls``.
        """
        if self._closed:
            raise ArgumentError(f"The writer of {self._prefix} is closed: make a new one.")
        if extension not in _IMAGES:
            raise ArgumentError(f"extension={extension!r}: a tile's image is one of {', '.join(_IMAGES)}.")
        members: list[tuple[str, _Bytes]] = [(extension, data)]
        if label is not None:
            members.append(("cls", b"%d" % label))
        members.append(("json", about if isinstance(about, bytes) else _JSON.encode(about or {}).encode("ascii")))
        needed = sum([_BLOCK + _padded(len(content)) for _, content in members])
        shard = self._shard
        if shard is not None and (shard.tiles >= self._max_tiles or shard.length_with(needed) > self._max_bytes):
            self._finish()
            shard = None
        if shard is None:
            name = f"{self._prefix}-{len(self._names):05d}"
            shard = self._shard = _Shard(self._folder / f"{name}.tar")
            self._names.append(f"{name}.tar")
        digest = hashlib.sha256(data)
        try:
            offset = shard.add(f"{self._prefix}-{len(self._offset):08d}", members, digest.digest())
        except BaseException:
            self.discard()
            raise
        self._number.append(len(self._names) - 1)
        self._offset.append(offset)
        self._length.append(len(data))
        self._sha256.append(digest.hexdigest())

    def close(self) -> pa.Table:
        """Finish the last shard. Calling it again gives the same.

        Returns
        -------
        pyarrow.Table
            One row per tile, in the order of `add`: ``shard`` (file name), ``offset`` of the image's first byte in the
            shard, ``bytes``, ``sha256`` of the image (hexadecimal).
        """
        if self._discarded:
            raise ArgumentError(
                f"The writer of {self._prefix} was stopped by an error, so its tiles are not all there. Write "
                "the tiles again with a new one."
            )
        if not self._closed:
            self._finish()
            self._closed = True
        shard = pa.DictionaryArray.from_arrays(
            pa.array(np.frombuffer(self._number, np.int32)), pa.array(self._names, pa.string())
        )
        return pa.table(
            {
                "shard": shard,
                "offset": pa.array(np.frombuffer(self._offset, np.int64)),
                "bytes": pa.array(np.frombuffer(self._length, np.int64)),
                "sha256": pa.array(self._sha256, pa.string()),
            }
        )

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each finished shard by its file name, see `cellmix_dali.shards.shard_digest`."""
        return dict(zip(self._names, self._digests, strict=False))

    def discard(self) -> None:
        """Remove the shard under way, and write no more; finished ones stay."""
        self._closed = self._discarded = True
        if self._shard is not None:
            self._shard.discard()
            self._shard = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        elif not self._discarded:
            self.close()

    def _finish(self) -> None:
        """Finish the shard under way."""
        if self._shard is not None:
            try:
                self._digests.append(self._shard.finish())
            except BaseException:
                self.discard()
                raise
            self._shard = None


class _Shard:
    # One tar file under way, and the lines of its index.
    def __init__(self, path: Path) -> None:
        self.tiles = 0
        self._aside = Aside(path)
        self._index: Aside | None = None
        self._length = 0
        self._lines: list[str] = []
        self._digest = ShardDigest()

    def length_with(self, more: int) -> int:
        # Of the whole file, were so many bytes added. It ends with two empty blocks, filled up to 20 blocks.
        used = self._length + more + 2 * _BLOCK
        return used + -used % tarfile.RECORDSIZE

    def add(self, key: str, members: Sequence[tuple[str, _Bytes]], sha256: bytes) -> int:
        # Write a sample; give the place of its first member's content, the image, whose SHA-256 is given.
        first = place = self._length + _BLOCK
        pieces: list[_Bytes] = []
        line = []
        for extension, content in members:
            name, size = f"{key}.{extension}", len(content)
            line.append(f"{extension} {place} {size} {name}")
            pieces += (_header(name, size), content, _NOTHING[: -size % _BLOCK])
            place += _BLOCK + size + -size % _BLOCK
        with told(self._aside.path):
            self._aside.file.writelines(pieces)
            self._aside.wrote(place - first)
        self._length = place - _BLOCK
        self._lines.append(" ".join(line))
        self._digest.update(pieces[0])
        self._digest.image(sha256)
        self._digest.update(b"".join(pieces[2:]))
        self.tiles += 1
        return first

    def finish(self) -> str:
        # Give the shard's digest.
        end = bytes(self.length_with(0) - self._length)
        with told(self._aside.path):
            self._aside.file.write(end)
        self._digest.update(end)
        self._aside.finish()
        self._index = Aside(self._aside.path.with_suffix(".idx"))
        text = "\n".join([f"{_INDEX_VERSION} {self.tiles}", *self._lines, ""])
        with told(self._index.path):
            self._index.file.write(text.encode("ascii"))
        self._index.finish()
        # A shard that has its name has its index, too.
        self._index.rename()
        self._aside.rename()
        sync_folder(self._aside.path.parent)
        return self._digest.hexdigest()

    def discard(self) -> None:
        for aside in (self._aside, self._index):
            if aside is not None:
                with suppress(WriteError):
                    aside.discard()


def _padded(length: int) -> int:
    return length + -length % _BLOCK


def _header(name: str, size: int) -> bytes:
    # A member's header. Writing it with tarfile takes longer than all else that is done for a copied tile.
    encoded, octal = name.encode("ascii"), b"%011o" % size
    checksum = b"%06o" % (_TEMPLATE_SUM + sum(encoded) + sum(octal))
    return b"".join((encoded, _NOTHING[: 100 - len(encoded)], _OWNER, octal, _TIME, checksum, _REST))


def _template() -> tuple[bytes, int]:
    # The header of a nameless, empty member without owner and time, and its sum without the size's digits.
    header = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
    total = int(header[_CHECKSUM], 8)
    return header, total - sum(header[_SIZE])


_TEMPLATE, _TEMPLATE_SUM = _template()
_OWNER, _TIME, _REST = _TEMPLATE[100:124], _TEMPLATE[135:148], _TEMPLATE[154:]
_NOTHING = bytes(_BLOCK)
