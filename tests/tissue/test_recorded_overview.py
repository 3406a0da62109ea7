"""The overview picture as it was when people had looked at it: a slide, its tissue, its tiles, and what is written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.tissue.overview import _cut, _font, _round_length, overview_picture
from cellmix_dali.tissue.slide_mask import TissueMask


def drawn(wide: int = 720, high: int = 420, *, tiles: int = 6, **changed: Any) -> NDArray[np.float64]:
    """A picture of 10 slide pixels a pixel: a ramp, a mask that begins at 600, 500, and tiles of 700 within it."""
    ramp = np.linspace(150, 250, wide)[None, :, None] * np.array([1.0, 0.95, 0.9]) + np.zeros((high, 1, 1))
    pixels = np.zeros((50, 60), bool)
    pixels[5:40, 8:50] = True
    pixels[15:25, 20:30] = False
    x, y = np.meshgrid(900 + 700 * np.arange(tiles), 700 + 700 * np.arange(tiles - 2))
    given: dict[str, Any] = {
        "slide_size": (10 * wide, 10 * high),
        "x": x.ravel(),
        "y": y.ravel(),
        "size": 700,
        "mask": TissueMask(pixels, (90.0, 60.0), "colour", (600.0, 500.0)),
        "title": "slide 1.svs",
        "details": "24 tiles of 700 px",
        "mpp": 0.25,
    }
    file = overview_picture(ramp.astype(np.uint8), **given | changed)
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), np.float64)


def means(picture: NDArray[np.float64], *, across: int = 12, down: int = 8) -> list[list[int]]:
    """Mean colour of each column and each row of cells, red, green and blue in turn."""
    high, wide = (side // by for side, by in zip(picture.shape, (down, across), strict=False))
    cells = picture[: high * down, : wide * across].reshape(down, high, across, wide, 3).mean((1, 3))
    return [np.rint(cells.mean(axis)).astype(int).ravel().tolist() for axis in (0, 1)]


PICTURES: dict[str, dict[str, Any]] = {
    "all": {},
    "without": {"mask": None, "mpp": None, "details": ""},
    "crowded": {
        "tiles": 20,
        "size": 100,
        "x": np.repeat(900 + 100 * np.arange(30), 20),
        "y": np.tile(700 + 100 * np.arange(20), 30),
    },
    "narrow": {"wide": 300, "high": 500, "tiles": 3, "title": "a very long name of a slide " * 8},
}
SIZES = {
    "all": (496, 720, 3),
    "without": (496, 720, 3),
    "crowded": (496, 720, 3),
    "narrow": (576, 640, 3),
}
# By column, then by row of cells.
MEANS = {
    "all": [
        [
            166,
            159,
            153,
            168,
            163,
            162,
            169,
            169,
            170,
            178,
            176,
            178,
            185,
            183,
            183,
            191,
            189,
            189,
            199,
            195,
            196,
            205,
            201,
            202,
            214,
            211,
            206,
            232,
            223,
            213,
            237,
            227,
            217,
            243,
            233,
            223,
        ],
        [
            199,
            189,
            180,
            186,
            183,
            180,
            186,
            182,
            182,
            186,
            182,
            182,
            185,
            182,
            181,
            192,
            184,
            182,
            212,
            204,
            196,
            246,
            246,
            246,
        ],
    ],
    "without": [
        [
            167,
            160,
            154,
            169,
            164,
            164,
            173,
            170,
            173,
            180,
            176,
            179,
            188,
            184,
            185,
            194,
            189,
            191,
            200,
            195,
            197,
            206,
            201,
            203,
            218,
            211,
            209,
            232,
            223,
            213,
            240,
            230,
            220,
            247,
            237,
            226,
        ],
        [
            199,
            189,
            180,
            190,
            183,
            183,
            188,
            182,
            183,
            188,
            182,
            183,
            188,
            182,
            183,
            192,
            184,
            182,
            212,
            204,
            196,
            253,
            253,
            253,
        ],
    ],
    "crowded": [
        [
            166,
            159,
            153,
            166,
            162,
            163,
            165,
            166,
            172,
            173,
            173,
            180,
            179,
            179,
            185,
            186,
            185,
            190,
            200,
            196,
            196,
            216,
            209,
            200,
            221,
            215,
            205,
            232,
            223,
            213,
            237,
            227,
            217,
            243,
            233,
            223,
        ],
        [
            199,
            189,
            180,
            182,
            180,
            182,
            181,
            179,
            184,
            182,
            179,
            184,
            189,
            185,
            180,
            199,
            189,
            180,
            212,
            204,
            196,
            246,
            246,
            246,
        ],
    ],
    "narrow": [
        [
            253,
            253,
            253,
            252,
            252,
            252,
            252,
            252,
            252,
            186,
            179,
            174,
            181,
            174,
            166,
            192,
            187,
            180,
            208,
            201,
            194,
            221,
            215,
            207,
            238,
            232,
            224,
            253,
            253,
            253,
            254,
            254,
            254,
            252,
            252,
            252,
        ],
        [
            228,
            223,
            220,
            219,
            219,
            219,
            227,
            224,
            218,
            228,
            224,
            219,
            227,
            224,
            218,
            229,
            224,
            219,
            230,
            226,
            221,
            240,
            240,
            240,
        ],
    ],
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(name: str) -> None:
    """Up to a level or two, as fonts and JPEG may be rounded otherwise."""
    picture = drawn(**PICTURES[name])
    assert picture.shape == SIZES[name]
    for found, want in zip(means(picture), MEANS[name], strict=True):
        np.testing.assert_allclose(found, want, atol=2)


@pytest.mark.parametrize(
    ("microns", "length", "name"),
    [
        (1, 1, "1 µm"), (1.99, 1, "1 µm"), (2, 2, "2 µm"), (4.99, 2, "2 µm"), (5, 5, "5 µm"), (9.99, 5, "5 µm"),
        (10, 10, "10 µm"), (999, 500, "500 µm"), (1000, 1000, "1 mm"), (20_000, 20_000, "20 mm"), (0.3, 0.2, "0.2 µm"),
    ],
)  # fmt: skip
def test_scale_bars_have_round_lengths(microns: float, length: float, name: str) -> None:
    found, told = _round_length(microns)
    assert (round(found, 9), told) == (length, name)


def test_long_names_lose_their_middle() -> None:
    font = _font(17)
    name = "abcdefghij" * 5
    whole = font.getlength(name)
    assert _cut(name, font, whole) == name
    assert _cut("a  b\n c", font, 1000) == "a b c"
    for room in (whole - 1, whole / 2, whole / 7):
        shown = _cut(name, font, room)
        first, mark, last = shown.partition("…")
        assert mark
        assert font.getlength(shown) <= room
        assert name.startswith(first)
        assert name.endswith(last)
        assert len(first) - len(last) in (0, 1)
        longer = len(first) + len(last) + 1
        assert font.getlength(f"{name[: (longer + 1) // 2]}…{name[len(name) - longer // 2 :]}") > room
    assert _cut(name, font, 0) == "a…"
