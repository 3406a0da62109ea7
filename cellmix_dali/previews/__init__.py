"""What mixing, its curriculum and normalised stains look like: for the commands `preview`, `curriculum` and `stain`.

Mixing itself is in `cellmix_dali.previews.mixed_tiles`, which needs DALI; nothing else here does.
"""

from .chosen_tiles import ChosenTiles, choose_tiles
from .loss_record import LossRecord, made_up_losses, read_losses
from .normalised_tiles import NormalisedTiles, normalised_tiles
from .strategies import StrategyRuns, run_strategies

__all__ = [
    "ChosenTiles",
    "LossRecord",
    "NormalisedTiles",
    "StrategyRuns",
    "choose_tiles",
    "made_up_losses",
    "normalised_tiles",
    "read_losses",
    "run_strategies",
]
