"""Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.

The library is here; DALI operators are in `cellmix_dali.plugins`, whole pipelines in `cellmix_dali.pipelines`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .curriculum import Curriculum, patch_scheduler, ratio_scheduler
from .errors import CellMixDaliError
from .grids import grid_tiles
from .mixing import CellMix, MixPlan, cellmix_plan
from .slides import open_slide
from .tiles import TileTable

if TYPE_CHECKING:
    from .losses import SoftCrossEntropy, SoftTargetCrossEntropy
    from .online_augmentation import get_online_augmentation
    from .pipelines.read import read_tiles

__version__ = "0.1.0"

__all__ = [
    "CellMix",
    "CellMixDaliError",
    "Curriculum",
    "MixPlan",
    "SoftCrossEntropy",
    "SoftTargetCrossEntropy",
    "TileTable",
    "cellmix_plan",
    "get_online_augmentation",
    "grid_tiles",
    "open_slide",
    "patch_scheduler",
    "ratio_scheduler",
    "read_tiles",
]


# Imported when asked for: DALI and PyTorch take seconds.
_LAZY = {
    "SoftCrossEntropy": "losses",
    "SoftTargetCrossEntropy": "losses",
    "get_online_augmentation": "online_augmentation",
    "read_tiles": "pipelines.read",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
