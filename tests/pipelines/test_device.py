"""Where streams are decoded: the pictures that a device is tried with tell right colours from wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from cellmix_dali.pipelines.device import KINDS, decoder_device, decoder_routes, keeps_colours, probe_stream
from cellmix_dali.slides.jpeg import parse_header


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_decoder_passes(kind: str) -> None:
    stream, colours = probe_stream(kind)
    assert colours.shape == (256, 256, 3)
    assert keeps_colours(stream, colours, None)


def test_a_decoder_that_does_not_heed_app14_is_found_out() -> None:
    stream, colours = probe_stream("rgb jpeg")
    header = parse_header(stream.tobytes())
    assert (header.adobe, header.jfif, header.ids) == (0, False, (1, 2, 3))
    place = stream.tobytes().index(b"\xff\xee\x00\x0eAdobe")
    assert not keeps_colours(np.delete(stream, slice(place, place + 16)), colours, None)


def test_the_420_picture_is_420() -> None:
    header = parse_header(probe_stream("ycbcr jpeg 4:2:0")[0].tobytes())
    assert header.sampling == ((2, 2), (1, 1), (1, 1))


def test_the_cpu_decodes_all() -> None:
    assert decoder_routes("cpu") == dict.fromkeys(KINDS, "cpu")
    assert decoder_device("cpu") == "cpu"
