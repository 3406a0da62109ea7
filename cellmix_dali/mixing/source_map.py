"""Which sample each patch or token of a mixed image comes from: for the labels of a vision transformer's tokens."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from .._arguments import integer, tile_shape
from ..errors import ArgumentError
from .blend_plan import BlendPlan
from .box_plan import BoxPlan
from .mixer import Mixer
from .plan import MixPlan, PatchPlan

__all__ = ["NOBODY", "check_source_map", "source_map"]

#: In the place of a sample: most of the token was overwritten by a constant (Cutout).
NOBODY = -1


def source_map(plan: MixPlan, tile_size: int | tuple[int, int], token_size: int | None = None) -> NDArray[np.int32]:
    """Say of each token of each output which sample of the batch it comes from.

    Parameters
    ----------
    plan : MixPlan
        Any plan whose pixels each come from one sample: all but those of Mixup.
    tile_size : int or tuple of int
        Side, or (height, width), of the samples in pixels.
    token_size : int, optional
        Side of a token in pixels, such as a vision transformer's patch size; must divide the tile. By default a token
        is one of CellMix's patches, whatever their size in this plan.

    Returns
    -------
    int32 array (batch, tokens)
        Row by row within the tile. Where a token holds pixels of several samples, the one that gives most of them; of
        several that give as many, the output's own, else the lowest number. `NOBODY`, -1, where most of the token was
        overwritten by a constant.

    Raises
    ------
    ArgumentError
        If the token does not divide the tile, the plan blends pixels, or no token size is given for a plan without
        patches.
    """
    if not isinstance(plan, PatchPlan) and token_size is None:
        raise ArgumentError(_NO_PATCHES.format("This plan"))
    tile = tile_shape(tile_size)
    if not plan.triggered:
        tokens = plan.grid[0] * plan.grid[1] if isinstance(plan, PatchPlan) else 0
        if token_size is not None:
            tokens = int(np.prod(_token_grid(tile, token_size)))
        return np.repeat(np.arange(plan.batch_size, dtype=np.int32)[:, None], tokens, axis=1)
    if token_size is not None:
        _token_grid(tile, token_size)
    return _mapped(plan, tile, token_size)


def check_source_map(mixer: Mixer, wanted: bool | int, tile_size: tuple[int, int] | None = None) -> bool | int:
    """Return what is wanted of a mixer's plans as plain values, or raise `ArgumentError` if they cannot give it.

    Parameters
    ----------
    mixer : Mixer
        Draws the plans.
    wanted : bool or int
        False: nothing. True: one number per patch of CellMix. A number: the side of a token in pixels.
    tile_size : tuple of int, optional
        Height and width of the tiles in pixels, where they are known.

    Returns
    -------
    bool or int
    """
    if isinstance(wanted, bool | np.bool_):
        if wanted and not mixer.steered:
            raise ArgumentError(_NO_PATCHES.format(mixer.method))
        return bool(wanted)
    token = integer("source_map", wanted, low=1)
    if mixer.action.kind == "share":
        raise ArgumentError(
            f"{mixer.method} blends every pixel of two samples, so no token comes from one of them: leave source_map "
            "out, and use the soft labels; or choose a method that pastes, such as CellMix-Group or CutMix."
        )
    if tile_size is not None:
        _token_grid(tile_size, token)
    return token


_NO_PATCHES = (
    "{} has no patches of CellMix: give the side of a token in pixels, such as source_map=16 for a vision transformer "
    "with patches of 16 px."
)


def _token_grid(tile: tuple[int, int], token: int) -> tuple[int, int]:
    """Rows and columns of tokens in a tile."""
    token = integer("token_size", token, low=1)
    if tile[0] % token or tile[1] % token:
        raise ArgumentError(
            f"source_map={token}: tokens of {token} px do not fill tiles of {tile[0]} x {tile[1]} px. Give the patch "
            "size of your model, which divides both sides."
        )
    return tile[0] // token, tile[1] // token


@singledispatch
def _mapped(plan: MixPlan, _tile: tuple[int, int], _token: int | None) -> NDArray[np.int32]:
    raise ArgumentError(f"It is not known which pixels of a plan of type {type(plan).__name__} come from where.")


@_mapped.register
def _of_patches(plan: PatchPlan, tile: tuple[int, int], token: int | None) -> NDArray[np.int32]:
    """The patches' samples; on another grid, those of the tokens."""
    if token is None:
        return np.array(plan.source_sample)
    batch, (rows, columns) = plan.batch_size, plan.grid
    high, wide = tile[0] // rows, tile[1] // columns
    # Cells that lie in one patch and in one token each.
    cell_high, cell_wide = int(np.gcd(high, token)), int(np.gcd(wide, token))
    cells = plan.source_sample.reshape(batch, rows, columns)
    cells = cells.repeat(high // cell_high, axis=1).repeat(wide // cell_wide, axis=2)
    down, across = token // cell_high, token // cell_wide
    within = cells.reshape(batch, tile[0] // token, down, tile[1] // token, across).swapaxes(2, 3)
    from ._exchange import most_frequent  # numba takes a second to import

    own: NDArray[np.int32] = most_frequent(np.ascontiguousarray(within.reshape(batch, -1, down * across)))
    return own


@_mapped.register
def _of_boxes(plan: BoxPlan, tile: tuple[int, int], token: int | None) -> NDArray[np.int32]:
    """The box's sample where the box covers more than half of the token."""
    assert token is not None
    down, across = (_overlap(plan.boxes[:, axis], plan.boxes[:, 2 + axis], tile[axis], token) for axis in (0, 1))
    covered = (down[:, :, None] * across[:, None, :]).reshape(plan.batch_size, -1)
    own = np.arange(plan.batch_size, dtype=np.int32)[:, None]
    return np.where(2 * covered > token * token, plan.source[:, None], own).astype(np.int32)


def _overlap(first: NDArray[np.int32], size: NDArray[np.int32], side: int, token: int) -> NDArray[np.int64]:
    """By how many pixels each sample's box and each token overlap along one axis, (batch, tokens)."""
    starts = np.arange(0, side, token)
    ends = np.minimum((first + size)[:, None], starts + token)
    both: NDArray[np.int64] = np.clip(ends - np.maximum(first[:, None], starts), 0, None)
    return both


@_mapped.register
def _of_masks(plan: BlendPlan, tile: tuple[int, int], token: int | None) -> NDArray[np.int32]:
    """The partner where the mask leaves it more than half of the token."""
    assert token is not None
    if plan.mask is None:
        raise ArgumentError(
            "A plan that blends every pixel of two samples has no token that comes from one of them: use soft labels."
        )
    rows, columns = tile[0] // token, tile[1] // token
    cells = plan.mask.reshape(-1, rows, token, columns, token)
    stays = cells.sum(axis=(2, 4), dtype=np.int64).reshape(-1, rows * columns)
    own = np.arange(plan.batch_size, dtype=np.int32)[:, None]
    return np.where(2 * stays < token * token, plan.partner[:, None], own).astype(np.int32)
