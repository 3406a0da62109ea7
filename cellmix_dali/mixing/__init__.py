"""Mixing plans: drawing what goes where in a batch. Applying them is the operators' part (`cellmix_dali.plugins`)."""

from .action import Action
from .blend_plan import BlendPlan
from .box_plan import BoxPlan
from .cellmix import CELLMIX_VARIANTS, CellMix, CellMixVariant, cellmix_plan
from .cutmix import CutMix
from .cutout import Cutout
from .fmix import FMix
from .methods import METHODS, Method, canonical_method, make_mixer, mixer_parameters, mixes, register_method
from .mixer import Mixer, TileMixer
from .mixup import Mixup
from .plan import MixPlan, PatchPlan
from .resizemix import ResizeMix
from .saliency import saliency_peaks
from .saliencymix import SaliencyMix

__all__ = [
    "Action",
    "BlendPlan",
    "BoxPlan",
    "CELLMIX_VARIANTS",
    "CellMix",
    "CellMixVariant",
    "CutMix",
    "Cutout",
    "FMix",
    "METHODS",
    "Method",
    "MixPlan",
    "Mixer",
    "Mixup",
    "PatchPlan",
    "ResizeMix",
    "SaliencyMix",
    "TileMixer",
    "canonical_method",
    "cellmix_plan",
    "make_mixer",
    "mixer_parameters",
    "mixes",
    "register_method",
    "saliency_peaks",
]
