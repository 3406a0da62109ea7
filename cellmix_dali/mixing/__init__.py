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
from .plan import IGNORED, MixPlan, PatchPlan
from .resizemix import ResizeMix
from .saliency import saliency_peaks
from .saliencymix import SaliencyMix
from .source_map import NOBODY, check_source_map, source_map
from .targets import TARGET_KINDS, Target, TargetKind, Targets, TargetValues, mixed_target, register_target_kind

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
    "IGNORED",
    "METHODS",
    "Method",
    "MixPlan",
    "Mixer",
    "Mixup",
    "NOBODY",
    "PatchPlan",
    "ResizeMix",
    "SaliencyMix",
    "TARGET_KINDS",
    "Target",
    "TargetKind",
    "TargetValues",
    "Targets",
    "TileMixer",
    "canonical_method",
    "cellmix_plan",
    "check_source_map",
    "make_mixer",
    "mixed_target",
    "mixer_parameters",
    "mixes",
    "register_method",
    "register_target_kind",
    "saliency_peaks",
    "source_map",
]
