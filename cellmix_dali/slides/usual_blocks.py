"""Blocks that begin as most of their kind do, read many at a time from any number of files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.storage.buffers import BufferPool
from cellmix_dali.storage.open_file import OpenFile

__all__ = ["ITEM_BYTES", "UsualHeader", "read_usual"]

#: Bytes of the header of a DICOM item: its tag and its length.
ITEM_BYTES = 8

_MOST_BYTES = 1 << 24  # a block that says to be larger is looked at before memory is given to it
_BUFFERS = BufferPool(1 << 26)


class UsualHeader:
    """What blocks usually begin with.

    Parameters
    ----------
    lead : bytes
        In the file.
    new_lead : bytes
        In the stream.
    zeros : bool
        Whether long runs of zeros may be data.
    in_items : bool, default False
        Whether the header of a DICOM item comes before, see `cellmix_dali.slides.block_table.BlockTable`.
    """

    def __init__(self, lead: bytes, new_lead: bytes, zeros: bool, in_items: bool = False) -> None:
        self._lead, self._new_lead = np.frombuffer(lead, np.uint8), np.frombuffer(new_lead, np.uint8)
        before = ITEM_BYTES if in_items else 0
        self.longer = len(new_lead) - len(lead) - before
        #: What streams begin with.
        self.header = new_lead
        #: See `read_quickly`, but for the file.
        self.row = (self._lead.ctypes.data, len(lead), self._new_lead.ctypes.data, len(new_lead), int(zeros), before)


def read_usual(
    files: Sequence[OpenFile | None],
    headers: Sequence[UsualHeader | None],
    which: NDArray[np.int64],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> list[NDArray[np.uint8] | None]:
    """Read all blocks that are as usual, by compiled code, without the interpreter lock.

    Parameters
    ----------
    files, headers : sequences of OpenFile and UsualHeader, of one length
        Where blocks lie and how they begin; None for those that are not known.
    which : int64 array (n,)
        The file and the header of each block.
    offsets, counts : int64 arrays (n,)
        Where in the file it lies, and its bytes.

    Returns
    -------
    list of (uint8 array or None)
        For each block a complete stream, in which no damage shows; None where it must be looked at more closely.
    """
    from ._quick import read_quickly  # numba takes a second to import

    known = [file is not None and header is not None for file, header in zip(files, headers, strict=True)]
    if not any(known):
        return [None] * len(which)
    rows = np.zeros((len(headers), 7), np.int64)
    longer = np.zeros(len(headers), np.int64)
    for number, (file, header) in enumerate(zip(files, headers, strict=True)):
        if file is not None and header is not None:
            rows[number], longer[number] = (file.number, *header.row), header.longer
    if not all(known):
        which = np.where(np.array(known)[which], which, -1)
    size = np.where((which >= 0) & (counts >= 0) & (counts <= _MOST_BYTES), counts, 0).sum()
    buffer = _BUFFERS.take(int(size) + len(which) * max(0, int(longer.max())))
    spans = np.empty((len(which), 2), np.int64)
    read_quickly(which, rows, offsets, counts, _MOST_BYTES, buffer, spans)
    return [buffer[start:end] if start >= 0 else None for start, end in spans.tolist()]
