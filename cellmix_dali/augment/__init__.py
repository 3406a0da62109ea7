"""Augmentations: what changes how tiles look, drawn by keys; on the CPU and on the GPU, one file each."""

from ._registered import AUGMENTATIONS, register_augmentation
from .base import Augmentation, Batch, ColourChange, Compose, PixelChange, SlideColourChange
from .block_masks import BlockMasks
from .blur import GaussianBlur, Sharpen
from .colour_jitter import ColourJitter
from .erase import Erase
from .flips import Flip, Turn
from .geometry import RandomAffine, RandomResizedCrop
from .greyscale import Greyscale
from .hed_jitter import HEDJitter
from .jpeg_artefacts import JPEGArtefacts
from .noise import Noise
from .presets import PRESETS
from .randstainna import RandStainNA, Template
from .recipe import AugmentLike, augmentation
from .solarise import Solarise
from .stain_normalisation import StainMixup, StainNormalisation
from .views import VIEW_PRESETS, View

__all__ = [
    "AUGMENTATIONS",
    "PRESETS",
    "VIEW_PRESETS",
    "AugmentLike",
    "Augmentation",
    "Batch",
    "BlockMasks",
    "ColourChange",
    "ColourJitter",
    "Compose",
    "Erase",
    "Flip",
    "GaussianBlur",
    "Greyscale",
    "HEDJitter",
    "JPEGArtefacts",
    "Noise",
    "PixelChange",
    "RandStainNA",
    "RandomAffine",
    "RandomResizedCrop",
    "Sharpen",
    "SlideColourChange",
    "Solarise",
    "StainMixup",
    "StainNormalisation",
    "Template",
    "Turn",
    "View",
    "augmentation",
    "register_augmentation",
]
