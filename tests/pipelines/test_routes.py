"""Where streams are decoded: found by trying real blocks, per kind, and kept to in one graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_gpu import Fault, Stream, emulated_gpu, no_colours_of_rgb
from numpy.typing import NDArray

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.mixing import METHODS
from cellmix_dali.pipelines import DecoderOptions, evaluate_image_loader, evaluate_loader, train_loader
from cellmix_dali.pipelines.routes import ALLOWED, decoder_device, probe_stream, routes_taken, try_decoder
from cellmix_dali.plugins.decode import decoded, undecodable
from cellmix_dali.slides.jpeg import parse_header
from cellmix_dali.slides.stream_kinds import KINDS, PIXELS
from cellmix_dali.synthetic import RenderedSlide

RGB, YCBCR = "rgb jpeg", "ycbcr jpeg 4:2:0"


def of_kind(rendered: list[RenderedSlide], *suffixes: str, size: int = 224, step: int = 100) -> TileTable:
    slides = [slide for slide in rendered if slide.path.suffix in suffixes]
    x, y = (30 * (size < 256) + step * place.ravel() for place in np.meshgrid(np.arange(4), np.arange(4)))
    tables = [TileTable.from_columns(slide.path, x=x, y=y, size=size) for slide in slides]
    table = TileTable.concat(tables)
    return table.with_labels(np.arange(len(table)) % 3)


def images_of(table: TileTable, **options: Any) -> tuple[torch.Tensor, Any]:
    with evaluate_loader(table, batch_size=8, engine="native", **options) as loader:
        return torch.cat([batch["images"].clone() for batch in loader]), loader


def test_the_cpu_decodes_all() -> None:
    routes = routes_taken("cpu")
    assert set(routes) == {*KINDS, PIXELS}
    assert {route.decoder for route in routes.values()} == {"cpu"}
    assert decoder_device("cpu") == "cpu"


def test_the_pictures_are_of_their_kinds() -> None:
    header = parse_header(probe_stream(RGB).tobytes())
    assert (header.adobe, header.jfif, header.ids) == (0, False, (1, 2, 3))
    assert parse_header(probe_stream(YCBCR).tobytes()).sampling == ((2, 2), (1, 1), (1, 1))
    for kind in KINDS:
        (image,) = decoded([probe_stream(kind)])
        corners = image[::255, ::255].reshape(4, 3).astype(int)
        assert np.abs(corners - [(200, 60, 120), (60, 180, 40), (240, 230, 240), (90, 50, 160)]).max() <= 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("further", [0, 1])
def test_the_largest_difference_allowed(kind: str, further: int) -> None:
    def off(_: Sequence[Stream], images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        image = images[-1].copy()
        image[40, 60, 1] += np.uint8(ALLOWED[kind] + further)  # one value of one image of the batch
        return [*images[:-1], image]

    with emulated_gpu(off):
        trial = try_decoder(kind, [probe_stream(kind)] * 3, 0)
    assert trial.difference == ALLOWED[kind] + further
    assert (trial.fault is None) == (further == 0)


def test_a_kind_that_cannot_be_decoded_is_a_route_and_a_missing_library_an_error() -> None:
    def refusing(words: str) -> Fault:
        def refuse(*_: Any) -> Any:
            raise RuntimeError(words)

        return refuse

    with emulated_gpu(refusing("Failed to decode sample #0")):
        assert try_decoder("jpeg 2000", [probe_stream("jpeg 2000")], 0) == ("cannot decode jpeg 2000", None)
    for words in ("CUDA error: out of memory while decoding", "libnvjpeg.so.13: cannot open shared object file"):
        with emulated_gpu(refusing(words)), pytest.raises(RuntimeError, match=words[:10]):
            try_decoder("jpeg 2000", [probe_stream("jpeg 2000")], 0)


def test_each_table_has_its_own_routes(rendered: list[RenderedSlide]) -> None:
    """RGB JPEG is decoded wrongly on the GPU, YCbCr is not: each goes where it is right, and so in one graph."""
    for suffixes, where in (((".tiff",), {YCBCR: "mixed"}), ((".svs", ".tiff"), {RGB: "cpu", YCBCR: "mixed"})):
        table = of_kind(rendered, *suffixes)
        want, on_cpu = images_of(table)
        assert {on_cpu.routes[kind].decoder for kind in KINDS} == {"cpu"}
        with emulated_gpu(no_colours_of_rgb) as pastes:
            got, loader = images_of(table, device="gpu", require_gpu_decoding=True)
        assert {kind: loader.routes[kind].decoder for kind in where} == where
        assert loader.routes[YCBCR].difference == 0
        assert loader.source.slots == 4 * len(where)
        assert set(pastes) == {("gpu", 1)}
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert "does not keep the colours of rgb jpeg" in loader.routes[RGB].reason
    assert (loader.routes[RGB].difference or 0) > ALLOWED[RGB]


def test_whole_blocks_of_both_kinds(rendered: list[RenderedSlide]) -> None:
    table = of_kind(rendered, ".svs", ".tiff", size=256, step=256)
    want, on_cpu = images_of(table)
    assert on_cpu.source.reader.whole
    with emulated_gpu(no_colours_of_rgb):
        got, loader = images_of(table, device="gpu")
    assert loader.source.slots == 2  # one for each decoder
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "CellMix-Group", *(name for name in METHODS if "CellMix" not in name)])
@pytest.mark.parametrize("size", [224, 256])
def test_every_graph_for_a_gpu_is_as_the_cpus(rendered: list[RenderedSlide], method: str, size: int) -> None:
    table = of_kind(rendered, ".svs", ".tiff", size=size, step=100 if size == 224 else 256)
    options: dict[str, Any] = {"method": method, "p": 1.0, "seed": 3, "engine": "native", "batch_size": 8}
    if "CellMix" in method:
        options |= {"patch_size": size // 4, "fix_ratio": 0.5}

    def batches(**device: Any) -> list[dict[str, torch.Tensor]]:
        with train_loader(table, num_classes=3, **options, **device) as loader:
            return [{name: value.clone() for name, value in batch.items()} for batch in loader]

    want = batches()
    with emulated_gpu(no_colours_of_rgb) as pastes:
        got = batches(device="gpu")
    assert {count for _, count in pastes} == {1}
    for one, other in zip(got, want, strict=True):
        for name in other:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, msg=name)


def test_nothing_on_the_gpu_is_said(rendered: list[RenderedSlide]) -> None:
    table = of_kind(rendered, ".svs")
    with emulated_gpu(no_colours_of_rgb):
        with pytest.warns(UserWarning, match=r"nothing is decoded on the GPU\. Rgb jpeg: .*does not keep the colours"):
            images_of(table, device="gpu")
        with pytest.raises(ArgumentError, match=r"nothing is decoded on the GPU.*require_gpu_decoding"):
            images_of(table, device="gpu", require_gpu_decoding=True)
    with emulated_gpu(), warnings.catch_warnings():
        warnings.simplefilter("error")
        images_of(table, device="gpu")


def test_files_of_unknown_kinds_stay_on_the_cpu(tmp_path: Path) -> None:
    """They are not looked into, so the GPU must be right about all kinds."""
    from PIL import Image

    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    with emulated_gpu(no_colours_of_rgb), pytest.warns(UserWarning, match="not every one of these kinds"):
        loader = evaluate_image_loader([file], [0], batch_size=1, image_size=8, device="gpu")
    assert {loader.routes[kind].decoder for kind in KINDS} == {"cpu"}
    loader.close()


def test_what_only_the_gpu_rejects_is_decoded_on_the_cpu(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = of_kind(rendered, ".tiff", size=256, step=256)
    want, _ = images_of(table)
    with evaluate_loader(table, batch_size=8, engine="native") as loader:
        loader.source._gpu = 0  # as if it decoded on the GPU
        tile = loader.source._delivery.batch(0, 1).tiles[3]
        loader.source.forget()
        rejected = {tile.streams[0].tobytes()}
        fetch, failed = loader._fetch, []

        def failing() -> dict[str, torch.Tensor]:
            batch = loader._iteration == 1 and not loader.source.rejected
            if batch:
                failed.append(1)
                raise RuntimeError("Error in GPU operator `nvidia.dali.fn.decoders.image`")
            return fetch()

        def tried(tiles: Any, *, device_id: int | None = None, **_: Any) -> dict[int, str]:
            if device_id is None:
                return undecodable(tiles)
            return {row: "rejected" for row, streams in tiles.items() if streams[0].tobytes() in rejected}

        monkeypatch.setattr(loader, "_fetch", failing)
        monkeypatch.setattr("cellmix_dali.plugins.tile_source.undecodable", tried)
        got = torch.cat([batch["images"].clone() for batch in loader])
        assert failed == [1]
        assert loader.source.rejected == {11: "rejected"}
        state = loader.state_dict()
        assert state["rejected"] == {11: "rejected"}
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        assert not loader.faults
        # The same batch fails again for a reason that cannot be found: it ends, and does not go round.
        monkeypatch.setattr(loader, "_fetch", lambda: (_ for _ in ()).throw(RuntimeError("decoders: no reason")))
        with pytest.raises(CellMixDaliError, match="could not be decoded"):
            next(iter(loader))
    with evaluate_loader(table, batch_size=8, engine="native") as other:
        other.load_state_dict(state)
        assert other.source.rejected == {11: "rejected"}


def test_blocks_are_tried_once_and_not_for_every_pipeline(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def recorded(kind: str, *given: Any, **how: Any) -> Any:
        tried.append(kind)
        return try_decoder(kind, *given, **how)

    monkeypatch.setattr("cellmix_dali.pipelines.routes.try_decoder", recorded)
    table = of_kind(rendered, ".svs", ".tiff")
    with (
        emulated_gpu(no_colours_of_rgb),
        evaluate_loader(table, batch_size=8, engine="native", device="gpu") as loader,
    ):
        first, before, routes = loader.pipeline, list(tried), loader.routes
        batch = next(iter(loader))
        loader.load_state_dict(loader.state_dict())
        again = next(iter(loader))
        assert loader.pipeline is not first  # it was defined anew
        assert tried == before
        assert loader.routes == routes
        assert {RGB, YCBCR} <= set(before)
        assert batch["images"].shape == again["images"].shape


def test_blocks_are_tried_with_the_options_of_the_graph(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hybrid decoder rounds otherwise than the hardware's: what is tried must be what comes."""
    asked: list[DecoderOptions] = []

    def recorded(*given: Any, decoder: DecoderOptions, **how: Any) -> Any:
        asked.append(decoder)
        return try_decoder(*given, decoder=decoder, **how)

    monkeypatch.setattr("cellmix_dali.pipelines.routes.try_decoder", recorded)
    table, options = of_kind(rendered, ".tiff"), DecoderOptions(hw_decoder_load=0.25, hybrid_huffman_threshold=10)
    want, _ = images_of(table)
    with emulated_gpu():
        got, loader = images_of(table, device="gpu", decoder=options)
    assert asked
    assert set(asked) == {options}
    assert loader.source._decoder == options
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    with pytest.raises(ArgumentError, match=r"decoder=.*DecoderOptions"):
        images_of(table, decoder={"hw_decoder_load": 1.0})
