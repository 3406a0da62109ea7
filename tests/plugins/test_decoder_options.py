"""Options of the GPU's decoder: checked when they are made, and handed to every decoder of a graph for a GPU."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from nvidia.dali import backend

from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import decode as module
from cellmix_dali.plugins.decode import decode, decoded
from cellmix_dali.plugins.decoder_options import DecoderOptions

GIVEN: dict[str, Any] = {
    "hw_decoder_load": 0.25,
    "hybrid_huffman_threshold": 4096,
    "device_memory_padding": 1,
    "host_memory_padding": 2,
    "device_memory_padding_jpeg2k": 3,
    "host_memory_padding_jpeg2k": 0,
    "preallocate_width_hint": 512,
    "preallocate_height_hint": 256,
}


def test_by_default_the_hardware_takes_all_and_the_rest_is_dalis() -> None:
    assert DecoderOptions().arguments() == {"hw_decoder_load": 1.0}
    assert {field.name for field in fields(DecoderOptions)} == set(GIVEN)
    with pytest.raises(FrozenInstanceError):
        DecoderOptions().hw_decoder_load = 0.5  # type: ignore[misc]


def test_all_are_arguments_of_dalis_decoders() -> None:
    assert DecoderOptions(**GIVEN).arguments() == GIVEN
    for schema in ("decoders__Image", "decoders__ImageSlice"):
        assert set(GIVEN) <= set(backend.GetSchema(schema).GetArgumentNames())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"hw_decoder_load": -0.01}, {"hw_decoder_load": 0}),
        ({"hw_decoder_load": 1.01}, {"hw_decoder_load": 1}),
        ({"hw_decoder_load": "1"}, {"hw_decoder_load": 0.999}),
        ({"hybrid_huffman_threshold": -1}, {"hybrid_huffman_threshold": 0}),
        ({"device_memory_padding": 2**31}, {"device_memory_padding": 2**31 - 1}),
        ({"host_memory_padding": 1.5}, {"host_memory_padding": 1}),
        (
            {"preallocate_width_hint": 0, "preallocate_height_hint": 1},
            {"preallocate_width_hint": 1, "preallocate_height_hint": 1},
        ),
        ({"preallocate_width_hint": 256}, {}),
        ({"preallocate_height_hint": 256}, {}),
    ],
    ids=str,
)
def test_limits(wrong: dict[str, Any], right: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        DecoderOptions(**wrong)
    DecoderOptions(**right)


def test_they_reach_the_decoders_on_the_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    class Recorded:
        @staticmethod
        def image(*_: Any, device: str, **arguments: Any) -> None:
            seen.append((device, arguments))

        @staticmethod
        def image_slice(*_: Any, device: str, **arguments: Any) -> None:
            seen.append((device, arguments))

    monkeypatch.setattr(module.fn, "decoders", Recorded)
    options = DecoderOptions(**GIVEN)
    for part in ({}, {"anchor": 1, "shape": 2}):
        for device in ("mixed", "cpu"):
            decode(None, device, decoder=options, **part)
    names = set(GIVEN)
    assert [(device, {name: given[name] for name in names & set(given)}) for device, given in seen] == [
        ("mixed", GIVEN),
        ("cpu", {}),
    ] * 2
    assert all(given["jpeg_fancy_upsampling"] for _, given in seen)


def test_the_cpu_decodes_as_ever() -> None:
    from cellmix_dali.pipelines.routes import probe_stream

    streams = [probe_stream("ycbcr jpeg 4:2:0")]
    np.testing.assert_array_equal(decoded(streams, decoder=DecoderOptions(**GIVEN)), decoded(streams))
