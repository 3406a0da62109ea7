"""Devices by their names and numbers, what a pipeline is made with, and the pictures that decoders are tried with."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.pipelines import device
from cellmix_dali.pipelines.routes import probe_stream
from cellmix_dali.shards import Encoding, can_copy
from cellmix_dali.slides import Level
from cellmix_dali.slides.jpeg import parse_header
from cellmix_dali.slides.stream_kinds import KINDS


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of three GPUs, of which the second is the current one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("cpu", None),
        (torch.device("cpu"), None),
        ("gpu", 1),
        ("cuda", 1),
        (torch.device("cuda"), 1),
        ("cuda:0", 0),
        (torch.device("cuda", 2), 2),
    ],
)
def test_numbers_of_devices(name: Any, number: int | None) -> None:
    assert device.device_id(name) == number


@pytest.mark.usefixtures("three")
def test_a_gpu_of_a_number_that_there_is_not() -> None:
    for wrong in ("cuda:3", torch.device("cuda", 7)):
        with pytest.raises(ArgumentError, match="this machine's GPUs are 0 to 2"):
            device.device_id(wrong)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device_id("cpu") is None
    for wanted in ("gpu", "cuda", "cuda:0"):
        with pytest.raises(MissingDependencyError, match="device='gpu' was asked for"):
            device.device_id(wanted)


@pytest.mark.usefixtures("three")
def test_what_a_pipeline_is_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "Pipeline", lambda **given: given)

    def made(name: str, cores: int = 4, **given: Any) -> dict[str, Any]:
        monkeypatch.setattr(device, "usable_cores", lambda: cores)
        return device.pipeline_on(name, **{"batch_size": 3, "num_threads": None} | given)  # type: ignore[arg-type,return-value]

    plain = {"batch_size": 3, "num_threads": 4, "device_id": None, "prefetch_queue_depth": 1}
    assert made("cpu") == plain
    assert made("cuda:2") == plain | {"device_id": 2}
    assert [made("cpu", cores)["num_threads"] for cores in (1, 16, 17)] == [1, 16, 16]
    assert made("cpu", 40, num_threads=33)["num_threads"] == 33
    assert made("cpu", prefetch_queue_depth=None)["prefetch_queue_depth"] == 2
    assert made("gpu", prefetch_queue_depth=None)["prefetch_queue_depth"] == 4
    assert made("gpu", prefetch_queue_depth=7)["prefetch_queue_depth"] == 7
    for name in ("batch_size", "num_threads", "prefetch_queue_depth"):
        assert made("cpu", **{name: 1})[name] == 1
        with pytest.raises(ArgumentError, match=f"{name}=0 cannot be used"):
            made("cpu", **{name: 0})


@pytest.mark.parametrize("kind", KINDS)
def test_the_pictures_that_decoders_are_tried_with_have_four_areas_of_strong_colours(kind: str) -> None:
    stream = probe_stream(kind).tobytes()
    found = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"), np.int16)
    want = np.zeros((256, 256, 3), np.int16)
    want[:128, :128], want[:128, 128:] = (200, 60, 120), (60, 180, 40)
    want[128:, :128], want[128:, 128:] = (240, 230, 240), (90, 50, 160)
    beside = np.ones((256, 256), bool)
    beside[112:144] = beside[:, 112:144] = False  # colours run into each other there
    assert np.abs(found - want)[beside].max() <= 3
    if kind == "jpeg 2000":
        assert stream[:4] == b"\xff\x4f\xff\x51"
    else:
        header = parse_header(stream)
        rgb = kind == "rgb jpeg"
        assert (header.ids, header.adobe, header.jfif) == ((1, 2, 3), 0 if rgb else None, not rgb)
        assert header.sampling[0] == ((1, 1) if rgb else (2, 2))


def test_tiles_are_copied_where_they_are_one_block_within_the_level() -> None:

    def copyable(level: Level, x: int, y: int, size: int) -> bool:
        return bool(can_copy(SimpleNamespace(levels=[level]), 0, [x], [y], [size])[0])  # type: ignore[arg-type]

    level = Level(100, 70, 1.0, 20, 20, 5, 4, "jpeg", "rgb")
    assert all(copyable(level, x, y, 20) for x, y in ((0, 0), (80, 40), (20, 0)))
    assert not any(copyable(level, x, y, 20) for x, y in ((0, 60), (100, 0), (81, 40), (80, 41), (-20, 0), (0, -20)))
    assert not copyable(level, 0, 0, 19)
    assert not copyable(Level(100, 70, 1.0), 0, 0, 20)  # which OpenSlide reads
    for other in (
        Level(100, 70, 1.0, 20, 10, 5, 7, "jpeg", "rgb"),
        Level(100, 70, 1.0, 20, 20, 5, 4, "jpeg2000", "rgb"),
    ):
        assert not copyable(other, 0, 0, 20)


@pytest.mark.parametrize(
    "shape",
    [(4, 5), (4, 5, 1), (4, 5, 4), (0, 5, 3), (4, 0, 3), (1, 4, 5, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_what_is_encoded_is_a_picture_of_three_channels(shape: tuple[int, ...]) -> None:
    for file in ("png", "jpeg"):
        assert Image.open(io.BytesIO(Encoding(file).encode(np.zeros((4, 5, 3), np.uint8)))).size == (5, 4)
        for wrong in (np.zeros(shape, np.uint8), np.zeros((4, 5, 3), np.float32)):
            with pytest.raises(ArgumentError, match="non-empty uint8 array"):
                Encoding(file).encode(wrong)  # type: ignore[arg-type]
