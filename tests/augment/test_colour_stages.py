"""Stages of colour: engines against float64, and float64 against the libraries whose arithmetic it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from changed import pictures
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.augment.colour_jitter import colour_matrix
from cellmix_dali.augment.hed_jitter import HED_UNIT, RGB_FROM_HED, hed_numbers
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CellMix
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.blur import blurred
from cellmix_dali.plugins.colour import coloured
from cellmix_dali.plugins.colour_stages import KINDS, NOISE_KEYS, Colour, plainly, stage_numbers
from cellmix_dali.plugins.normalise import normalise

MATRIX = np.array([[0.9, 0.15, 0.05], [-0.1, 1.2, 0.02], [0.2, -0.3, 1.1]])
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "affine": ("affine", {"matrix": MATRIX, "offset": [3.3, -5.7, 9.1]}),
    "affine, cut off": ("affine", {"matrix": 2.5 * MATRIX, "offset": [-40.2, -90.3, 10.4]}),
    "density": ("density", {"matrix": MATRIX, "offset": 0.1, "scale": [1.1, 0.8, 1.3], "shift": [0.05, -0.1, 0.2]}),
    "density, back": ("density", {"matrix": MATRIX, "offset": -9.0, "back": np.linalg.inv(MATRIX), "scale": 1.2}),
    "density, measured": ("density", {"scale": [0.4, 0.3, 0.2], "shift": [0.6, 0.8, 0.5], "measured": True}),
    "lab": ("lab", {"scale": [0.8, 1.3, 1.1], "shift": [20.0, -40.0, 5.0]}),
    "lab, measured": ("lab", {"scale": [30.0, 8.0, 6.0], "shift": [158.0, 150.0, 117.0], "measured": True}),
    "hsv": ("hsv", {"scale": [1.2, 0.8, 1.1], "shift": [7.0, 9.0, -20.0]}),
    "hsv, hue beyond the circle": ("hsv", {"scale": [1.4, 1.0, 1.0], "shift": [5.0, 0.0, 0.0]}),
    "hsv, measured": ("hsv", {"scale": [12.0, 30.0, 32.0], "shift": [144.0, 80.0, 185.0], "measured": True}),
    "solarise": ("solarise", {"offset": 100.0}),
    "stretch": ("stretch", {}),
    "noise": ("noise", {"offset": [9.0, NOISE_KEYS - 1.0, 0.0]}),
    "stain": ("stain", {"matrix": MATRIX, "offset": [0.1, -0.2, 0.05]}),
}


def run(images: NDArray[np.uint8], numbers: NDArray[np.float32], define: Any) -> NDArray[Any]:
    """What a graph of images and numbers gives for one batch."""
    pipeline = Pipeline(batch_size=len(images), num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        pipeline.set_outputs(*define(node, fn.external_source(lambda: numbers, batch=True, dtype=types.FLOAT)))
    pipeline.build()
    return np.array(pipeline.run()[0].as_array())


def levels_apart(got: NDArray[Any], want: NDArray[Any]) -> int:
    return int(np.abs(got.astype(np.int16) - want).max())


@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize("case", CASES)
def test_each_stage_is_that_of_float64(case: str, engine: str) -> None:
    """Every second sample is not changed at all, to the bit; sides are no multiples of a vector's length."""
    kind, given = CASES[case]
    images = pictures(4, 19, 37) // (2 if kind == "stretch" else 1)
    numbers = np.stack([stage_numbers(1, active=sample % 2 == 0, **given) for sample in range(4)])
    got = run(images, numbers, lambda node, own: [coloured(node, Colour((kind,), own), engine=engine)])
    want = np.stack([plainly(image, (kind,), own) for image, own in zip(images, numbers, strict=True)])
    assert levels_apart(got, want) <= 1
    assert (got != want).mean() < 0.02  # what lies on the border between two levels
    np.testing.assert_array_equal(got[1::2], images[1::2])
    assert (want[::2] != images[::2]).mean() > 0.3


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_stages_follow_one_another_without_rounding(engine: str) -> None:
    kinds = ("density", "affine", "lab", "noise", "solarise")
    images, chosen = pictures(3, 16, 24), ["density", "affine", "lab", "noise", "solarise"]
    numbers = np.stack([np.concatenate([stage_numbers(1, **CASES[name][1]) for name in chosen])] * 3)
    got = run(images, numbers, lambda node, own: [coloured(node, Colour(kinds, own), engine=engine)])
    want = np.stack([plainly(image, kinds, own) for image, own in zip(images, numbers, strict=True)])
    apart = np.abs(got.astype(np.int16) - want)
    # At a threshold the least difference inverts a value.
    assert np.quantile(apart, 0.98) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("size", [(24, 40), (20, 36)])
