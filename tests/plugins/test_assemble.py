"""Images put together on the GPU: by pastes of one input each, with the pixels of one paste of several inputs."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali import TileTable
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.plugins import TileSource, tiles
from cellmix_dali.plugins.assemble import assembled, laid_over
from cellmix_dali.synthetic import RenderedSlide

BATCH = 8


def always(values: Any) -> Any:
    return lambda: values


def windows(rendered: list[RenderedSlide], step: int = 200) -> TileTable:
    x, y = (30 + step * place.ravel() for place in np.meshgrid(np.arange(5), np.arange(4)))
    tables = [TileTable.from_columns(slide.path, x=x, y=y, size=224) for slide in rendered]
    return TileTable.concat(tables).with_labels(np.arange(2 * len(x)) % 3)


@pytest.mark.parametrize("edge", ["skip", "pad"])
def test_windows_of_several_blocks(rendered: list[RenderedSlide], edge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 1, 2 and 4 blocks and, padded, over the edge: stand-ins and background add nothing."""
    table = windows(rendered)
    if edge == "skip":
        inside = (table.x + 224 <= 1024) & (table.y + 224 <= 1024)
        table = table.select(np.flatnonzero(inside))
    found = []
    for apart in (False, True):
        monkeypatch.setattr(
            sys.modules["cellmix_dali.plugins.tile_source"], "assembled", partial(assembled, apart=apart)
        )
        source = TileSource(table, batch_size=len(table), shuffle=False, edge=edge)
        assert source.reader.slots == 4
        pipeline = Pipeline(batch_size=len(table), num_threads=2, device_id=None, prefetch_queue_depth=1)
        with pipeline:
            pipeline.set_outputs(tiles(source).images)
        pipeline.build()
        (images,) = pipeline.run()
        assert images.layout() == "HWC"
        found.append(np.array(images.as_array()))
        source.close()
    np.testing.assert_array_equal(found[1], found[0])
    assert found[0].std() > 10
    if edge == "pad":
        assert (found[1][:, -1, -1] == 255).all(axis=1).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_box_over_an_image(dtype: type) -> None:
    """Boxes of all sizes, at the rims too."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (BATCH, 40, 30, 3)).astype(dtype)
    shapes = [np.array([1 + 4 * n, 30 - 3 * n], np.int32) for n in range(BATCH)]
    places = [np.array([40 - h, 30 - w], np.int32) // (1 + n % 2) for n, (h, w) in enumerate(shapes)]
    boxes = [rng.integers(0, 256, (*shape, 3)).astype(dtype) for shape in shapes]
    found = []
    for apart in (False, True):
        pipeline = Pipeline(batch_size=BATCH, num_threads=2, device_id=None, prefetch_queue_depth=1)
        with pipeline:
            kind = types.UINT8 if dtype is np.uint8 else types.FLOAT
            image, box = (fn.external_source(always(v), batch=True, dtype=kind, layout="HWC") for v in (images, boxes))  # fmt: skip  # noqa: E501
            place, shape = (
                fn.external_source(always(v), batch=True, dtype=types.INT32, ndim=1) for v in (places, shapes)
            )
            pipeline.set_outputs(laid_over(image, box, place=place, shape=shape, options={}, apart=apart))
        pipeline.build()
        (out,) = pipeline.run()
        found.append(np.array(out.as_array()))
    want = images.copy()
    for n, ((top, left), (height, width)) in enumerate(zip(places, shapes, strict=True)):
        want[n, top : top + height, left : left + width] = boxes[n]
    np.testing.assert_array_equal(found[0], want)
    np.testing.assert_array_equal(found[1], want)


def test_code_that_puts_tiles_together_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from cellmix_dali.plugins import assemble
    from cellmix_dali.plugins.engines import cpu_windows

    right = cpu_windows.put_together
    check = assemble._self_check.__wrapped__
    check()
    monkeypatch.setattr(cpu_windows, "put_together", lambda *nodes: right(*nodes) + 1)
    with pytest.raises(CellMixDaliError, match=r"put tiles together wrongly on the CPU in its self-check.*numba \d"):
        check()
