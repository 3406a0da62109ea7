"""Decoded blocks of one level: what is kept, what is dropped, and how often one is decoded."""

from __future__ import annotations

import numpy as np
import pytest

from cellmix_dali import open_slide
from cellmix_dali.pipelines import _block_cache
from cellmix_dali.pipelines._block_cache import DecodedBlocks, Place
from cellmix_dali.pipelines._block_decoders import block_decoder
from cellmix_dali.slides.stream_kinds import KINDS
from cellmix_dali.synthetic import RenderedSlide

PLACES: list[Place] = [(0, 0), (1, 0), (2, 1), (3, 1), (0, 3)]
BYTES = 3 * 256 * 256


@pytest.mark.parametrize(
    ("room", "most"), [(2**27, 682), (3 * BYTES, 3), (4 * BYTES - 1, 3), (BYTES, 1), (BYTES - 1, 1), (5 * BYTES, 5)]
)
def test_as_many_blocks_are_kept_as_there_is_room_for_the_newest_first(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch, room: int, most: int
) -> None:
    assert _block_cache._KEPT_BYTES == 2**27
    monkeypatch.setattr(_block_cache, "_KEPT_BYTES", room)
    with open_slide(rendered[0].path) as slide:
        blocks = DecodedBlocks(slide, 0, device="cpu", num_threads=1)
        assert blocks._most == most
        blocks.load(PLACES)
        assert blocks.decoded == len(PLACES)
        blocks.load(PLACES[:2])
        assert blocks.decoded == len(PLACES)
        for column, row in PLACES:
            found = blocks.pixels((column, row))
            assert found is not None
            np.testing.assert_array_equal(found, slide.read_region(0, 256 * column, 256 * row, 256, 256))
        blocks.keep(lambda place: place != (2, 1))
        needed = [place for place in PLACES if place != (2, 1)][-most:]
        assert [place for place in PLACES if blocks.pixels(place) is not None] == needed
        blocks.load(PLACES)
        assert blocks.decoded == 2 * len(PLACES) - len(needed)
        assert not any(blocks.problem(place) for place in PLACES)
        second = blocks.pixels((0, 0))
        assert second is not None
        np.testing.assert_array_equal(second, slide.read_region(0, 0, 0, 256, 256))


def test_jpeg_of_any_colour_is_decoded_by_the_host_alone() -> None:
    """DALI's pipeline takes a batch's time for a block; it decodes what the host cannot."""
    chosen = {kind: type(block_decoder(kind, device="cpu", num_threads=1)).__name__ for kind in KINDS}
    assert chosen == {"rgb jpeg": "_Host", "ycbcr jpeg 4:2:0": "_Host", "jpeg 2000": "_Dali"}
