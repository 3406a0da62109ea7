"""Sequences of augmentations by name."""

from __future__ import annotations

from .base import Augmentation, Compose
from .blur import GaussianBlur, Sharpen
from .colour_jitter import ColourJitter
from .erase import Erase
from .flips import Flip, Turn
from .geometry import RandomAffine, RandomResizedCrop
from .greyscale import Greyscale
from .hed_jitter import HEDJitter
from .jpeg_artefacts import JPEGArtefacts
from .noise import Noise
from .solarise import Solarise

__all__ = ["PRESETS"]

#: Ready-made sequences. Changes of colour stand last, where they cost the least.
PRESETS: dict[str, Augmentation] = {
    # After Tellez et al. (arXiv 1902.06543): turns, stains and brightness, little of each.
    "light": Compose(
        [Turn(), HEDJitter(alpha=0.05, beta=0.005), ColourJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=5)]
    ),
    "strong": Compose(
        [
            Turn(),
            RandomAffine(degrees=0, scale=(0.8, 1.2), shear=5, translate=0.05, p=0.3),
            GaussianBlur(sigma=(0.1, 2.0), p=0.2),
            Sharpen(amount=(0.0, 1.0), p=0.1),
            JPEGArtefacts(quality=(40, 90), p=0.1),
            Erase(scale=(0.02, 0.1), fill=255, p=0.1),
            HEDJitter(alpha=0.2, beta=0.015),
            ColourJitter(brightness=0.2, contrast=0.25, saturation=0.2, hue=15),
            Noise(sigma=(0, 8), p=0.2),
        ]
    ),
    # Oquab et al., DINOv2 (arXiv 2304.07193), the augmentation of its first global view.
    "dinov2": Compose(
        [
            RandomResizedCrop(scale=(0.32, 1.0)),
            Flip(horizontal=0.5, vertical=0.0),
            GaussianBlur(sigma=(0.1, 2.0), p=0.5),
            ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=36, p=0.8),
            Greyscale(p=0.2),
            Solarise(threshold=128, p=0.1),
        ]
    ),
    # After Karasikov et al., Midnight (arXiv 2504.05186): as DINOv2's, with stains varied, for tissue that may lie any
    # way round.
    "midnight": Compose(
        [
            RandomResizedCrop(scale=(0.32, 1.0)),
            Flip(),
            GaussianBlur(sigma=(0.1, 2.0), p=0.5),
            HEDJitter(alpha=0.1, beta=0.01, p=0.5),
            ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=36, p=0.8),
            Greyscale(p=0.2),
        ]
    ),
}