def test_one_pass_changes_mixes_and_normalises(dtype: str, size: tuple[int, int]) -> None:
    """Each patch is changed by the numbers of the sample it comes from; the noise goes with its pixels."""
    images = pictures(4, *size)
    kinds = ("density", "affine", "noise")
    given = [CASES["density"][1], CASES["affine"][1], CASES["noise"][1]]
    numbers = np.stack(
        [
            np.concatenate(
                [stage_numbers(1, active=(sample + stage) % 3 > 0, **each) for stage, each in enumerate(given)]
            )
            for sample in range(4)
        ]
    )
    mixer = CellMix("CellMix-All")
    steering: dict[str, Any] = {"patch_size": 4, "fix_ratio": 0.4}

    def define(node: Any, own: Any) -> list[Any]:
        plan = PlanSource(mixer, tile_size=size, batch_size=4, **steering).nodes()
        options: dict[str, Any] = {"mean": [0.0] * 3, "std": [1 / 255] * 3, "dtype": dtype, "engine": "numba"}
        result = normalise(node, plan=plan, colour=Colour(kinds, own), **options)
        return [result, plan.weights, plan.parameters]

    changed = np.stack([plainly(image, kinds, own) for image, own in zip(images, numbers, strict=True)])
    want = mixer.draw(4, size, **steering, epoch=0, iteration=0).apply(changed)
    got = run(images, numbers, define)
    assert got.dtype == dtype
    assert np.abs(got.astype(np.float64).transpose(0, 2, 3, 1) - want).max() <= 1.001
    assert (np.rint(got.astype(np.float64).transpose(0, 2, 3, 1)) != want).mean() < 0.01


def test_hed_is_that_of_skimage() -> None:
    """`rgb2hed`, a factor and a shift, `hed2rgb`, in float64."""
    color = pytest.importorskip("skimage.color")
    image, scale, shift = pictures(1)[0], np.array([1.15, 0.9, 1.05]), np.array([0.01, -0.02, 0.015])
    want = 255 * color.hed2rgb(color.rgb2hed(image) * scale + shift)
    numbers = hed_numbers(1, scale=scale, shift=shift * HED_UNIT)
    assert np.abs(plainly(image, ("density",), numbers) - want).max() <= 0.51
    np.testing.assert_allclose(RGB_FROM_HED, color.rgb_from_hed)


def test_lab_is_that_of_skimage() -> None:
    color = pytest.importorskip("skimage.color")
    image, scale, shift = pictures(1)[0], np.array([0.9, 1.1, 1.2]), np.array([10.0, -8.0, 6.0])
    lab = color.rgb2lab(image) * [2.55, 1, 1] + [0, 128, 128]
    lab = np.clip(lab * scale + shift, 0, 255)
    want = 255 * color.lab2rgb((lab - [0, 128, 128]) / [2.55, 1, 1])
    got = plainly(image, ("lab",), stage_numbers(1, scale=scale, shift=shift))
    assert np.abs(got - want).max() <= 0.52


