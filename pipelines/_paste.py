"""Parts of decoded blocks copied into windows by compiled code."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, call-arg"

from __future__ import annotations

from cellmix_dali._compiled import compiled, copy_bytes

__all__ = ["paste"]


@compiled(nogil=False)
def paste(addresses, wide, geometry, out):
    """Put a window together; what lies beyond its level is white.

    Parameters
    ----------
    addresses : int64 array (pieces,)
        Of the blocks' first pixels, RGB, contiguous.
    wide : int
        Width of the blocks in pixels.
    geometry : int32 array (pieces, 5, 2)
        See `cellmix_dali.reading.windows.Pieces`.
    out : uint8 array (side, side, 3)
        Overwritten.
    """
    covered = 0
    for piece in range(addresses.size):
        covered += geometry[piece, 2, 0] * geometry[piece, 2, 1]
    if covered < out.shape[0] * out.shape[1]:
        out[:] = 255
    start, row_bytes = out.ctypes.data, 3 * out.shape[1]
    for piece in range(addresses.size):
        (from_y, from_x), (y, x), (height, width) = geometry[piece, 0], geometry[piece, 1], geometry[piece, 2]
        source = addresses[piece] + 3 * (from_y * wide + from_x)
        target = start + row_bytes * y + 3 * x
        for row in range(height):
            copy_bytes(target + row_bytes * row, source + 3 * wide * row, 3 * width)
