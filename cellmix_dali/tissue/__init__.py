"""Where tissue is: on pictures, on slides, in tiles."""

from .mask import tissue_mask, tissue_share

__all__ = ["tissue_mask", "tissue_share"]
