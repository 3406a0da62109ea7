"""PPM streams."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from slide_files import picture

from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides.ppm import ppm


def test_ppm_keeps_every_pixel(decode):
    pictures = [picture(37, 23), picture(8, 64, seed=1), picture(40, 40)[::2, ::-1]]
    streams = [ppm(p) for p in pictures]
    assert all(s.dtype == np.uint8 and s.ndim == 1 for s in streams)
    for stream, decoded, expected in zip(streams, decode(streams), pictures, strict=True):
        np.testing.assert_array_equal(decoded, expected)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stream.tobytes()))), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_ppm_refuses_other_arrays(wrong):
    with pytest.raises(ArgumentError, match="PPM stream needs"):
        ppm(wrong)
