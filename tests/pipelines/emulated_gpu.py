"""Graphs for a GPU, run on the CPU: the same operators and regions, with the decoder of the CPU for that of the GPU.

A paste of several inputs is garbage on a GPU, and right here: therefore the pastes are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from nvidia.dali.data_node import DataNode

from cellmix_dali.pipelines import routes
from cellmix_dali.plugins import assemble, decode, saliency

__all__ = ["Fault", "emulated_gpu", "no_colours_of_rgb"]

Stream = NDArray[np.uint8]
#: What a GPU's decoder makes of streams, given what the CPU's makes of them.
Fault = Callable[[Sequence[Stream], list[NDArray[np.uint8]]], list[NDArray[np.uint8]]]


def no_colours_of_rgb(streams: Sequence[Stream], images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Take RGB JPEG for YCbCr, as nvJPEG does."""
    return [
        image[..., ::-1] if b"Adobe" in stream.tobytes() else image
        for stream, image in zip(streams, images, strict=True)
    ]


@contextmanager
def emulated_gpu(fault: Fault | None = None) -> Iterator[list[tuple[str, int]]]:
    """Let ``device="gpu"`` define graphs that run here; yields (device, inputs) of each paste that is defined."""
    pastes: list[tuple[str, int]] = []
    at_once, in_graph, paste = decode.decoded, decode.decode, assemble.fn.multi_paste

    def decoded(streams: Sequence[Stream], *, device_id: int | None = None, **part: Any) -> list[NDArray[np.uint8]]:
        images = at_once(streams, **part)
        return images if device_id is None or fault is None else fault(streams, images)

    def recorded(*inputs: Any, **arguments: Any) -> Any:
        pastes.append(("gpu", len(inputs)))
        return paste(*inputs, **arguments)

    def on_the_cpu(_: str) -> None:
        """No GPU's number."""

    routes._probes.cache_clear()
    with (
        mock.patch("cellmix_dali.pipelines.routes.device_id", lambda device: None if str(device) == "cpu" else 0),
        mock.patch("cellmix_dali.pipelines.graph.device_id", on_the_cpu),
        mock.patch("cellmix_dali.pipelines.device.device_id", on_the_cpu),
        mock.patch("cellmix_dali.pipelines.routes.decoded", decoded),
        mock.patch("cellmix_dali.plugins.tile_source.decode", lambda node, _, **part: in_graph(node, "cpu", **part)),
        mock.patch("cellmix_dali.plugins.tile_source.assembled", partial(assemble.assembled, apart=True)),
        mock.patch("cellmix_dali.plugins.engines.native.laid_over", partial(assemble.laid_over, apart=True)),
        mock.patch("cellmix_dali.pipelines.graph.placed_boxes", partial(saliency.placed_boxes, copied=True)),
        mock.patch.object(DataNode, "gpu", lambda node: node),
        mock.patch.object(assemble.fn, "multi_paste", recorded),
    ):
        try:
            yield pastes
        finally:
            routes._probes.cache_clear()
