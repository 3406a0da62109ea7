"""What is tissue and what is ink on pictures of every kind, cell by cell as it was when the thresholds were set.

The thresholds were chosen by looking at real thumbnails; what they do is in these numbers. Whoever changes one on
purpose looks at pictures again, and writes down the new numbers: ``print(recorded())``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cellmix_dali.tissue.glass import glass_of
from cellmix_dali.tissue.ink import ink_mask
from cellmix_dali.tissue.methods import METHODS

CELLS = 6, 8  # of 40 x 36 pixels
HIGH, WIDE = 40, 36
# What stains absorb of red, green and blue light; the last is grey, as dust and shadows are.
STAINS = np.array([(0.65, 0.70, 0.29), (0.09, 0.86, 0.33), (0.27, 0.57, 0.78), (0.80, 0.58, 0.15), (0.58, 0.58, 0.57)])
STRENGTHS = np.array([0.03, 0.06, 0.1, 0.2, 0.5, 1.2])
PENS = np.array([(0.42, 0.60, 0.88), (0.3, 0.3, 0.8), (0.35, 0.66, 0.60), (0.9, 0.2, 0.3), (0.06, 0.06, 0.06)])


def stained(glass: tuple[float, float, float], *, noise: float = 1.2, thin: bool = False) -> NDArray[np.uint8]:
    """Five stains, across the stronger, on glass; below them pens, white that a scanner left out, and black."""
    random = np.random.default_rng(8)
    light = np.ones((CELLS[0] * HIGH, CELLS[1] * WIDE, 3))
    for row, stain in enumerate(STAINS):
        for column, strength in enumerate(STRENGTHS):
            top, left = row * HIGH + 6, (column + 1) * WIDE
            cell = light[top : top + HIGH - 12, left : left + WIDE]
            grain = random.uniform(0.4, 1.6, (*cell.shape[:2], 1))
            shown = random.random((*cell.shape[:2], 1)) < (0.35 if thin else 1)
            cell *= np.where(shown, 10.0 ** (-strength * grain * stain), 1.0)
    for column, pen in enumerate(PENS):
        top, left = 5 * HIGH + 12, (column + 1) * WIDE
        light[top : top + 16, left + 4 : left + WIDE - 4] *= pen
        light[top + 4 : top + 12, left + 8 : left + 20] *= 0.4 * pen
    picture = light * glass + random.normal(0, noise, light.shape)
    picture[:, -14:], picture[-6:, :20] = 255, 10
    whole = Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    return np.asarray(whole.filter(ImageFilter.GaussianBlur(0.6)))


def colours() -> NDArray[np.uint8]:
    """Every colour of a coarse cube, in patches of 5 pixels on glass: what is ink and what is not."""
    steps = np.linspace(8, 250, 9)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(27, 27, 3)
    patches = np.repeat(np.repeat(cube, 9, axis=0), 11, axis=1)
    return np.rint(patches[: CELLS[0] * HIGH, : CELLS[1] * WIDE]).astype(np.uint8)


@cache
def pictures() -> dict[str, NDArray[np.uint8]]:
    return {
        "usual": stained((243, 243, 243)),
        "yellow, thin": stained((240, 236, 205), thin=True),
        "dim, noisy": stained((165, 164, 163), noise=4.0),
        "pale pink": stained((244, 238, 242)),
        "pink": stained((244, 232, 242)),
        "colours": colours(),
    }


def counts(mask: NDArray[np.bool_]) -> list[int]:
    """Pixels of each row and each column of cells."""
    rows, columns = mask.shape[0] // CELLS[0], mask.shape[1] // CELLS[1]
    cells = mask[: rows * CELLS[0], : columns * CELLS[1]].reshape(CELLS[0], rows, CELLS[1], columns).sum((1, 3))
    return [*cells.sum(1).tolist(), *cells.sum(0).tolist()]


LOOKS = {"density": METHODS["density"], "saturation": METHODS["saturation"], "ink": ink_mask}


def recorded() -> dict[str, dict[str, list[int]]]:
    return {name: {look: counts(find(picture)) for look, find in LOOKS.items()} for name, picture in pictures().items()}


# Tissue and ink by row of cells, then by column.
MASKS = {
    "usual": {
        "density": [7768, 8158, 7517, 3058, 0, 1248, 0, 3801, 5799, 5050, 4801, 4140, 4046, 112],
        "saturation": [3068, 4173, 3192, 528, 0, 1136, 0, 0, 548, 1521, 3515, 3168, 3246, 99],
        "ink": [0, 0, 0, 4404, 0, 2948, 236, 932, 46, 1346, 1320, 2074, 1271, 127],
    },
    "yellow, thin": {
        "density": [4837, 6068, 5827, 5567, 0, 1248, 0, 25, 3646, 3939, 5064, 5393, 5333, 147],
        "saturation": [779, 2264, 1375, 1792, 0, 1140, 0, 0, 536, 0, 991, 2579, 3244, 0],
        "ink": [0, 0, 0, 0, 0, 2825, 212, 860, 24, 936, 24, 769, 0, 0],
    },
    "dim, noisy": {
        "density": [5947, 6698, 6323, 6073, 0, 1954, 0, 946, 4274, 4351, 6163, 5602, 5485, 174],
        "saturation": [3040, 4271, 3782, 3919, 0, 1669, 0, 528, 587, 2271, 4565, 4246, 4361, 123],
        "ink": [0, 0, 0, 0, 0, 1357, 175, 0, 0, 549, 0, 633, 0, 0],
    },
    "pale pink": {
        "density": [7757, 8159, 7693, 4634, 0, 1248, 0, 3788, 5799, 5601, 6002, 4140, 4047, 114],
        "saturation": [3135, 4879, 3470, 1680, 0, 1156, 0, 0, 1098, 2038, 4534, 3241, 3305, 104],
        "ink": [0, 0, 0, 2684, 0, 2931, 234, 927, 40, 932, 149, 1983, 1248, 102],
    },
    "pink": {
        "density": [10840, 10840, 10840, 8164, 9945, 7990, 8426, 7788, 8586, 7708, 8500, 6650, 6503, 4458],
        "saturation": [4008, 5368, 3470, 1742, 0, 1231, 0, 0, 1526, 2947, 4621, 3309, 3307, 109],
        "ink": [0, 0, 0, 2675, 0, 2818, 214, 852, 22, 932, 140, 1983, 1248, 102],
    },
    "colours": {
        "density": [0, 258, 1515, 3391, 6109, 4870, 1123, 2217, 2714, 1017, 2388, 2249, 2113, 2322],
        "saturation": [0, 258, 1515, 3391, 6109, 4870, 1123, 2217, 2714, 1017, 2388, 2249, 2113, 2322],
        "ink": [11345, 11098, 9838, 8024, 5442, 6250, 7452, 6225, 5867, 7542, 6051, 6275, 6530, 6055],
    },
}
# Its colour, and pixels of glass on the sample.
GLASS = {
    "usual": ([243, 243, 243], 19196),
    "yellow, thin": ([240, 236, 205], 21115),
    "dim, noisy": ([165, 164, 163], 2646),
    "pale pink": ([244, 238, 242], 4737),
    "pink": ([255, 255, 255], 2640),
    "colours": None,
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("look", LOOKS)
def test_masks_are_as_they_were(name: str, look: str) -> None:
    """Up to a few pixels, as other processors may round otherwise."""
    np.testing.assert_allclose(counts(LOOKS[look](pictures()[name])), MASKS[name][look], rtol=0.01, atol=12)


@pytest.mark.parametrize("name", GLASS)
def test_glass_is_as_it_was(name: str) -> None:
    found, want = glass_of(pictures()[name]), GLASS[name]
    assert (found is None) == (want is None)
    if found is not None and want is not None:
        np.testing.assert_allclose(found[0], want[0], atol=1)
        assert int(found[1].sum()) == pytest.approx(want[1], rel=0.01)


def test_a_large_picture_is_looked_at_in_a_sample() -> None:
    """Beyond 1024 pixels: as many as at that, whichever side is the longer."""
    small = pictures()["usual"]
    for size, sample in (((1024, 40), (1024, 40)), ((1025, 40), (513, 20)), ((40, 2049), (14, 683))):
        found = glass_of(np.asarray(Image.fromarray(small).resize(size[::-1])))
        assert found is not None
        assert found[1].shape == found[2].shape[:2] == sample
