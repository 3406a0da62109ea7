"""Views tried on this machine before an engine makes them; see `self_check`."""

from __future__ import annotations

import functools

import numpy as np

from ..colour_stages import Colour, stage_numbers
from ..dali import DataNode, fn
from ..view_nodes import ViewNodes, plainly_viewed
from .engine import Engine, Normalisation
from .self_check import require, result_of, told

__all__ = ["tried_view", "view_check"]

# Of an image of 40 x 48 pixels: smaller, larger and as it is; with and without a blur; flipped each way.
_GEOMETRY = [[3, 5, 31, 36, 0, 0, 0], [10, 20, 9, 8, 1, 0, 1.3], [0, 0, 40, 48, 0, 1, 0.6], [7, 6, 24, 24, 1, 1, 0]]
_SIZES = (24, 13)
_MATRIX = [[0.9, 0.2, -0.1], [-0.2, 1.1, 0.1], [0.1, -0.3, 1.2]]


def tried_view(engine: Engine, view: ViewNodes, dtype: str) -> Engine:
    """Return an engine that is about to make views, after `view_check` where it is compiled."""
    if engine.compiled:
        view_check(engine, view.cubic, dtype)
    return engine


@functools.cache
def view_check(engine: Engine, cubic: bool, dtype: str) -> None:
    """Compare what an engine on the CPU makes of a small batch with `view_nodes.plainly_viewed`.

    Raises
    ------
    CellMixDaliError
        If the engine gives numbers that are more than 1 level away.
    """
    images = np.random.default_rng(0).integers(0, 256, (len(_GEOMETRY), 40, 48, 3), dtype=np.uint8)
    geometry = np.array(_GEOMETRY, np.float32)
    mixed = stage_numbers(len(images), matrix=_MATRIX, offset=[9.0, -7.0, 3.0])[:, None]
    bright = stage_numbers(len(images), active=[1, 1, 0, 1], offset=128.0)[:, None]
    how = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), dtype)
    for size in _SIZES:

        def graph(node: DataNode, size: int = size) -> list[DataNode]:
            given = fn.external_source(lambda: [geometry, mixed, bright], num_outputs=3, batch=True)
            before, after = Colour(("affine",), given[1]), Colour(("solarise",), given[2])
            return [engine.view(node, ViewNodes(size, given[0], before, after, cubic), how)]

        want = np.stack(
            [
                plainly_viewed(image, size, own, before=(("affine",), first), after=(("solarise",), last), cubic=cubic)
                for image, own, first, last in zip(images, geometry, mixed, bright, strict=True)
            ]
        )
        got = result_of(graph, images, None)
        levels = 1.01 * how.constants()[3:, None, None] + (0.01 if dtype == "float16" else 0)
        require(got, how.plainly(want), told(engine, "made views", None), engine.packages, levels=levels)
