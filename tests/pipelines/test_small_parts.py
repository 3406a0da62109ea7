"""Parts of the graphs by themselves, at their limits and with unequal axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali import TileTable
from cellmix_dali._arguments import SHARE_TOLERANCE
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines._cutting import _last_rows
from cellmix_dali.pipelines._halving import _resized, halving
from cellmix_dali.pipelines._tissue import check_saturation, tissue_share_node
from cellmix_dali.plugins.dali import Pipeline, fn, types
from cellmix_dali.plugins.labels import mix_labels, soft_rows
from cellmix_dali.slides import Level


def run(define: Callable[..., Any], *batches: NDArray[Any], layout: str | None = None) -> list[NDArray[Any]]:
    """The outputs of a small graph on the CPU, a batch each."""
    kinds = {"uint8": types.UINT8, "int64": types.INT64, "int32": types.INT32, "float32": types.FLOAT}
    pipeline = Pipeline(batch_size=len(batches[0]), num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        given = [
            fn.external_source(name=f"in{number}", dtype=kinds[of.dtype.name], ndim=of.ndim - 1, layout=layout)
            for number, of in enumerate(batches)
        ]
        made = define(*given)
        pipeline.set_outputs(*(made if isinstance(made, tuple) else (made,)))
    pipeline.build()
    named = {f"in{number}": of for number, of in enumerate(batches)}
    return [np.stack([np.asarray(each) for each in out]) for out in pipeline.run(**named)]


@pytest.mark.parametrize("seed", range(6))
def test_the_last_row_that_needs_a_block(seed: int) -> None:
    """Against every window's blocks, found one by one."""
    random = np.random.default_rng(seed)
    wide, high = (int(n) for n in random.integers(4, 13, 2))
    width, height = (int(n) for n in random.integers(20, 90, 2))
    columns, rows = -(-width // wide), -(-height // high)
    level = Level(width, height, 1.0, wide, high, columns, rows, "jpeg", "rgb")
    x, y = random.integers(0, width, 30), random.integers(0, height, 30)
    table = TileTable.from_columns("a.svs", x=x, y=y, size=random.integers(1, 30, 30))
    want = np.full((rows, columns), -1)
    for row in range(30):
        left, top, side = int(table.x[row]), int(table.y[row]), int(table.size[row])
        for line in range(rows):
            for column in range(columns):
                across = column * wide < left + side and left < (column + 1) * wide
                if across and line * high < top + side and top < (line + 1) * high:
                    want[line, column] = row
    np.testing.assert_array_equal(_last_rows(level, table), want)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_images_are_halved_as_dali_does(size: int) -> None:
    halve = halving(size)
    assert halve is not None
    for seed in range(3):
        window = np.random.default_rng(seed).integers(0, 256, (2 * size, 2 * size, 3), np.uint8)
        image = np.empty((size, size, 3), np.uint8)
        halve(window, image)
        np.testing.assert_array_equal(image, _resized(window[None], size)[0])


def tissue_share(pixels: NDArray[np.uint8], saturation: int) -> list[float]:
    (shares,) = run(lambda images: tissue_share_node(images, pixels.shape[1], saturation), pixels, layout="HWC")
    return [float(of) for of in shares.ravel()]


def test_a_pixel_is_tissue_above_the_saturation_and_from_black_on() -> None:
    colours = [
        (255, 235, 235),
        (255, 234, 240),
        (40, 0, 20),
        (39, 0, 0),
        (235, 255, 234),
        (235, 236, 255),
        (51, 47, 47),
    ]
    of = np.array(colours, np.uint8)[:, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    assert tissue_share(of, 20) == [0, 1, 1, 0, 1, 0, 0]
    assert tissue_share(of, 19) == [1, 1, 1, 0, 1, 1, 1]
    assert tissue_share(of, 255) == [0] * 7
    half = np.full((1, 3, 3, 3), 240, np.uint8)
    half[0, 0, :2] = (200, 100, 150)
    assert tissue_share(half, 20) == [pytest.approx(2 / 9)]


@pytest.mark.parametrize("side", [31, 32, 33, 64, 100])
def test_tissue_is_looked_at_on_a_raster_of_32(side: int) -> None:
    random = np.random.default_rng(side)
    tissue = random.random((2, side, side)) < 0.4
    of = np.where(tissue[..., None], (200, 100, 150), (240, 240, 240)).astype(np.uint8)
    raster = min(side, 32)
    at = ((np.arange(raster) + 0.5) * side / raster).astype(int)
    want = tissue[:, at][:, :, at].mean((1, 2))
    np.testing.assert_allclose(tissue_share(of, 20), want, atol=1e-6)


def test_saturations_at_their_limits() -> None:
    assert [check_saturation(value) for value in (0, 255)] == [0, 255]
    for value in (-1, 256):
        with pytest.raises(ArgumentError, match=f"saturation={value} is out of range"):
            check_saturation(value)


@pytest.mark.parametrize(
    ("row", "passes"),
    [
        ([0.2, 0.3, 0.5], True),
        ([0, 0, 1], True),
        ([0.5, 0.5 + 0.9 * SHARE_TOLERANCE, 0], True),
        ([0.5, 0.5 + 1.1 * SHARE_TOLERANCE, 0], False),
        ([0.5, 0.5 - 0.9 * SHARE_TOLERANCE, 0], True),
        ([0.5, 0.5 - 1.1 * SHARE_TOLERANCE, 0], False),
        ([1.1, -0.1, 0], False),
        ([-1e-6, 1, 0], False),
        ([float("nan"), 1, 0], False),
        ([0, 0, 0], False),
    ],
)
def test_soft_labels_in_the_graph_at_their_limits(row: list[float], passes: bool) -> None:
    labels = np.array([[0.2, 0.3, 0.5], row], np.float32)
    if passes:
        (found,) = run(lambda of: soft_rows(of, 3, soft=True), labels)
        np.testing.assert_array_equal(found, labels)
    else:
        with pytest.raises(RuntimeError):
            run(lambda of: soft_rows(of, 3, soft=True), labels)


def test_class_indices_in_the_graph_at_their_limits() -> None:
    (found,) = run(lambda of: soft_rows(of, 3, soft=False), np.array([[0], [2], [1]]))
    np.testing.assert_array_equal(found, np.eye(3)[[0, 2, 1]])
    for wrong in (-1, 3):
        with pytest.raises(RuntimeError):
            run(lambda of: soft_rows(of, 3, soft=False), np.array([[0], [wrong], [1]]))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("batch", "classes"), [(2, 5), (5, 2), (1, 3)])
def test_labels_are_the_mixing_matrix_times_the_batchs(batch: int, classes: int, soft: bool) -> None:
    random = np.random.default_rng(batch)
    weights = random.dirichlet(np.ones(batch), batch).astype(np.float32)
    labels: NDArray[Any] = random.integers(0, classes, (batch, 1))
    rows = np.eye(classes)[labels[:, 0]]
    if soft:
        rows = random.dirichlet(np.ones(classes), batch).astype(np.float32)
        labels = rows
    (found,) = run(lambda of, by: mix_labels(of, by, classes, soft=soft), labels, weights)
    np.testing.assert_allclose(found, weights @ rows, atol=1e-5)
