"""A tissue method that waits for ever at one slide: a stand-in for whatever hangs a process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cellmix_dali.synthetic import write_slide
from cellmix_dali.tissue.methods import METHODS

METHOD = "hanging:tissue"
SIDE = 272  # of the slide at which it waits


def pipe(side: int) -> Path:
    """What it waits for: the same path in every process."""
    return Path(tempfile.gettempdir()) / f"cellmix-dali-waits-{os.getuid()}-{side}"


def tissue(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Wait, if that slide's pipe is there."""
    waits = pipe(rgb.shape[0])
    if rgb.shape[0] == rgb.shape[1] and waits.exists():
        waits.read_bytes()
    return METHODS["density"](rgb)


@contextmanager
def slide_that_hangs(path: Path, side: int = SIDE) -> Iterator[Path]:
    """Write a slide that no process gets past while this lasts; gives the pipe that it then has open.

    Tests that run at the same time need different sides.
    """
    write_slide(path, np.full((side, side, 3), 240, np.uint8), block=64)
    waits = pipe(side)
    waits.unlink(missing_ok=True)
    os.mkfifo(waits)
    writer = os.open(waits, os.O_RDWR)  # so that it can be opened, and nothing comes
    try:
        yield waits
    finally:
        os.close(writer)
        waits.unlink()
