"""Plans and curriculum parameters as a DALI external source: a few kilobytes a batch, drawn on the host."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import tile_shape
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing.cellmix import CellMix, fixed_patches, patch_grid
from cellmix_dali.mixing.plan import MixPlan

from ._dali import DataNode, fn, types
from .clock import BatchPosition, EpochClock

__all__ = ["CurriculumLike", "PlanArrays", "PlanNodes", "PlanSource", "plan_arrays"]


class CurriculumLike(Protocol):
    """Anything that says the patch size and the fix ratio in force: `cellmix_dali.Curriculum`, or a user's own."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    @property
    def fix_ratio(self) -> float:
        """Share of patches that stay."""


class PlanArrays(NamedTuple):
    """One batch's plan as whole-batch arrays, in the terms of `fn.multi_paste`."""

    in_ids: NDArray[np.int32]  # (batch, regions)
    in_anchors: NDArray[np.int32]  # (batch, regions, 2)
    out_anchors: NDArray[np.int32]  # (batch, regions, 2)
    shapes: NDArray[np.int32]  # (batch, regions, 2)
    weights: NDArray[np.float32]  # (batch, batch)
    parameters: NDArray[
        np.float64
    ]  # (batch, 7): patch size, fix ratio, triggered, epoch, iteration, tile height and width

    @staticmethod
    def dtypes() -> list[types.DALIDataType]:
        """DALI's types of the arrays, in their order."""
        return [types.INT32] * 4 + [types.FLOAT, types.FLOAT64]

    @staticmethod
    def ndims() -> list[int]:
        """Dimensions of one sample of each array, in their order."""
        return [1, 2, 2, 2, 1, 1]


class PlanNodes(NamedTuple):
    """The same plan as nodes of a DALI graph."""

    in_ids: DataNode
    in_anchors: DataNode
    out_anchors: DataNode
    shapes: DataNode
    weights: DataNode
    parameters: DataNode


class PlanSource:
    """Draws the plan of each batch under a curriculum; a source for `fn.external_source`.

    Parameters
    ----------
    mixer : CellMix
        Draws the plans.
    tile_size : int or tuple of int
        Side, or (height, width), of the images that will be mixed, in pixels.
    batch_size : int
        Samples a batch: the pipeline's batch size.
    curriculum : Curriculum, optional
        Asked for patch size and fix ratio when a batch's plan is drawn. Instead of it, `patch_size` and `fix_ratio`.
    patch_size : int, optional
        Constant patch size in pixels.
    fix_ratio : float, optional
        Constant share of patches that stay.
    epoch_size : int, optional
        Batches in an epoch: the source ends the epoch itself, so that a curriculum step made between two epochs is in
        force from the first batch of the next and in none before. None: never.

    Raises
    ------
    ArgumentError
        If the group size does not divide the batch, the patch size does not divide the tile, the fix ratio is out of
        range, or both or neither of curriculum and constants are given.
    """

    def __init__(
        self,
        mixer: CellMix,
        *,
        tile_size: int | tuple[int, int],
        batch_size: int,
        curriculum: CurriculumLike | None = None,
        patch_size: int | None = None,
        fix_ratio: float | None = None,
        epoch_size: int | None = None,
    ) -> None:
        constants = (patch_size is not None, fix_ratio is not None)
        if any(constants) == (curriculum is not None) or (any(constants) and not all(constants)):
            raise ArgumentError("Give PlanSource either a curriculum, or both patch_size and fix_ratio.")
        mixer.check_batch_size(batch_size)
        self.mixer = mixer
        self.tile_size = tile_shape(tile_size)
        self.batch_size = batch_size
        self.clock = EpochClock(epoch_size)
        self._curriculum = curriculum
        self._constants = (patch_size, fix_ratio)
        rows, columns = patch_grid(self.tile_size, self.parameters()[0])
        fixed_patches(rows * columns, self.parameters()[1])

    def parameters(self) -> tuple[int, float]:
        """Give the patch size (pixels) and the fix ratio now in force."""
        if self._curriculum is not None:
            return int(self._curriculum.patch_size), float(self._curriculum.fix_ratio)
        patch_size, fix_ratio = self._constants
        assert patch_size is not None
        assert fix_ratio is not None
        return int(patch_size), float(fix_ratio)

    def draw(self, epoch: int, iteration: int) -> PlanArrays:
        """Draw one batch's plan with the parameters now in force."""
        patch_size, fix_ratio = self.parameters()
        plan = self.mixer.draw(self.batch_size, self.tile_size, patch_size, fix_ratio, epoch=epoch, iteration=iteration)
        return plan_arrays(plan, self.tile_size, patch_size, fix_ratio, epoch=epoch, iteration=iteration)

    def __call__(self, info: BatchPosition) -> PlanArrays:
        """Give the arrays of one batch, as `fn.external_source(batch_info=True)` asks for them."""
        return self.draw(*self.clock.at(info))

    def nodes(self) -> PlanNodes:
        """Put the source into the DALI graph that is being defined."""
        return PlanNodes(
            *fn.external_source(
                source=self,
                num_outputs=len(PlanArrays._fields),
                batch=True,
                batch_info=True,
                dtype=PlanArrays.dtypes(),
                ndim=PlanArrays.ndims(),
            )
        )


