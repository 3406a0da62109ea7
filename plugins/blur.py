"""Blurred and sharpened images in a graph."""

from __future__ import annotations

from .dali import DataNode, types
from .engines.registry import default_engine, engine_for
from .engines.self_check import tried_blur
from .image_shape import require_channels

__all__ = ["blurred"]


def blurred(
    images: DataNode,
    sigma: float | DataNode,
    *,
    image_weight: float | DataNode = 0.0,
    engine: str | None = None,
    channels_checked: bool = False,
) -> DataNode:
    """Blur a batch by Gaussians of 3 deviations to both sides, mirrored at the border; or sharpen it.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On "cpu" or "gpu".
    sigma : float or DataNode, float32 ()
        Deviation in pixels, above 0; a node, on the CPU, has one for each sample.
    image_weight : float or DataNode, float32 ()
        The result is ``image_weight * image + (1 - image_weight) * blurred image``: above 1 it is sharpened.
    engine : {"native", "numba"}, optional
        DALI's operators, or one compiled pass; the results differ by at most 1 level. By default
        `engines.registry.default_engine`; where that has no such pass, DALI's operators.
    channels_checked : bool, default False
        Whether the images are known to be RGB; if not, the graph raises where they are not. Within a DALI conditional
        give True, and `sigma` and `image_weight` as nodes: constants have the whole batch's samples there.

    Returns
    -------
    DataNode, uint8 HWC

    Raises
    ------
    CellMixDaliError
        If a compiled engine, tried once per process on a small batch, gives other pixels than it should.
    """
    chosen = engine_for(default_engine(images.device) if engine is None else engine, images.device)
    if not chosen.colours:
        chosen = engine_for("native", images.device)
    if chosen.compiled and not channels_checked:
        images = require_channels(images, 3)
    return tried_blur(chosen, images).blur(images, _node(sigma), _node(image_weight))


def _node(value: float | DataNode) -> DataNode:
    """A number as a node."""
    return value if isinstance(value, DataNode) else types.Constant(float(value), dtype=types.FLOAT, device="cpu")
