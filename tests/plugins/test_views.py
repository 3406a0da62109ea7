"""Views: a box, resized as Pillow does it, flipped, coloured, blurred and normalised in one pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins.colour_stages import Colour, stage_numbers
from cellmix_dali.plugins.dali import Pipeline, fn, types
from cellmix_dali.plugins.engines.cpu import CompiledOnCpu
from cellmix_dali.plugins.engines.engine import Normalisation
from cellmix_dali.plugins.engines.view_check import view_check
from cellmix_dali.plugins.view_nodes import ViewNodes, plainly_resized, plainly_viewed
from cellmix_dali.plugins.views import viewed

LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}
GEOMETRY = [[0, 0, 61, 70, 0, 0, 0], [7, 3, 20, 33, 1, 0, 1.7], [30, 30, 31, 31, 0, 1, 0.4], [5, 9, 2, 1, 1, 1, 0]]


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose neighbours are alike, as those of slides."""
    noise = np.random.default_rng(1).random((height // 6 + 2, width // 6 + 2, 3)) * 175 + 40
    picture = Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def made(images: NDArray[np.uint8], geometry: list[list[float]], size: int, **given: Any) -> NDArray[np.float64]:
    """Views of some images, HWC."""
    colours = {name: given.pop(name) for name in ("before", "after") if name in given}
    cubic = given.pop("cubic", False)
    numbers = np.array(geometry, np.float32)
    pipeline = Pipeline(batch_size=len(images), num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, layout="HWC", dtype=types.UINT8)
        drawn = fn.external_source(lambda: numbers, batch=True, dtype=types.FLOAT)
        nodes = {
            name: Colour(kinds, fn.external_source(itertools.repeat(own), batch=True, dtype=types.FLOAT))
            for name, (kinds, own) in colours.items()
        }
        pipeline.set_outputs(viewed(node, ViewNodes(size, drawn, **nodes, cubic=cubic), **{**LEVELS, **given}))
    pipeline.build()
    return np.array(pipeline.run()[0].as_array()).astype(np.float64).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(("height", "width"), [(90, 61), (30, 41), (19, 7)])
def test_the_reference_resizes_as_pillow(height: int, width: int, cubic: bool) -> None:
    picture = smooth(height, width)
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    want = np.asarray(Image.fromarray(picture).resize((30, 30), kind)).astype(float)
    got = np.clip(plainly_resized(picture.astype(np.float64), 30, cubic=cubic), 0, 255)
    assert np.abs(got - want).max() <= 1.01  # Pillow rounds between its two passes


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("size", [24, 37, 5])
def test_the_pass_makes_what_the_reference_makes(size: int, cubic: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 61, 70, 3), dtype=np.uint8)
    matrix = stage_numbers(4, matrix=[[0.9, 0.2, -0.1], [-0.2, 1.1, 0.1], [0.1, -0.3, 1.2]], offset=[9.0, -7.0, 3.0])
    density = stage_numbers(4, active=[1, 0, 1, 1], scale=1.1, shift=0.05)
    before = ("affine", "density"), np.stack([matrix, density], axis=1)
    after = ("affine",), stage_numbers(4, active=[1, 1, 0, 1], offset=-20.0)[:, None]
    got = made(images, GEOMETRY, size, before=before, after=after, cubic=cubic)
    for place, view in enumerate(got):
        want = plainly_viewed(
            images[place],
            size,
            GEOMETRY[place],
            before=(before[0], before[1][place]),
            after=(after[0], after[1][place]),
            cubic=cubic,
        )
        # A level that is rounded the other way is at most 1.3 levels after the matrix, then rounded.
        assert np.abs(view - want).max() <= 2.01
        assert np.abs(view - want).mean() < 0.1


def test_a_whole_image_of_the_views_size_stays_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    whole: list[list[float]] = [[0, 0, 32, 32, 0, 0, 0], [0, 0, 32, 32, 1, 1, 0]]
    got = made(images, whole, 32)
    np.testing.assert_array_equal(got[0], images[0])
    np.testing.assert_array_equal(got[1], images[1, ::-1, ::-1])


def test_half_numbers_are_those_of_floats_rounded() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 61, 70, 3), dtype=np.uint8)
    how = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    floats, halves = (made(images, GEOMETRY, 21, dtype=dtype, **how) for dtype in ("float32", "float16"))
    np.testing.assert_array_equal(floats.astype(np.float16), halves)


def test_operators_one_after_the_other_make_nearly_the_same() -> None:
    """But for the border, whose filters differ, and rounding between them."""
    images = np.stack([smooth(61, 70)] * 4)
    bright = ("affine",), stage_numbers(4, offset=20.0)[:, None]
    one, several = (
        made(images, GEOMETRY[:3] + GEOMETRY[:1], 24, before=bright, engine=name) for name in ("numba", "native")
    )
    assert np.abs(one - several)[:, 8:-8, 8:-8].max() <= 2


def test_measured_colours_are_changed_too() -> None:
    """They depend on all of the view, so they need passes of their own."""
    images = np.stack([smooth(61, 70)] * 4)
    numbers = stage_numbers(4)[:, None]
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, layout="HWC", dtype=types.UINT8)
        drawn = fn.external_source(lambda: np.array(GEOMETRY[:1] * 4, np.float32), batch=True)
        colour = Colour(("stretch",), fn.external_source(lambda: numbers, batch=True), measured=True)
        pipeline.set_outputs(viewed(node, ViewNodes(24, drawn, colour), **LEVELS))
    pipeline.build()
    got = np.array(pipeline.run()[0].as_array())
    assert (got.min(), got.max()) == (0, 255)


def test_an_engine_that_makes_wrong_views_is_refused() -> None:
    class Wrong(CompiledOnCpu):
        def view(self, images: Any, view: ViewNodes, how: Normalisation) -> Any:
            return super().view(images, view._replace(cubic=not view.cubic), how)

    with pytest.raises(CellMixDaliError, match="made views wrongly on the CPU in its self-check"):
        view_check(Wrong(), False, "float32")


def test_wrong_arguments_are_refused() -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(ArgumentError, match="dtype"):
        made(images, GEOMETRY[:1], 4, dtype="float64")
    with pytest.raises(ArgumentError, match="at least one pixel"):
        made(images, GEOMETRY[:1], 0)
