"""The share of tissue in an image, as native operators of a DALI graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellmix_dali.errors import ArgumentError

if TYPE_CHECKING:
    from cellmix_dali.plugins.dali import DataNode

__all__ = ["BLACK", "RASTER", "SATURATION", "check_saturation", "tissue_share_node"]

# As cellmix_dali.tissue.mask has it: HSV saturation of 255 that parts glass from tissue, between the bounds of its
# threshold; and the brightest channel below which a pixel is pen, shadow or background.
SATURATION, BLACK = 20, 40
RASTER = 32  # pixels on each side that are looked at: all of them would take longer than decoding does


def check_saturation(saturation: int) -> int:
    """Refuse what is not an HSV saturation of 255."""
    if not 0 <= saturation <= 255:
        raise ArgumentError(f"saturation={saturation} is out of range: give 0 to 255, such as {SATURATION}.")
    return int(saturation)


def tissue_share_node(images: DataNode, tile_size: int, saturation: int) -> DataNode:
    """Measure the share of tissue: pixels that are saturated and not black, on a raster of at most 32 x 32 of them.

    Parameters
    ----------
    images : DataNode, uint8 HWC
        RGB, square.
    tile_size : int
        Their side.
    saturation : int
        A pixel of tissue has a greater HSV saturation, of 255: ``255 * (max - min) > saturation * max``.

    Returns
    -------
    DataNode, float32 ()
        0 to 1.
    """
    from cellmix_dali.plugins.dali import fn, math, types  # DALI takes long to import

    side = min(tile_size, RASTER)
    if side < tile_size:
        # Pixel floor((i + 0.5) * tile_size / side) of each row and column.
        images = fn.resize(images, size=[side, side], interp_type=types.INTERP_NN)
    red, green, blue = (images[:, :, channel] for channel in range(3))
    high = math.max(math.max(red, green), blue)
    low = math.min(math.min(red, green), blue)
    # Products of two bytes fit 16 bits: that is half the work of 32.
    coloured = (high - low) * types.Constant(255, dtype=types.UINT16) > high * types.Constant(
        saturation, dtype=types.UINT16
    )
    bright = high >= types.Constant(BLACK, dtype=types.UINT8)
    return fn.reductions.mean(fn.cast(coloured & bright, dtype=types.FLOAT))
