"""Graphs for a GPU, run on the CPU: the same operators and regions, with the decoder of the CPU for that of the GPU.

A paste of several inputs is garbage on a GPU, and right here: therefore the pastes are recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali.data_node import DataNode

from cellmix_dali.pipelines import device, routes
from cellmix_dali.plugins import assemble, decode, saliency
from cellmix_dali.plugins.device_names import device_name

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


def _everywhere(original: object, replacement: object) -> Iterator[Any]:
    """Patches of a function under each of the names by which the package's modules know it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("cellmix_dali"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    yield mock.patch.object(module, attribute, replacement)


@contextmanager
def emulated_gpu(fault: Fault | None = None) -> Iterator[list[tuple[str, int]]]:
    """Let ``device="gpu"`` define graphs that run here; yields (device, inputs) of each paste that is defined."""
    pastes: list[tuple[str, int]] = []
    at_once, in_graph, paste = decode.decoded, decode.decode, assemble.fn.multi_paste

    def decoded(streams: Sequence[Stream], *, device_id: int | None = None, **how: Any) -> list[NDArray[np.uint8]]:
        images = at_once(streams, **how)
        return images if device_id is None or fault is None else fault(streams, images)

    def recorded(*inputs: Any, **arguments: Any) -> Any:
        pastes.append(("gpu", len(inputs)))
        return paste(*inputs, **arguments)

    def on_the_cpu(name: str | torch.device) -> None:
        """No GPU's number."""
        device_name(name)

    routes._probes.cache_clear()
    with ExitStack() as patches:
        for patch in (
            *_everywhere(device.device_id, on_the_cpu),
            mock.patch.object(routes, "device_id", lambda name: None if str(name) == "cpu" else 0),
            mock.patch.object(routes, "decoded", decoded),
            *_everywhere(in_graph, lambda node, _="cpu", **part: in_graph(node, "cpu", **part)),
            *_everywhere(assemble.assembled, partial(assemble.assembled, apart=True)),
            *_everywhere(assemble.laid_over, partial(assemble.laid_over, apart=True)),
            *_everywhere(saliency.placed_boxes, partial(saliency.placed_boxes, copied=True)),
            mock.patch.object(DataNode, "gpu", lambda node: node),
            mock.patch.object(DataNode, "cpu", lambda node: node),
            mock.patch.object(assemble.fn, "multi_paste", recorded),
        ):
            patches.enter_context(patch)
        try:
            yield pastes
        finally:
            routes._probes.cache_clear()
