"""Memory for blocks that are read by compiled code: just as much as their streams take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cellmix_dali import open_slide
from cellmix_dali.slides import usual_blocks
from cellmix_dali.synthetic import RenderedSlide


@pytest.mark.parametrize("number", [0, 1])
def test_a_batch_takes_the_bytes_of_its_streams(
    rendered: list[RenderedSlide], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SVS blocks get their tables and a marker before them, blocks of the TIFF are streams already."""
    columns, rows = (each.ravel() for each in np.meshgrid(np.arange(3), np.arange(3)))
    with open_slide(rendered[number].path) as slide:
        reader = slide.block_reader(0)
        reader.read(columns, rows)  # learns what blocks begin with
        asked: list[int] = []
        take = usual_blocks._BUFFERS.take

        def recorded(size: int) -> Any:
            asked.append(size)
            return take(size)

        monkeypatch.setattr(usual_blocks._BUFFERS, "take", recorded)
        streams = reader.read(columns, rows)
    assert asked == [sum(len(stream) for stream in streams if isinstance(stream, np.ndarray))]
    assert len(streams) == 9
