"""Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.

What most people need is here by name, and imported when it is asked for: DALI and PyTorch take seconds. The library is
in the rooms of this package, DALI's operators in `cellmix_dali.plugins`, whole pipelines in `cellmix_dali.pipelines`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .curriculum import Curriculum, patch_scheduler, ratio_scheduler
    from .errors import CellMixDaliError
    from .losses import SoftCrossEntropy, SoftTargetCrossEntropy
    from .mixing import CellMix, MixPlan, Target, TargetValues, cellmix_plan
    from .mixing.online_augmentation import get_online_augmentation
    from .pipelines import evaluate_image_loader, evaluate_loader, read_tiles, train_image_loader, train_loader
    from .plugins import Draw, PlanSource, TileSource, cellmix, mix, tiles
    from .reading import AnnotationMasks, MaskSlides
    from .shards import open_tiles
    from .slides import open_slide
    from .tables import SlideList, TileRecipe, TileTable, grid_tiles, lay_tiles, read_slide_list, tiles_of_slides

__version__ = "0.1.0"

__all__ = [
    "AnnotationMasks",
    "CellMix",
    "CellMixDaliError",
    "Curriculum",
    "Draw",
    "MaskSlides",
    "MixPlan",
    "PlanSource",
    "SlideList",
    "SoftCrossEntropy",
    "SoftTargetCrossEntropy",
    "Target",
    "TargetValues",
    "TileRecipe",
    "TileSource",
    "TileTable",
    "cellmix",
    "cellmix_plan",
    "evaluate_image_loader",
    "evaluate_loader",
    "get_online_augmentation",
    "grid_tiles",
    "lay_tiles",
    "mix",
    "open_slide",
    "open_tiles",
    "patch_scheduler",
    "ratio_scheduler",
    "read_slide_list",
    "read_tiles",
    "tiles",
    "tiles_of_slides",
    "train_image_loader",
    "train_loader",
]

_WHERE = {
    "curriculum": ("Curriculum", "patch_scheduler", "ratio_scheduler"),
    "errors": ("CellMixDaliError",),
    "losses": ("SoftCrossEntropy", "SoftTargetCrossEntropy"),
    "mixing": ("CellMix", "MixPlan", "Target", "TargetValues", "cellmix_plan"),
    "mixing.online_augmentation": ("get_online_augmentation",),
    "pipelines": (*("evaluate_image_loader", "evaluate_loader", "read_tiles", "train_image_loader", "train_loader"),),
    "plugins": ("Draw", "PlanSource", "TileSource", "cellmix", "mix", "tiles"),
    "reading": ("AnnotationMasks", "MaskSlides"),
    "shards": ("open_tiles",),
    "slides": ("open_slide",),
    "tables": (
        *("SlideList", "TileRecipe", "TileTable", "grid_tiles", "lay_tiles", "read_slide_list", "tiles_of_slides"),
    ),
}
_ROOM = {name: room for room, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _ROOM:
        return getattr(import_module(f".{_ROOM[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
