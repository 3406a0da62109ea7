"""A plan as a few small arrays per batch, and as nodes of a DALI graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.mixing import Action, BlendPlan, BoxPlan, MixPlan, PatchPlan, source_map
from cellmix_dali.mixing.mixing_matrix import MixingMatrix
from cellmix_dali.mixing.saliencymix import SaliencyCut

from .dali import DataNode, types
from .patch_regions import patch_regions

__all__ = ["PlanArrays", "PlanNodes", "Settings", "box_regions", "plan_arrays"]


class PlanArrays(NamedTuple):
    """One batch's plan as whole-batch arrays, in the terms of `fn.multi_paste`.

    What they hold depends on the action's kind. An array that is not named is empty; R is the same for all samples of
    a batch:

    - "paste": R regions; later ones win. The first is the sample itself.
    - "fill": one box per sample, `out_anchors` and `shapes`; of height and width 0 where nothing happens.
    - "resize": `in_ids` the partner, `in_anchors` and the first of `shapes` what is taken of it, `out_anchors` and the
      second of `shapes` where it goes. Where nothing happens, the sample's first pixel goes to its place.
    - "share": `in_ids` the partner, `share` how much stays.
    - "mask": `in_ids` the partner, `mask` 1 where a pixel stays.
    - "saliency": `in_ids` the partner, `shapes` the box before it is clipped. Its place, and with it the weights, come
      from the images: what is given here is the unit matrix.
    """

    in_ids: NDArray[np.int32]  # (batch, R)
    in_anchors: NDArray[np.int32]  # (batch, R, 2)
    out_anchors: NDArray[np.int32]  # (batch, R, 2)
    shapes: NDArray[np.int32]  # (batch, R, 2)
    share: NDArray[np.float32]  # (batch, 1)
    mask: NDArray[np.uint8]  # (batch, height, width); a view of one mask where all samples have the same
    matrix: MixingMatrix
    parameters: NDArray[
        np.float64
    ]  # (batch, 7): patch size, fix ratio, triggered, epoch, iteration, tile height and width
    source_map: NDArray[np.int32]  # (batch, tokens); no tokens where none are asked for

    @property
    def weights(self) -> NDArray[np.float32]:
        """The mixing matrix as a whole, (batch, batch), made anew whenever it is asked for."""
        return self.matrix.dense()

    @staticmethod
    def dtypes(fields: Sequence[str] | None = None) -> list[types.DALIDataType]:
        """DALI's types of the arrays of those names, by default of all in their order."""
        return [_ARRAYS[field][0] for field in (_ARRAYS if fields is None else fields)]

    @staticmethod
    def ndims(fields: Sequence[str] | None = None) -> list[int]:
        """Dimensions of one sample of the arrays of those names, by default of all in their order."""
        return [_ARRAYS[field][1] for field in (_ARRAYS if fields is None else fields)]

    def only(self, fields: Sequence[str]) -> tuple[NDArray[np.generic] | list[NDArray[np.generic]], ...]:
        """The arrays of those names, as DALI takes them: one that all samples share as a list of it."""
        arrays = (getattr(self, field) for field in fields)
        return tuple(array if array.flags.c_contiguous else list(array) for array in arrays)


_ARRAYS: dict[str, tuple[types.DALIDataType, int]] = {
    "in_ids": (types.INT32, 1),
    "in_anchors": (types.INT32, 2),
    "out_anchors": (types.INT32, 2),
    "shapes": (types.INT32, 2),
    "share": (types.FLOAT, 1),
    "mask": (types.UINT8, 2),
    "weights": (types.FLOAT, 1),
    "parameters": (types.FLOAT64, 1),
    "source_map": (types.INT32, 1),
}


class PlanNodes(NamedTuple):
    """The same plan as nodes of a DALI graph, and what it does; None is what the action does not need."""

    in_ids: DataNode = None
    in_anchors: DataNode = None
    out_anchors: DataNode = None
    shapes: DataNode = None
    share: DataNode = None
    mask: DataNode = None
    weights: DataNode = None
    parameters: DataNode = None
    action: Action = Action()
    source_map: DataNode = None

    @classmethod
    def of(cls, action: Action, fields: Sequence[str], nodes: Sequence[DataNode]) -> PlanNodes:
        """Put nodes under the names of their arrays."""
        # In a conditional pipeline DALI translates this code, and knows no zip(strict=True).
        return cls(action=action, **{field: nodes[place] for place, field in enumerate(fields)})


@dataclass(frozen=True)
class Settings:
    """What a batch's plan was drawn with; patch size and fix ratio are CellMix's, and 0 for other methods.

    `source_map` says of which tokens it is to be told where they come from, see `cellmix_dali.plugins.PlanSource`.
    """

    tile_size: tuple[int, int]
    epoch: int
    iteration: int
    patch_size: int = 0
    fix_ratio: float = 0.0
    source_map: bool | int = False

    def tokens(self, plan: MixPlan) -> NDArray[np.int32]:
        """Return which sample each token comes from, (batch, tokens): none where it is not asked for."""
        if self.source_map is False:
            return np.zeros((plan.batch_size, 0), np.int32)
        return source_map(plan, self.tile_size, None if self.source_map is True else self.source_map)

    def parameters(self, triggered: bool, batch: int) -> NDArray[np.float64]:
        """Return them as the graph carries them, a row per sample: see `PlanArrays`."""
        row = [self.patch_size, self.fix_ratio, triggered, self.epoch, self.iteration, *self.tile_size]
        every = np.empty((batch, len(row)), np.float64)
        every[:] = row
        return every


