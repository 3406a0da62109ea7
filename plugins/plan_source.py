"""Plans and curriculum parameters as a DALI external source: a few kilobytes per batch, drawn on the host."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import tile_shape
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import Action, CellMix, Mixer, MixPlan, SaliencyMix, TileMixer, check_source_map
from cellmix_dali.mixing.cellmix import fixed_patches, patch_grid
from cellmix_dali.mixing.saliencymix import SaliencyCut

from .clock import BatchPosition, EpochClock
from .dali import fn
from .plan_arrays import PlanArrays, PlanNodes, Settings, plan_arrays

__all__ = ["CurriculumLike", "PlanArrays", "PlanNodes", "PlanSource"]


class CurriculumLike(Protocol):
    """Anything that says the patch size and the fix ratio that hold now: `cellmix_dali.Curriculum`, or a user's own.

    These count as well, where it has them: ``epoch``, how often it was stepped, must be the number of the epoch whose
    plans are drawn; ``tile_size`` and all ``patch_sizes`` must fit the tiles.
    """

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    @property
    def fix_ratio(self) -> float:
        """Share of patches that stay."""


class PlanSource:
    """Draws the plan of each batch, CellMix's under a curriculum; a source for `fn.external_source`.

    Parameters
    ----------
    mixer : Mixer
        Draws the plans: `CellMix`, or any other of `cellmix_dali.mixing.make_mixer`.
    tile_size : int or tuple of int
        Side, or (height, width), of the images that will be mixed, in pixels.
    batch_size : int
        Samples per batch: the pipeline's batch size.
    curriculum : Curriculum, optional
        Asked for patch size and fix ratio when a batch's plan is drawn. Instead of it, `patch_size` and `fix_ratio`.
        For CellMix only.
    patch_size : int, optional
        Constant patch size in pixels. For CellMix only.
    fix_ratio : float, optional
        Constant share of patches that stay. For CellMix only.
    epoch_size : int, optional
        Batches in an epoch: the source ends the epoch itself, so that a curriculum step made between two epochs
        takes effect at the first batch of the next and in none before. None: the source never ends an epoch.
    source_map : bool or int, default False
        Whether plans say, too, which sample each token comes from: see `cellmix_dali.plugins.mix`.

    Raises
    ------
    ArgumentError
        If the group size does not divide the batch, the patch size does not divide the tile, the fix ratio is out of
        range, the curriculum is for tiles of another size or has a patch size that does not divide the tile, CellMix is
        given both or neither of curriculum and constants, or another method is given any of them; if the plans cannot
        say where tokens come from. When a batch is
        drawn: if the curriculum was not stepped once for every epoch before (where `epoch_size` is given).

    Attributes
    ----------
    action : Action
        What the plans do to pixels.
    weights_known : bool
        Whether the mixing matrix is known on the host; that of SaliencyMix depends on the images.
    """

    def __init__(
        self,
        mixer: Mixer,
        *,
        tile_size: int | tuple[int, int],
        batch_size: int,
        curriculum: CurriculumLike | None = None,
        patch_size: int | None = None,
        fix_ratio: float | None = None,
        epoch_size: int | None = None,
        source_map: bool | int = False,
    ) -> None:
        if not isinstance(mixer, Mixer):
            raise ArgumentError(f"{mixer!r} is not a mixer whose plans can be applied: use mixing.make_mixer(...).")
        check_settings(mixer, curriculum=curriculum, patch_size=patch_size, fix_ratio=fix_ratio)
        mixer.check_batch_size(batch_size)
        self.mixer = mixer
        self.action = mixer.action
        self.weights_known = self.action.kind != "saliency"
        self.tile_size = tile_shape(tile_size)
        self.batch_size = batch_size
        self.source_map = check_source_map(mixer, source_map, self.tile_size)
        self.clock = EpochClock(epoch_size)
        self._curriculum = curriculum
        self._constants = (patch_size, fix_ratio)
        if isinstance(mixer, CellMix):
            check_curriculum(curriculum, self.tile_size)
            rows, columns = patch_grid(self.tile_size, self.parameters()[0])
            fixed_patches(rows * columns, self.parameters()[1])

    @property
    def curriculum(self) -> CurriculumLike | None:
        """What says CellMix's patch size and fix ratio; None where they are constant, and of other methods."""
        return self._curriculum

    @property
    def curriculum_epoch(self) -> int | None:
        """How often the curriculum was stepped; None where there is none, or it does not say so."""
        epoch = getattr(self._curriculum, "epoch", None)
        return None if epoch is None else int(epoch)

    def parameters(self) -> tuple[int, float]:
        """Return the patch size (pixels) and the fix ratio that hold now; 0 and 0.0 for other methods than CellMix."""
        if self._curriculum is not None:
            return int(self._curriculum.patch_size), float(self._curriculum.fix_ratio)
        patch_size, fix_ratio = self._constants
        return int(patch_size or 0), float(fix_ratio or 0.0)

    def require_epoch(self, epoch: int) -> None:
        """Raise `ArgumentError` if the curriculum was not stepped once for every epoch before this one."""
        steps = self.curriculum_epoch
        if steps is None or steps == epoch:
            return
        why = (
            "A step was forgotten, was made on another rank alone, or comes too late: call curriculum.step(loss) "
            "between two epochs, on every rank, before the next epoch's first batch is asked for (with DALI's own "
            "iterator: auto_reset=False, and reset() after the step; a pass over a loader that is left after more than "
            "one batch counts as an epoch)"
            if steps < epoch
            else "It was stepped twice for an epoch, within one, or had been used before: step it once after each "
            "epoch, and give every training a Curriculum of its own"
        )
        raise ArgumentError(
            f"The curriculum was stepped {steps} times, and a batch of epoch {epoch} (counted from 0) is asked for: "
            f"it would be mixed with another epoch's patch size and fix ratio. {why}. To go on with a saved training, "
            "load the loader's state, which holds the curriculum's."
        )

    def draw(self, epoch: int, iteration: int) -> PlanArrays:
        """Draw one batch's plan with the parameters that hold now, which must be those of its epoch."""
        self.require_epoch(epoch)
        return self._draw(epoch, iteration)

    def _draw(self, epoch: int, iteration: int) -> PlanArrays:
        """Draw one batch's plan, whatever epoch the curriculum is in."""
        settings = Settings(self.tile_size, epoch, iteration, *self.parameters(), self.source_map)
        return drawn_arrays(self.mixer, self.action, self.batch_size, settings)

    def __call__(self, info: BatchPosition) -> tuple[NDArray[np.generic] | list[NDArray[np.generic]], ...]:
        """Return the arrays of a batch that the graph needs, as `fn.external_source(batch_info=True)` asks for them."""
        epoch, iteration = self.clock.at(info)
        # Without an epoch size DALI's reader ends the epochs, and does not say how many there were.
        drawn = self._draw(epoch, iteration) if self.clock.epoch_size is None else self.draw(epoch, iteration)
        return drawn.only(self.fields())

    def fields(self, *, weights: bool = True) -> tuple[str, ...]:
        """Names of the arrays that the graph needs; the weights only if something is mixed by them there."""
        return plan_fields(self.action, self.source_map, weights=weights)

    def nodes(self) -> PlanNodes:
        """Put the source into the DALI graph that is being defined."""
        fields = self.fields()
        arrays = fn.external_source(
            source=self,
            num_outputs=len(fields),
            batch=True,
            batch_info=True,
            dtype=PlanArrays.dtypes(fields),
            ndim=PlanArrays.ndims(fields),
        )
        return PlanNodes.of(self.action, fields, arrays)


