"""What mixing and its curriculum would do, shown before a training: for the commands `preview` and `curriculum`.

Mixing itself is in `cellmix_dali.previews.mixed_tiles`, which needs DALI; nothing else here does.
"""

from .chosen_tiles import ChosenTiles, choose_tiles
from .loss_record import LossRecord, made_up_losses, read_losses
from .strategies import StrategyRuns, run_strategies

__all__ = [
    "ChosenTiles",
    "LossRecord",
    "StrategyRuns",
    "choose_tiles",
    "made_up_losses",
    "read_losses",
    "run_strategies",
]
