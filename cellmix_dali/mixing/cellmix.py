"""CellMix (arXiv 2301.11513): patches exchanged between the samples of a group, in place or shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import tile_shape
from ..errors import ArgumentError, unknown_name
from .action import Action
from .mixer import Mixer
from .mixing_matrix import MixingMatrix
from .plan import PatchPlan

__all__ = ["CELLMIX_VARIANTS", "STRATEGIES", "CellMix", "CellMixVariant", "cellmix_plan"]

STRATEGIES = ("in-place", "random")

_INFINITY = np.array(np.inf).view(np.int64)


@dataclass(frozen=True)
class CellMixVariant:
    """What one of the authors' names stands for.

    Attributes
    ----------
    strategy : str
        "in-place": a patch keeps its place; "random": the patches of each output tile are shuffled as well.
    group_size : int
        Consecutive samples that exchange patches with each other; -1: the whole batch.
    """

    strategy: str
    group_size: int


#: The authors' eight names.
CELLMIX_VARIANTS: dict[str, CellMixVariant] = {
    "CellMix": CellMixVariant("in-place", -1),
    "CellMix-Split": CellMixVariant("in-place", -1),
    "CellMix-Group": CellMixVariant("in-place", 2),
    "CellMix-Group4": CellMixVariant("in-place", 4),
    "CellMix-Random": CellMixVariant("random", 2),
    "CellMix-Random4": CellMixVariant("random", 4),
    "CellMix-All": CellMixVariant("random", -1),
    "CellMix-Self": CellMixVariant("random", 1),
}


def cellmix_plan(
    noise_fix: ArrayLike,
    noise_group: ArrayLike,
    noise_all: ArrayLike | None = None,
    *,
    grid: tuple[int, int],
    fix_ratio: float,
    group_size: int = -1,
    strategy: str = "in-place",
) -> PatchPlan:
    """Make the plan that CellMix draws from given noise.

    With P = rows * columns and F = int(P * fix_ratio): the first F positions of ``argsort(noise_fix)`` stay, the same
    for all samples. At each other position, independently, the samples of a group exchange their patches by
    ``argsort`` of their noise. Strategy "random" then permutes all patches of each output tile by
    ``argsort(noise_all)``, which leaves the labels as they are.

    Parameters
    ----------
    noise_fix : array (P,)
        Noise over the patch positions.
    noise_group : array (batch, P - F)
        Noise over samples and free positions; column j belongs to the j-th free position of ``argsort(noise_fix)``.
    noise_all : array (batch, P), optional
        Noise over the patches of each tile; needed by strategy "random" and used by it alone.
    grid : tuple of int
        Rows and columns of patches.
    fix_ratio : float
        Share of positions that stay, in [0, 1].
    group_size : int, default -1
        Consecutive samples that exchange patches; -1: the whole batch.
    strategy : {"in-place", "random"}
        Whether a patch keeps its place.

    Returns
    -------
    PatchPlan

    Raises
    ------
    ArgumentError
        If an argument is out of range, the noise has the wrong shape, or the group size does not divide the batch.
    """
    fix, group = np.asarray(noise_fix), np.asarray(noise_group)
    patches = _check_grid(grid)
    fixed = fixed_patches(patches, fix_ratio)
    if strategy not in STRATEGIES:
        raise unknown_name("strategy", strategy, STRATEGIES)
    if fix.shape != (patches,) or group.ndim != 2 or group.shape[1] != patches - fixed:
        raise ArgumentError(
            f"Noise of shapes {fix.shape} and {group.shape} does not fit a grid of {grid[0]} x {grid[1]} patches of "
            f"which {fixed} stay: expected ({patches},) and (batch, {patches - fixed})."
        )
    from ._exchange import SMALL_GROUP, exchanged, moved  # numba takes a second to import

    batch = group.shape[0]
    members = check_group_size(group_size, batch)

    # Stable, so that a tie means the same on every platform.
    positions = np.argsort(fix, kind="stable")
    free = positions[fixed:]
    # Compiled code knows the usual numbers alone, and sorts no NaN.
    usual = group.dtype in (np.float32, np.float64) and group.dtype.isnative and not np.isnan(group).any()
    exchange = exchanged if members <= SMALL_GROUP and usual else _sorted
    sample = exchange(np.ascontiguousarray(group), free, patches, members)
    if strategy == "random":
        shuffle = _check_noise_all(noise_all, (batch, patches))
        sample, patch = moved(sample, shuffle), shuffle
    else:
        patch = np.repeat(np.arange(patches, dtype=np.int32)[None, :], batch, axis=0)
    return PatchPlan(
        grid=(int(grid[0]), int(grid[1])),
        source_sample=sample,
        source_patch=patch,
        matrix=MixingMatrix.of_patches(sample),
    )


class CellMix(Mixer):
    """Draws CellMix plans.

    The batch is mixed with probability `p`. Label weight: the shares of patches by the tile they came from.

    Parameters
    ----------
    method : str, default "CellMix"
        One of the authors' eight names, see `CELLMIX_VARIANTS`; upper or lower case, "-" or "_".
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`.

    Raises
    ------
    ArgumentError
        If the method is unknown or `p` is not a probability.
    """

    does = "patches are exchanged within the batch or groups of it, in place or moved"
    paper = "2301.11513"
    label_weight = "the shares of patches by the tile they came from"
    steered = True

    def __init__(self, method: str = "CellMix", *, p: float = 1.0, seed: int = 0, rank: int = 0) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.method = canonical_variant(method)
        self.variant = CELLMIX_VARIANTS[self.method]

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("paste")

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `ArgumentError` if the method's groups do not divide the batch."""
        super().check_batch_size(batch_size)
        check_group_size(self.variant.group_size, batch_size, self.method)

    def draw(
        self,
        batch_size: int,
        tile_size: int | tuple[int, int],
        patch_size: int,
        fix_ratio: float,
        *,
        epoch: int,
        iteration: int,
    ) -> PatchPlan:
        """Draw the plan of one batch.

        Parameters
        ----------
        batch_size : int
            Number of samples; the group size must divide it.
        tile_size : int or tuple of int
            Side, or (height, width), in pixels; the patch size must divide both.
        patch_size : int
            Side of a patch in pixels.
        fix_ratio : float
            Share of patch positions that stay, in [0, 1].
        epoch, iteration : int
            Which batch.

        Returns
        -------
        PatchPlan
            The identity, ``triggered`` False, with probability 1 - p.

        Raises
        ------
        ArgumentError
            If an argument does not fit.
        """
        grid = patch_grid(tile_size, patch_size)
        patches = grid[0] * grid[1]
        fixed = fixed_patches(patches, fix_ratio)
        self.check_batch_size(batch_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return PatchPlan.identity(batch_size, grid)
        return cellmix_plan(
            random.random(patches),
            random.random((batch_size, patches - fixed)),
            random.random((batch_size, patches)) if self.variant.strategy == "random" else None,
            grid=grid,
            fix_ratio=fix_ratio,
            group_size=self.variant.group_size,
            strategy=self.variant.strategy,
        )


def canonical_variant(name: str) -> str:
    """Return the authors' spelling of a variant's name, or raise `ArgumentError` with the near miss."""
    known = {method.lower().replace("-", ""): method for method in CELLMIX_VARIANTS}
    found = known.get(str(name).lower().replace("_", "").replace("-", ""))
    if found is None:
        raise unknown_name("method", name, CELLMIX_VARIANTS)
    return found


def patch_grid(tile_size: int | tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Return rows and columns of patches in a tile, or raise `ArgumentError` if the patch does not divide it."""
    height, width = tile_shape(tile_size)
    if patch_size < 1 or height % patch_size or width % patch_size:
        both = np.gcd(height, width)
        allowed = [side for side in range(8, both + 1) if both % side == 0] or [int(both)]
        raise ArgumentError(
            f"patch_size={patch_size} does not divide tiles of {height} x {width} pixels. "
            f"Sizes that do: {', '.join(map(str, allowed))}."
        )
    return height // patch_size, width // patch_size


def fixed_patches(patches: int, fix_ratio: float) -> int:
    """Return the number of patch positions that stay, or raise `ArgumentError` if it is not a ratio."""
    if not 0.0 <= fix_ratio <= 1.0:
        raise ArgumentError(
            f"fix_ratio={fix_ratio} is out of range: it is the share of patches that stay, from 0 to 1."
        )
    return int(patches * fix_ratio)


def check_group_size(group_size: int, batch_size: int, method: str | None = None) -> int:
    """Return the samples per group, or raise `ArgumentError` if the groups do not divide the batch."""
    if batch_size < 1:
        raise ArgumentError(f"batch_size={batch_size} is not a batch: it must hold at least one sample.")
    if group_size == -1:
        return batch_size
    if group_size < 1 or batch_size % group_size:
        who = f" of method {method!r}" if method else ""
        raise ArgumentError(
            f"group_size={group_size}{who} does not divide batch_size={batch_size}: "
            f"use a batch size that is a multiple of {max(group_size, 1)}, or another group size (-1: whole batch)."
        )
    return group_size


def _check_grid(grid: tuple[int, int]) -> int:
    """Number of patches."""
    if len(grid) != 2 or min(grid) < 1:
        raise ArgumentError(f"grid={grid} is not a grid: give (rows, columns) of patches, each at least 1.")
    return int(grid[0]) * int(grid[1])


def _check_noise_all(noise_all: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Permutation of the patches of each tile."""
    noise = None if noise_all is None else np.asarray(noise_all)
    if noise is None or noise.shape != shape:
        got = "none" if noise is None else f"shape {noise.shape}"
        raise ArgumentError(f"Strategy 'random' needs noise_all of shape (batch, patches) = {shape}, got {got}.")
    return _stable_order(noise)


def _sorted(noise: NDArray[np.floating], free: NDArray[np.intp], patches: int, members: int) -> NDArray[np.int32]:
    """What `exchanged` gives, for groups of any size."""
    batch = len(noise)
    # One contiguous row a (group, free position): sorting rows is several times faster than sorting columns.
    rows = noise.reshape(batch // members, members, free.size).transpose(0, 2, 1)
    order = _stable_order(np.ascontiguousarray(rows)).transpose(0, 2, 1)
    first = np.arange(0, batch, members)[:, None, None]
    sample = np.repeat(np.arange(batch, dtype=np.int32)[:, None], patches, axis=1)
    sample[:, free] = (order + first).reshape(batch, free.size)
    return sample


def _stable_order(rows: NDArray[Any]) -> NDArray[np.int32]:
    """What a stable ``argsort`` of the last axis gives, in a third of the time where the rows are drawn noise.

    Numbers from 0 to infinity are in order as their bits are, and whole numbers are sorted several times faster. The
    bits that matter least make room for the places.
    """
    if rows.dtype == np.float64 and rows.size:
        bits = np.ascontiguousarray(rows, np.float64).view(np.int64)
        room = np.int64((1 << (rows.shape[-1] - 1).bit_length()) - 1)
        keys = bits & ~room
        keys |= np.arange(rows.shape[-1])
        keys.sort(axis=-1)
        usual = bits.min() >= 0 and bits.max() <= _INFINITY
        # Two that are alike but for those bits are told apart by them.
        if usual and ((keys[..., 1:] ^ keys[..., :-1]) > room).all():
            keys &= room
            return keys.astype(np.int32)
    return np.argsort(rows, axis=-1, kind="stable").astype(np.int32)
