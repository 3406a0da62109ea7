"""Regions of plans as tables of cells, against a painter that lays one region over the other; and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins.engines.cell_table import cell_tables, tables_of_batch
from cellmix_dali.plugins.engines.engine import Normalisation


def painted(regions: NDArray[np.int32], height: int, width: int) -> NDArray[np.int64]:
    """Of each pixel the sample, the row and the column that it comes from."""
    batch = len(regions)
    found = np.stack(np.meshgrid(range(batch), range(height), range(width), indexing="ij"), axis=-1)
    for sample, own in enumerate(regions):
        for source, y, x, top, left, tall, wide in own.tolist():
            part = found[sample, top : top + tall, left : left + wide]
            part[..., 0] = source
            part[..., 1] = y + np.arange(tall)[:, None]
            part[..., 2] = x + np.arange(wide)
    return found


def looked_up(tables: NDArray[np.int32], height: int, width: int) -> NDArray[np.int64]:
    """The same by the tables, as the kernel looks it up."""
    found = np.empty((len(tables), height, width, 3), np.int64)
    for sample, table in enumerate(tables):
        for row in range(height):
            for column in range(width):
                cell = height + width + 2 * (table[row] + table[height + column])
                byte = 3 * (row * width + column) + table[cell + 1]
                assert byte % 3 == 0
                found[sample, row, column] = table[cell], *divmod(byte // 3, width)
    return found


@pytest.mark.parametrize(("height", "width"), [(7, 11), (11, 7), (1, 5), (5, 1)])
def test_every_pixel_comes_from_where_the_last_region_says(height: int, width: int) -> None:
    random = np.random.default_rng(height)
    for count in (0, 1, 2, 5):
        regions = np.zeros((3, count, 7), np.int32)
        for region in regions.reshape(-1, 7):
            tall, wide = random.integers(0, height + 1), random.integers(0, width + 1)
            y, top = random.integers(0, height - tall + 1, 2)
            x, left = random.integers(0, width - wide + 1, 2)
            region[:] = random.integers(0, 3), y, x, top, left, tall, wide
        tables = cell_tables(regions, height, width)
        assert tables.dtype == np.int32
        np.testing.assert_array_equal(looked_up(tables, height, width), painted(regions, height, width))
        shapes = [np.array([height, width, 3])] * 3
        np.testing.assert_array_equal(tables_of_batch(list(regions), shapes), tables)


def test_tables_are_as_long_as_the_most_cells_need() -> None:
    one, four = [1, 0, 0, 0, 0, 4, 6], [1, 0, 0, 1, 2, 2, 2]
    assert cell_tables(np.array([[one], [one]]), 4, 6).shape == (2, 4 + 6 + 2 * 1)
    assert cell_tables(np.array([[one], [four]]), 4, 6).shape == (2, 4 + 6 + 2 * 9)
    corner = [1, 0, 0, 2, 3, 2, 3]
    assert cell_tables(np.array([[corner], [one]]), 4, 6).shape == (2, 4 + 6 + 2 * 4)


@pytest.mark.parametrize("field", range(7))
def test_regions_at_the_limits_of_the_images_and_of_the_batch(field: int) -> None:
    """Sources 0 and 1, of 4 x 6 pixels: what reaches the edge fits, what is one further does not."""
    fits = [1, 2, 3, 1, 2, 2, 3]  # there it ends with the image
    most = [1, 2, 3, 2, 3, 2, 3]
    for of in (fits, most):
        cell_tables(np.array([[of], [of]]), 4, 6)
        low = [*of]
        low[field] = 0
        cell_tables(np.array([[low], [low]]), 4, 6)
        for wrong in (-1, most[field] + 1):
            broken = [*of]
            broken[field] = wrong
            with pytest.raises(ArgumentError, match="does not fit a batch of 2 images of 4 x 6 px"):
                cell_tables(np.array([[of], [broken]]), 4, 6)


def test_images_of_several_sizes_are_refused() -> None:
    regions = [np.zeros((1, 7), np.int32)] * 2
    for other in ((4, 7, 3), (5, 6, 3)):
        with pytest.raises(ArgumentError, match=r"several sizes, \[\(4, 6\), "):
            tables_of_batch(regions, [np.array([4, 6, 3]), np.array(other)])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_normalising_is_one_subtraction_and_one_product(dtype: str) -> None:
    how = Normalisation((0.1, 0.2, 0.3), (0.5, 0.25, 0.125), dtype)
    np.testing.assert_allclose(how.constants(), [25.5, 51, 76.5, 1 / 127.5, 1 / 63.75, 1 / 31.875], rtol=1e-6)
    assert how.constants().dtype == np.float32
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    found = how.plainly(images)
    assert (found.dtype, found.shape) == (np.dtype(dtype), (2, 3, 4, 5))
    want = (images / 255 - (0.1, 0.2, 0.3)) / (0.5, 0.25, 0.125)
    np.testing.assert_allclose(found, want.transpose(0, 3, 1, 2), atol=1e-5 if dtype == "float32" else 1e-2)
