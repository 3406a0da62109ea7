"""The order of an epoch: a pure function of (seed, epoch, iteration, rank, world size).

`EpochOrder` cuts an epoch of positions into batches; `_shuffles` and `_balance` say which row stands at a position, and
`permutation` permutes any number of rows without an array as long as the table.
"""

from .epoch_order import EpochOrder
from .permutation import permuted
from .places import Places, PlaceSettings, slide_weights
from .slide_tissue import SlideTissue, TintFilter, open_tissue, save_tissue, tissue_of_slides

__all__ = [
    "EpochOrder",
    "PlaceSettings",
    "Places",
    "SlideTissue",
    "TintFilter",
    "open_tissue",
    "permuted",
    "save_tissue",
    "slide_weights",
    "tissue_of_slides",
]