def test_hsv_is_that_of_the_standard_library() -> None:
    import colorsys

    image, scale, shift = pictures(1, 9, 11)[0], np.array([0.5, 0.8, 1.1]), np.array([70.0, 9.0, -20.0])
    got = plainly(image, ("hsv",), stage_numbers(1, scale=scale, shift=shift))
    for pixel, found in zip(image.reshape(-1, 3), got.reshape(-1, 3), strict=True):
        hsv = np.array(colorsys.rgb_to_hsv(*(pixel / 255))) * [180, 255, 255]
        hue, saturation, value = np.clip(hsv * scale + shift, 0, 255) / [180, 255, 255]
        np.testing.assert_allclose(found, 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)), atol=0.51)


def test_colour_jitter_is_that_of_dali() -> None:
    images = pictures(5)
    brightness, contrast, saturation, hue = np.array(
        [
            [1.3, 0.8, 1.0, 1.1, 0.9],
            [0.7, 1.2, 1.0, 1.0, 1.4],
            [1.0, 0.4, 1.6, 0.0, 1.2],
            [0.0, 30.0, -45.0, 170.0, 8.0],
        ]
    )
    given = np.stack([brightness, contrast, saturation, hue], axis=1).astype(np.float32)
    want = run(
        images, given, lambda node, own: [
            fn.color_twist(node, brightness=own[0], contrast=own[1], saturation=own[2], hue=own[3])
        ],
    )  # fmt: skip
    matrix, offset = colour_matrix(brightness, contrast, saturation, hue)
    numbers = stage_numbers(5, matrix=matrix, offset=offset)[:, None]
    got = run(images, numbers, lambda node, own: [coloured(node, Colour(("affine",), own))])
    assert levels_apart(got, want) <= 1


def test_noise_is_normal_and_independent() -> None:
    image = np.full((256, 320, 3), 128, np.uint8)
    noise = plainly(image, ("noise",), stage_numbers(1, offset=[20.0, 77.0, 0.0])).astype(float) - 128
    other = plainly(image, ("noise",), stage_numbers(1, offset=[20.0, 78.0, 0.0])).astype(float) - 128
    assert abs(noise.mean()) < 0.2
    assert abs(noise.std() - 20) < 0.2
    for share, deviations in ((0.8413, 1.0), (0.975, 1.96), (0.0228, -2.0)):
        assert abs(np.quantile(noise, share) - 20 * deviations) <= 1.5
    for shifted in (noise[1:], noise[:, 1:], noise[..., 1:], other):
        together = noise[tuple(slice(side) for side in shifted.shape)]
        assert abs(np.corrcoef(together.ravel(), shifted.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize(("sigma", "weight"), [(0.4, 0.0), (1.3, 0.0), (2.0, 1.8), (6.0, 0.5)])
def test_blur(engine: str, sigma: float, weight: float) -> None:
    """Against a Gaussian of scipy, 3 deviations wide, on sides that are shorter than it and unequal."""
    ndimage = pytest.importorskip("scipy.ndimage")
    images = pictures(2, 21, 33)
    radius = int(np.ceil(3 * sigma))
    smooth = ndimage.gaussian_filter(images.astype(float), sigma, axes=(1, 2), mode="mirror", radius=radius)
    want = np.clip(weight * images + (1 - weight) * smooth, 0, 255)
    got = run(
        images, np.zeros((2, 1), np.float32),
        lambda node, own: [blurred(node, sigma, image_weight=weight, engine=engine), own],
    )  # fmt: skip
    assert np.abs(got - want).max() <= 1


def test_stages_that_cannot_be() -> None:
    numbers = stage_numbers(1)[:, None]
    with pytest.raises(ArgumentError, match="kind of stage"):
        run(pictures(1), numbers, lambda node, own: [coloured(node, Colour(("hue",), own))])
    with pytest.raises(ArgumentError, match="at least one stage"):
        run(pictures(1), numbers, lambda node, own: [coloured(node, Colour((), own))])
    assert len(KINDS) == len(set(KINDS)) == 8
