"""Views of images in a graph: a box, resized, flipped, coloured, blurred and normalised, in one pass where possible."""

from __future__ import annotations

from collections.abc import Sequence

from cellmix_dali.errors import ArgumentError, unknown_name

from .blur import blurred
from .colour import coloured
from .colour_stages import Colour
from .dali import DataNode, fn, types
from .engines.engine import DTYPES, Normalisation
from .engines.registry import default_engine, engine_for
from .engines.self_check import tried_colour
from .engines.view_check import tried_view
from .image_shape import require_channels
from .normalise import MEAN, STD, channel_numbers, normalise
from .view_nodes import ViewNodes

__all__ = ["cropped", "viewed"]


def viewed(
    images: DataNode,
    view: ViewNodes,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    dtype: str = "float32",
    engine: str | None = None,
) -> DataNode:
    """Make one view of each image, and normalise it.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On "cpu" or "gpu".
    view : ViewNodes
        The box, which lies within the image, and what is done to it.
    mean, std, dtype
        See `normalise`.
    engine : {"native", "numba"}, optional
        DALI's operators, or one compiled pass. By default `engines.registry.default_engine`; where that makes no views
        in one pass (on the GPU), operators one after the other. The two differ: DALI's filters give what lies beyond
        the box's border to its outermost pixels, compiled ones weigh nothing beyond it, as Pillow and torchvision; and
        between the operators levels are rounded.

    Returns
    -------
    DataNode, CHW
        ``(view / 255 - mean) / std``, of `view.size`.

    Raises
    ------
    ArgumentError
        For an argument that cannot work.
    CellMixDaliError
        If a compiled engine, tried once per process on a small batch, gives other numbers than it should.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if view.size < 1:
        raise ArgumentError(f"size={view.size}: a view has at least one pixel.")
    chosen = engine_for(default_engine(images.device) if engine is None else engine, images.device)
    colours = [each for each in (view.before, view.after) if each is not None]
    if chosen.views and not any(each.measured for each in colours):
        for each in colours:
            tried_colour(chosen, images, each.kinds)
        how = Normalisation(channel_numbers("mean", mean), channel_numbers("std", std), dtype)
        return tried_view(chosen, view, dtype).view(require_channels(images, 3), view, how)
    images = cropped(images, view.geometry, view.size, cubic=view.cubic)
    flips = fn.cast(view.geometry[4:6], dtype=types.INT32)
    images = fn.flip(images, horizontal=flips[0], vertical=flips[1])
    images = _changed(images, view.before, chosen.name)
    images = _blurred(images, view.geometry[6], chosen.name)
    images = _changed(images, view.after, chosen.name)
    return normalise(images, mean=mean, std=std, dtype=dtype, engine=engine)


def cropped(images: DataNode, geometry: DataNode, size: int, *, cubic: bool = False) -> DataNode:
    """Cut the boxes of a geometry out of images and resize them to squares, by DALI's operators.

    Returns
    -------
    DataNode, uint8 HWC
    """
    box = fn.cast(geometry[0:4], dtype=types.INT32)
    kind = types.INTERP_CUBIC if cubic else types.INTERP_LINEAR
    boxes = fn.slice(images, start=box[0:2], shape=box[2:4], axes=[0, 1])
    return fn.resize(boxes, size=[size, size], interp_type=kind, antialias=True)


def _changed(images: DataNode, colour: Colour | None, engine: str) -> DataNode:
    """Change colours, if there is anything to change."""
    return images if colour is None else coloured(images, colour, engine=engine)


def _blurred(images: DataNode, sigma: DataNode, engine: str) -> DataNode:
    """Blur the images whose deviation is above 0."""
    predicate = fn.cast(sigma, dtype=types.BOOL)
    changed, others = fn._conditional.split(images, predicate=predicate, _if_stmt=True)
    own = fn._conditional.split(sigma, predicate=predicate, _if_stmt=True)[0]
    found = blurred(changed, own, image_weight=own * 0.0, engine=engine, channels_checked=True)
    return fn._conditional.merge(found, others, predicate=predicate)
