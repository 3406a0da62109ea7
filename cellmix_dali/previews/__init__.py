"""What mixing, its curriculum and normalised stains look like: for the commands `preview`, `curriculum` and `stain`.

Mixing itself is in `cellmix_dali.previews.mixed_tiles`, which needs DALI; nothing else here does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .chosen_tiles import ChosenTiles as ChosenTiles, choose_tiles as choose_tiles
    from .loss_record import LossRecord as LossRecord, made_up_losses as made_up_losses, read_losses as read_losses
    from .normalised import NormalisedTiles as NormalisedTiles, normalised_tiles as normalised_tiles
    from .strategies import StrategyRuns as StrategyRuns, run_strategies as run_strategies

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "chosen_tiles": "ChosenTiles choose_tiles",
        "loss_record": "LossRecord made_up_losses read_losses",
        "normalised": "NormalisedTiles normalised_tiles",
        "strategies": "StrategyRuns run_strategies",
    },
)
