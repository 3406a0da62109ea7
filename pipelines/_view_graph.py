"""The end of a graph that makes views of its images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.augment import Batch
from cellmix_dali.augment.base import ColourChange
from cellmix_dali.augment.block_masks import BlockMasks
from cellmix_dali.augment.views import View
from cellmix_dali.plugins import Draw, Source, TileNodes
from cellmix_dali.plugins.colour_stages import Colour
from cellmix_dali.plugins.dali import DataNode, fn, types
from cellmix_dali.plugins.normalise import normalise
from cellmix_dali.plugins.view_nodes import GEOMETRY, ViewNodes
from cellmix_dali.plugins.views import cropped, viewed

from .augmenting import changed
from .graph import GraphOptions

__all__ = ["made_views", "view_outputs"]


def view_outputs(views: Sequence[View], *, boxes: bool, masks: bool) -> list[str]:
    """Return the names of a graph's outputs: those of `made_views`."""
    numbers = [f"{number}" for number in range(sum(view.count for view in views))]
    return ["labels", "tile", *numbers, *[f"{number} box" for number in numbers if boxes], *["mask"] * masks]


def made_views(
    batch: TileNodes,
    source: Source,
    options: GraphOptions,
    *,
    views: Sequence[View],
    boxes: bool,
    token_masks: BlockMasks | None,
) -> list[DataNode]:
    """Make views of a batch's images: the `finish` of `cellmix_dali.pipelines.source_pipeline`.

    Every view draws by a key of its own: its box, its flips and blur, then each change of colour.

    Returns
    -------
    list of DataNode
        Labels, which tile, each view (3, size, size); if asked for each one's box, int32 (4,): top, left, height and
        width in pixels; and the masks, (views, tokens).
    """
    draw = Draw.of(source, engine=options.engine)
    draw.table, draw.rows = getattr(source, "table", None), batch.tile
    made = [_view(view, batch.images, draw, source.tile_size, options) for view in views for _ in range(view.count)]
    found = [image for image, _ in made]
    found += [fn.cast(geometry[0:4], dtype=types.INT32) for _, geometry in made if boxes]
    if token_masks is not None:
        count = sum(view.count for view in views if view.name == token_masks.view)
        side = token_masks.side(next(view.size for view in views if view.name == token_masks.view))
        found.append(draw.by(partial(_masked, token_masks, count, side), [count, side * side]))
    beside = [batch.labels, batch.tile]
    if options.device_name == "gpu":
        beside, found = ([node.gpu() if node.device == "cpu" else node for node in of] for of in (beside, found))
    return [*beside, *found]


def _view(view: View, images: DataNode, draw: Draw, region: int, options: GraphOptions) -> tuple[DataNode, DataNode]:
    """One view of each image, and its geometry."""
    geometry = draw.by(partial(view.geometry, region), [GEOMETRY])
    how: dict[str, Any] = {"mean": options.mean, "std": options.std, "dtype": options.dtype, "engine": options.engine}
    made, cubic = view.one_pass(), view.interpolation == "cubic"
    if made is not None:
        before, after = (_colour(changes, images, draw) for changes in (made.before, made.after))
        nodes = ViewNodes(view.size, geometry, before, after, cubic)
        return viewed(images, nodes, **how), geometry
    assert callable(view.augment)
    augmented = changed(view.augment, cropped(images, geometry, view.size, cubic=cubic), draw)
    colour = augmented.colour()
    return normalise(augmented.pixels, colour=colour, **how), geometry


def _colour(changes: Sequence[ColourChange], images: DataNode, draw: Draw) -> Colour | None:
    """Changes of colour as one set of numbers."""
    batch = Batch(images, draw)
    for change in changes:
        change.change(batch)
    return batch.colour()


def _masked(
    masks: BlockMasks, count: int, side: int, random: np.random.Generator, samples: int, _: float
) -> NDArray[np.bool_]:
    """The masks of a batch's views, one view of all samples after the other."""
    drawn = masks.draw(random, count * samples, side)
    return drawn.reshape(count, samples, -1).transpose(1, 0, 2).reshape(samples, -1)
