"""The patch sizes that a tile size and a token size leave to choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cellmix_dali._arguments import integer, tile_shape
from cellmix_dali.errors import ArgumentError, unknown_name

__all__ = ["JUMPS", "WARMUP_PATCH_SIZE", "legal_patch_sizes", "nearest_patch_size"]

JUMPS = ("odd", "even")

WARMUP_PATCH_SIZE = 32  # pixels; the size that the authors' code takes in every warm-up epoch


def legal_patch_sizes(tile_size: int | Sequence[int], token_size: int = 16, jump: str | None = None) -> tuple[int, ...]:
    """List the patch sizes that fit a tile, from small to large.

    A patch size fits when it divides both sides of the tile and is a multiple of the token size, so that no
    token of a vision transformer straddles two patches. The patch that is the whole tile is left out: nothing
    could be mixed. For 384-pixel tiles and 16-pixel tokens these are 16, 32, 48, 64, 96, 128 and 192 (arXiv
    2301.11513).

    Parameters
    ----------
    tile_size : int or (int, int)
        The side of a square tile, or (height, width), in pixels.
    token_size : int, default 16
        The side of the model's tokens in pixels, 1 or more; 1 for a model without tokens.
    jump : {None, "odd", "even"}, default None
        Thin the list out: "odd" keeps every second size from the smallest on, "even" the others and the
        smallest.

    Returns
    -------
    tuple of int
        The sizes in pixels, ascending, at least one.

    Raises
    ------
    ArgumentError
        If an argument is out of its range or no size is left.

    Examples
    --------
    >>> legal_patch_sizes(384)
    (16, 32, 48, 64, 96, 128, 192)
    >>> legal_patch_sizes((224, 448), jump="odd")
    (16, 112)
    """
    height, width = tile_shape(tile_size)
    token = integer("token_size", token_size, low=1)
    if jump is not None and jump not in JUMPS:
        raise unknown_name("jump", jump, JUMPS)
    common = math.gcd(height, width)
    # Only a square tile can be one patch; on any other the common divisor leaves at least two.
    sizes = tuple(s for s in range(token, common + 1, token) if common % s == 0 and not height == width == s)
    if not sizes:
        raise ArgumentError(
            f"No patch size fits tile_size={height}x{width} (height x width) with token_size={token}: no "
            f"multiple of {token} divides both sides into more than one patch. Use sides that are multiples "
            f"of {token}, such as {4 * token}, or a smaller token_size that divides both sides."
        )
    if jump == "odd":
        return sizes[0::2]
    if jump == "even":
        return (sizes[0], *sizes[1::2])
    return sizes


def nearest_patch_size(sizes: Sequence[int], target: int = WARMUP_PATCH_SIZE) -> int:
    """Return the size nearest to a target, the smaller of two that are equally near.

    Parameters
    ----------
    sizes : sequence of int
        Patch sizes in pixels, in any order, at least one.
    target : int, default 32
        The size wished for, in pixels.

    Returns
    -------
    int
        One of `sizes`.

    Raises
    ------
    ArgumentError
        If `sizes` is empty.
    """
    if not sizes:
        raise ArgumentError("sizes is empty: pass one size or more, such as legal_patch_sizes() gives.")
    return min(sizes, key=lambda size: (abs(size - target), size))
