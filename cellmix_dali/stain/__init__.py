"""The colours of stains: fitted to the tissue of slides, and changed to those of a target.

`fit_stains` fits each slide's stain once and writes a `StainTable`; `cellmix-dali stain` is its command. How a stain is
fitted is a method (`methods`); what it gives is a fit, which says what takes an image to another fit's colours.
"""

from .change import StainChange, StainChanges
from .fits import DensityFit, LabFit, StainFit
from .job import fit_stains
from .settings import StainSettings
from .table import SlideStain, StainTable

__all__ = [
    "DensityFit",
    "LabFit",
    "SlideStain",
    "StainChange",
    "StainChanges",
    "StainFit",
    "StainSettings",
    "StainTable",
    "fit_stains",
]
