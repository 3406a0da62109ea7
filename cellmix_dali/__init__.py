"""Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.

What most people need is here by name, and imported when it is asked for: DALI and PyTorch take seconds. The library is
in the rooms of this package, DALI's operators in `cellmix_dali.plugins`, whole pipelines in `cellmix_dali.pipelines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._front import front

if TYPE_CHECKING:
    from .collection import CollectionIndex as CollectionIndex, make_index as make_index
    from .curriculum import (
        Curriculum as Curriculum,
        patch_scheduler as patch_scheduler,
        ratio_scheduler as ratio_scheduler,
    )
    from .errors import CellMixDaliError as CellMixDaliError
    from .losses import SoftCrossEntropy as SoftCrossEntropy, SoftTargetCrossEntropy as SoftTargetCrossEntropy
    from .mixing import (
        CellMix as CellMix,
        MixPlan as MixPlan,
        Target as Target,
        TargetValues as TargetValues,
        cellmix_plan as cellmix_plan,
    )
    from .mixing.online_augmentation import get_online_augmentation as get_online_augmentation
    from .pipelines import (
        evaluate_image_loader as evaluate_image_loader,
        evaluate_loader as evaluate_loader,
        read_tiles as read_tiles,
        train_image_loader as train_image_loader,
        train_loader as train_loader,
        view_loader as view_loader,
    )
    from .plugins import (
        Draw as Draw,
        PlanSource as PlanSource,
        TileSource as TileSource,
        cellmix as cellmix,
        mix as mix,
        tiles as tiles,
    )
    from .reading import AnnotationMasks as AnnotationMasks, ImageMasks as ImageMasks, MaskSlides as MaskSlides
    from .shards import open_tiles as open_tiles
    from .slides import open_slide as open_slide
    from .tables import (
        SlideList as SlideList,
        TileRecipe as TileRecipe,
        TileTable as TileTable,
        grid_tiles as grid_tiles,
        lay_tiles as lay_tiles,
        read_slide_list as read_slide_list,
        tiles_of_slides as tiles_of_slides,
    )

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "collection": "CollectionIndex make_index",
        "curriculum": "Curriculum patch_scheduler ratio_scheduler",
        "errors": "CellMixDaliError",
        "losses": "SoftCrossEntropy SoftTargetCrossEntropy",
        "mixing": "CellMix MixPlan Target TargetValues cellmix_plan",
        "mixing.online_augmentation": "get_online_augmentation",
        "pipelines": "evaluate_image_loader evaluate_loader read_tiles train_image_loader train_loader view_loader",
        "plugins": "Draw PlanSource TileSource cellmix mix tiles",
        "reading": "AnnotationMasks ImageMasks MaskSlides",
        "shards": "open_tiles",
        "slides": "open_slide",
        "tables": "SlideList TileRecipe TileTable grid_tiles lay_tiles read_slide_list tiles_of_slides",
    },
)
