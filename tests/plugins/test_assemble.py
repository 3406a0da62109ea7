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
from cellmix_dali.mixing import METHODS, make_mixer
from cellmix_dali.pipelines import GraphOptions, source_pipeline
from cellmix_dali.pipelines import device as device_module
from cellmix_dali.plugins import PlanSource, TileSource, tiles
from cellmix_dali.plugins.assemble import assembled, laid_over
from cellmix_dali.reading.slides import TileReader
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


@pytest.fixture
def gpu_defined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Graphs for a GPU can be defined, not built: the device and the number of inputs of each paste in them."""
    pastes: list[tuple[str, int]] = []
    real = fn.multi_paste

    def recorded(*inputs: Any, **arguments: Any) -> Any:
        pastes.append((inputs[0].device, len(inputs)))
        return real(*inputs, **arguments)

    monkeypatch.setattr(fn, "multi_paste", recorded)
    monkeypatch.setattr(device_module, "device_id", lambda _: 0)
    monkeypatch.setattr("cellmix_dali.pipelines.graph.device_id", lambda _: 0)
    monkeypatch.setattr(device_module, "decoder_routes", lambda _: dict.fromkeys(device_module.KINDS, "mixed"))
    return pastes


@pytest.mark.parametrize("method", ["CellMix-Group", *(name for name in METHODS if "CellMix" not in name)])
def test_no_paste_of_a_gpu_graph_has_several_inputs(
    rendered: list[RenderedSlide], method: str, gpu_defined: list[tuple[str, int]]
) -> None:
    table = windows(rendered)
    table = table.select(np.flatnonzero((table.x + 224 <= 1024) & (table.y + 224 <= 1024)))
    steering = {"patch_size": 32, "fix_ratio": 0.5} if "CellMix" in method else {}
    plans = PlanSource(make_mixer(method, p=1.0), tile_size=224, batch_size=BATCH, **steering)
    source = TileSource(table, batch_size=BATCH, plans=plans, num_classes=3)
    source_pipeline(source, GraphOptions("gpu", "native"))
    assert ("gpu", 1) in gpu_defined
    assert all(count == 1 for device, count in gpu_defined if device == "gpu")
    assert sum(device == "gpu" for device, _ in gpu_defined) >= source.reader.slots
    source.close()


def test_evaluation_as_well(rendered: list[RenderedSlide], gpu_defined: list[tuple[str, int]]) -> None:
    source = TileSource(windows(rendered), batch_size=BATCH, shuffle=False, edge="pad")
    source_pipeline(source, GraphOptions("gpu", "native"))
    assert gpu_defined == [("gpu", 1)] * (source.reader.slots + 1)  # and one for pixels that OpenSlide has read
    source.close()


def test_the_table_decides_where_it_is_decoded(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    """YCbCr slides stay on the device though RGB is wrong there; with RGB slides among the first, all go to the CPU."""
    routes = {"rgb jpeg": "cpu", "ycbcr jpeg 4:2:0": "mixed", "jpeg 2000": "mixed"}
    monkeypatch.setattr(device_module, "decoder_routes", lambda _: routes)
    both = windows(rendered)
    kinds = {}
    for number, slide in enumerate(rendered):
        source = TileSource(both.select(np.flatnonzero(both.slide == number)), batch_size=BATCH, edge="pad")
        (kind,) = source.reader.kinds
        kinds[kind] = slide
        assert device_module.source_decoder(source, "gpu") == routes[kind]
        source.close()
    assert set(kinds) == {"rgb jpeg", "ycbcr jpeg 4:2:0"}
    source = TileSource(both, batch_size=BATCH, edge="pad")
    assert source.reader.kinds == set(kinds)
    assert device_module.source_decoder(source, "gpu") == "cpu"
    source.close()


def test_what_the_decoder_gets_wrong_is_read_through_openslide(rendered: list[RenderedSlide]) -> None:
    """Of a later slide of another kind the pixels come, not blocks that would be decoded to other colours."""
    table = windows(rendered)
    table = table.select(np.flatnonzero((table.x + 224 <= 1024) & (table.y + 224 <= 1024)))
    reader = TileReader(table)
    before = reader.read(np.arange(len(table)))
    assert {tile.way for tile in before} == {"direct"}
    reader.only(["ycbcr jpeg 4:2:0"])
    ways = {}
    for row, tile in enumerate(reader.read(np.arange(len(table)))):
        ways.setdefault(int(table.slide[row]), set()).add(tile.way)
    assert sorted(map(sorted, ways.values())) == [["direct"], ["openslide"]]
    reader.close()
