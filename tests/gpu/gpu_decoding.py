"""The GPU's decoder against DALI's on the CPU, for each kind of streams that slides hold."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from cellmix_dali import open_slide
from cellmix_dali.pipelines.routes import ALLOWED, decoder_device, probe_stream, routes_taken, try_decoder
from cellmix_dali.slides.stream_kinds import KINDS
from cellmix_dali.synthetic import RenderedSlide

# Largest and mean difference in levels of 255, fancy upsampling on. Set before any GPU was seen: to be confirmed there.
BOUNDS = {"rgb jpeg": (6, 0.7), "ycbcr jpeg 4:2:0": (24, 1.2), "jpeg 2000": (1, 0.1)}


@pytest.fixture(scope="module")
def streams(rendered: list[RenderedSlide]) -> dict[str, list[np.ndarray]]:
    """16 blocks of rendered tissue of each kind: an SVS (RGB 4:4:4, APP14), a TIFF (4:2:0), and JPEG 2000."""
    places = [place.ravel().tolist() for place in np.meshgrid(np.arange(4), np.arange(4))]
    found: dict[str, list[np.ndarray]] = {}
    for slide in rendered:
        with open_slide(slide.path) as opened:
            kind = "rgb jpeg" if opened.levels[0].colour == "rgb" else "ycbcr jpeg 4:2:0"
            found[kind] = [np.frombuffer(block, np.uint8) for block in opened.blocks(0, *places) if block is not None]
            pixels = [opened.read_region(0, 256 * x, 256 * y, 256, 256) for x, y in zip(*places, strict=True)]
    found["jpeg 2000"] = []
    for image in pixels:
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "JPEG2000", no_jp2=True, mct=0)
        found["jpeg 2000"].append(np.frombuffer(encoded.getvalue(), np.uint8))
    assert set(found) == set(KINDS)
    assert all(len(each) == 16 for each in found.values())
    return found


def decode(streams: list[np.ndarray], device: int | None, *, fancy: bool, load: float) -> np.ndarray:
    options = {} if device is None else {"hw_decoder_load": load}
    pipeline = Pipeline(batch_size=len(streams), num_threads=2, device_id=device, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: streams, batch=True, dtype=types.UINT8, ndim=1)
        images = fn.decoders.image(
            node,
            device="cpu" if device is None else "mixed",
            output_type=types.RGB,
            jpeg_fancy_upsampling=fancy,
            adjust_orientation=False,
            **options,
        )
        pipeline.set_outputs(images)
    pipeline.build()
    (images,) = pipeline.run()
    return np.array((images if device is None else images.as_cpu()).as_array())


@pytest.mark.parametrize("load", [0.0, 1.0])
@pytest.mark.parametrize("fancy", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpu_decodes_as_the_cpu(
    kind: str, fancy: bool, load: float, streams: dict[str, list[np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the probe sends a kind to the GPU; where it does not, the probe is right: its colours are wrong there."""
    if routes_taken("gpu")[kind].decoder == "cpu":
        assert try_decoder(kind, streams[kind], torch.cuda.current_device()).fault is not None
        with capsys.disabled():
            print(f"\n{kind}: not decoded rightly on this GPU; the pipelines decode it on the CPU")
        return
    want = decode(streams[kind], None, fancy=fancy, load=load).astype(np.int16)
    difference = np.abs(decode(streams[kind], torch.cuda.current_device(), fancy=fancy, load=load) - want)
    with capsys.disabled():
        print(f"\n{kind}, fancy={fancy}, hw_decoder_load={load}: max {difference.max()}, mean {difference.mean():.4f}")
    if fancy:  # the pipelines' setting; of the other, the figures are for the report
        assert difference.max() <= BOUNDS[kind][0]
    assert difference.mean() <= BOUNDS[kind][1]


def test_the_route_is_right_for_all_kinds() -> None:
    routes = {kind: routes_taken("gpu")[kind] for kind in KINDS}
    assert "mixed" in {route.decoder for route in routes.values()}  # something is decoded there
    assert decoder_device("gpu") == ("mixed" if {route.decoder for route in routes.values()} == {"mixed"} else "cpu")
    for kind, route in routes.items():
        if route.decoder == "mixed":
            trial = try_decoder(kind, [probe_stream(kind)] * 4, torch.cuda.current_device())
            assert trial.fault is None
            assert trial.difference is not None
            assert trial.difference <= ALLOWED[kind]
