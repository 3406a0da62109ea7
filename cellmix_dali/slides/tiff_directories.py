"""The directories of a TIFF file before anything in them is believed: their chain, and the error for broken ones."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from cellmix_dali.errors import SlideError
from cellmix_dali.storage.moment import moment_of, refusal

__all__ = ["broken", "check_chain"]

_MOST_DIRECTORIES = 1000  # a slide has a dozen; each costs time


def broken(path: Path, error: Exception) -> SlideError:
    """Return the error for a TIFF whose directories cannot be read."""
    if moment_of(error) is not None:
        return refusal(f"Cannot read the directories of {path}", error, "")
    return SlideError(
        f"{path} begins as a TIFF but its directory cannot be read ({error or type(error).__name__}): it is "
        "truncated or damaged. Copy the slide again from its source."
    )


def check_chain(path: Path) -> bool:
    """Say whether the chain of a TIFF file's directories comes to its end within the file.

    A circle of them, or far too many, would be followed for minutes. Source: TIFF 6.0, section 2, and BigTIFF.

    Raises
    ------
    ValueError
        If it goes round in a circle, or is far too long.
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = "<" if start.startswith(b"II") else ">"
        big = 43 in start[2:4]
        link, number, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
        seen: set[int] = set()
        try:
            (place,) = struct.unpack_from(link, start, 8 if big else 4)
            while place:
                if place in seen:
                    raise ValueError(f"directory {len(seen) - 1} leads back to an earlier one")
                if len(seen) == _MOST_DIRECTORIES:
                    raise ValueError(f"there are more than {_MOST_DIRECTORIES} directories")
                seen.add(place)
                file.seek(place)
                (entries,) = struct.unpack(number, file.read(struct.calcsize(number)))
                file.seek(entries * entry, os.SEEK_CUR)
                (place,) = struct.unpack(link, file.read(struct.calcsize(link)))
        except (struct.error, OverflowError, OSError) as error:
            if moment_of(error) is not None:
                raise
            return False  # it leads out of the file: whether what came before is enough, others see
    return True
