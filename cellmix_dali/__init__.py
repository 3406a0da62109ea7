"""Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.

The library is here; DALI operators are in `cellmix_dali.plugins`, whole pipelines in `cellmix_dali.pipelines`.
"""

from typing import TYPE_CHECKING, Any

from .curriculum import Curriculum, patch_scheduler, ratio_scheduler
from .errors import CellMixDaliError
from .grids import grid_tiles
from .losses import SoftTargetCrossEntropy
from .mixing import CellMix, MixPlan, cellmix_plan
from .slides import open_slide
from .tiles import TileTable

if TYPE_CHECKING:
    from .pipelines.read import read_tiles

__version__ = "0.1.0"

__all__ = [
    "CellMix",
    "CellMixDaliError",
    "Curriculum",
    "MixPlan",
    "SoftTargetCrossEntropy",
    "TileTable",
    "cellmix_plan",
    "grid_tiles",
    "open_slide",
    "patch_scheduler",
    "ratio_scheduler",
    "read_tiles",
]


def __getattr__(name: str) -> Any:
    # What stands on an upper floor needs DALI: it is imported when it is asked for.
    if name == "read_tiles":
        from .pipelines.read import read_tiles

        return read_tiles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