def check_settings(mixer: Mixer, *, curriculum: object = None, patch_size: object, fix_ratio: object) -> None:
    """Raise `ArgumentError` if patch size and fix ratio are missing, said twice, or not the method's."""
    constants = (patch_size is not None, fix_ratio is not None)
    if not isinstance(mixer, CellMix):
        if curriculum is not None or any(constants):
            raise ArgumentError(
                f"{mixer.method} has no patches: curriculum, patch_size and fix_ratio are CellMix's alone. Leave them "
                "out, or choose one of CellMix's methods."
            )
    elif any(constants) == (curriculum is not None) or (any(constants) and not all(constants)):
        raise ArgumentError(f"{mixer.method} needs either a curriculum, or both patch_size and fix_ratio.")


def check_curriculum(curriculum: object, tile_size: tuple[int, int]) -> None:
    """Raise `ArgumentError` if a curriculum says that it is for other tiles, or has a patch size that does not fit."""
    theirs = getattr(curriculum, "tile_size", None)
    if theirs is not None and tile_shape(theirs) != tile_size:
        raise ArgumentError(
            f"The curriculum is for tiles of {tile_shape(theirs)} pixels (height, width), the tiles here have "
            f"{tile_size}: give both the same tile_size."
        )
    for size in getattr(curriculum, "patch_sizes", None) or ():
        patch_grid(tile_size, int(size))


def plan_fields(action: Action, source_map: bool | int, *, weights: bool = True) -> tuple[str, ...]:
    """Names of the arrays of a plan that the graph needs; SaliencyMix's tokens are told apart there."""
    told = source_map is not False and action.kind != "saliency"
    return action.fields(weights=weights) + ("source_map",) * told


def drawn_arrays(mixer: Mixer, action: Action, batch_size: int, settings: Settings) -> PlanArrays:
    """Draw a batch's plan, and put it in the terms of the operators."""
    tile_size, key = settings.tile_size, {"epoch": settings.epoch, "iteration": settings.iteration}
    plan: MixPlan | SaliencyCut
    if isinstance(mixer, CellMix):
        plan = mixer.draw(batch_size, tile_size, settings.patch_size, settings.fix_ratio, **key)
    elif isinstance(mixer, SaliencyMix):
        plan = mixer.draw_cut(batch_size, tile_size, **key)
    else:
        assert isinstance(mixer, TileMixer)
        plan = mixer.draw(batch_size, tile_size, **key)
    return plan_arrays(plan, action, settings)