def plan_arrays(
    plan: MixPlan,
    tile_size: tuple[int, int],
    patch_size: int,
    fix_ratio: float,
    *,
    epoch: int,
    iteration: int,
) -> PlanArrays:
    """Put a plan in the terms of `fn.multi_paste`: each tile whole, then the patches that come from elsewhere."""
    batch = plan.batch_size
    parameters = np.array([patch_size, fix_ratio, plan.triggered, epoch, iteration, *tile_size], np.float64)
    ids, in_anchors, out_anchors, shapes = _whole_tiles(batch, tile_size)
    if plan.triggered:
        rows, columns = plan.grid
        side = np.array([tile_size[0] // rows, tile_size[1] // columns], np.int32)
        corners = np.stack(np.divmod(np.arange(rows * columns, dtype=np.int32), columns), axis=-1) * side
        # Foreign patches first. As many as the sample with the most of them has are pasted over each whole own tile;
        # where a sample has fewer, the rest are own patches, which change nothing. (Later pastes win.)
        own = (plan.source_sample == ids) & (plan.source_patch == np.arange(rows * columns))
        places = np.argsort(own, axis=1, kind="stable")[:, : int((~own).sum(axis=1).max())]
        foreign = np.take_along_axis(plan.source_sample, places, axis=1)
        sources = corners[np.take_along_axis(plan.source_patch, places, axis=1)]
        patches = np.ascontiguousarray(np.broadcast_to(side, (*places.shape, 2)))
        ids = np.concatenate([ids, foreign], axis=1)
        in_anchors = np.concatenate([in_anchors, sources], axis=1)
        out_anchors = np.concatenate([out_anchors, corners[places]], axis=1)
        shapes = np.concatenate([shapes, patches], axis=1)
    return PlanArrays(
        in_ids=ids,
        in_anchors=in_anchors,
        out_anchors=out_anchors,
        shapes=shapes,
        weights=plan.weights,
        parameters=np.ascontiguousarray(np.broadcast_to(parameters, (batch, parameters.size))),
    )


def _whole_tiles(batch: int, tile_size: tuple[int, int]) -> tuple[NDArray[np.int32], ...]:
    """One region a sample: its own tile."""
    origin = np.zeros((batch, 1, 2), np.int32)
    whole = np.ascontiguousarray(np.broadcast_to(np.array(tile_size, np.int32), (batch, 1, 2)))
    return np.arange(batch, dtype=np.int32)[:, None], origin, origin, whole