def plan_arrays(plan: MixPlan | SaliencyCut, action: Action, settings: Settings) -> PlanArrays:
    """Put a plan in the terms of the operators."""
    batch = plan.batch_size
    regions = _Regions.none(batch)
    share, mask = np.zeros((batch, 0), np.float32), np.zeros((batch, 0, 0), np.uint8)
    matrix = MixingMatrix.unit(batch) if isinstance(plan, SaliencyCut) else plan.matrix
    if isinstance(plan, PatchPlan):
        regions = _patch_regions(plan, settings.tile_size)
    elif isinstance(plan, BoxPlan):
        regions = _BOXES[action.kind](plan)
    elif isinstance(plan, SaliencyCut):
        size = np.tile(np.array(plan.size, np.int32), (batch, 1, 1))
        regions = regions._replace(ids=plan.source[:, None], shapes=size)
    else:
        assert isinstance(plan, BlendPlan)
        regions = regions._replace(ids=plan.partner[:, None])
        if action.kind == "share":
            share = plan.share[:, None]
        else:
            own = np.ones(settings.tile_size, np.uint8) if plan.mask is None else plan.mask
            mask = np.broadcast_to(own, (batch, *settings.tile_size))  # one in memory, where all have the same
    # Where SaliencyMix's boxes lie, the images say: see `saliency.placed_boxes`.
    tokens = np.zeros((batch, 0), np.int32) if isinstance(plan, SaliencyCut) else settings.tokens(plan)
    return PlanArrays(*regions, share, mask, matrix, settings.parameters(plan.triggered, batch), tokens)


class _Regions(NamedTuple):
    """The arrays of a plan that say who and where."""

    ids: NDArray[np.int32]
    in_anchors: NDArray[np.int32]
    out_anchors: NDArray[np.int32]
    shapes: NDArray[np.int32]

    @classmethod
    def none(cls, batch: int) -> _Regions:
        """No region in any sample."""
        pairs = np.zeros((batch, 0, 2), np.int32)
        return cls(np.zeros((batch, 0), np.int32), pairs, pairs, pairs)


def _patch_regions(plan: PatchPlan, tile_size: tuple[int, int]) -> _Regions:
    """Each tile whole, then the patches that come from elsewhere."""
    if not plan.triggered:
        return _whole_tiles(plan.batch_size, tile_size)
    rows, columns = plan.grid
    height, width = tile_size[0] // rows, tile_size[1] // columns
    return _Regions(*patch_regions(plan.source_sample, plan.source_patch, columns, height, width))


def box_regions(plan: BoxPlan) -> _Regions:
    """Each tile whole, then the box of its source."""
    own_tile = _whole_tiles(plan.batch_size, plan.tile_size)
    return _stacked(own_tile, _some_pixel(plan)) if plan.triggered else own_tile


def _filled_regions(plan: BoxPlan) -> _Regions:
    """The box alone."""
    return _Regions.none(plan.batch_size)._replace(
        out_anchors=np.ascontiguousarray(plan.boxes[:, None, :2]), shapes=np.ascontiguousarray(plan.boxes[:, None, 2:])
    )


def _resized_regions(plan: BoxPlan) -> _Regions:
    """What is taken and where it goes: two shapes per sample."""
    box, taken = _some_pixel(plan), np.where(_empty(plan), 1, plan.source_boxes[:, 2:]).astype(np.int32)
    return box._replace(shapes=np.concatenate([taken[:, None, :], box.shapes], axis=1))


def _some_pixel(plan: BoxPlan) -> _Regions:
    """The boxes; where one is empty, the sample's own first pixel, which changes nothing."""
    empty = _empty(plan)
    own = np.arange(plan.batch_size, dtype=np.int32)[:, None]
    taken, box = (
        np.where(empty, np.array([0, 0, 1, 1], np.int32), boxes)[:, None] for boxes in (plan.source_boxes, plan.boxes)
    )
    return _Regions(
        np.where(empty, own, plan.source[:, None]),
        *(np.ascontiguousarray(part) for part in (taken[..., :2], box[..., :2], box[..., 2:])),
    )


def _empty(plan: BoxPlan) -> NDArray[np.bool_]:
    """Which boxes hold nothing, (batch, 1)."""
    return np.asarray((plan.boxes[:, 2:] == 0).any(axis=1, keepdims=True))


def _stacked(first: _Regions, second: _Regions) -> _Regions:
    """Regions after one another."""
    return _Regions(*(np.concatenate([a, b], axis=1) for a, b in zip(first, second, strict=True)))


def _whole_tiles(batch: int, tile_size: tuple[int, int]) -> _Regions:
    """One region per sample: its own tile."""
    origin = np.zeros((batch, 1, 2), np.int32)
    whole = np.ascontiguousarray(np.broadcast_to(np.array(tile_size, np.int32), (batch, 1, 2)))
    return _Regions(np.arange(batch, dtype=np.int32)[:, None], origin, origin, whole)


_BOXES = {"paste": box_regions, "fill": _filled_regions, "resize": _resized_regions}
