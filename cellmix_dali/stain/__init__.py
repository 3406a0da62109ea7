"""The colours of stains: fitted to the tissue of slides, and changed to those of a target.

`fit_stains` fits each slide's stain once and writes a `StainTable`; `cellmix-dali stain` is its command. How a stain is
fitted is a method (`methods`); what it gives is a fit, which says what takes an image to another fit's colours. Names
are imported when they are asked for: the methods alone need NumPy and no more.
"""

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .change import StainChange as StainChange, StainChanges as StainChanges
    from .fits import DensityFit as DensityFit, LabFit as LabFit, StainFit as StainFit
    from .job import fit_stains as fit_stains
    from .settings import StainSettings as StainSettings
    from .table import SlideStain as SlideStain, StainTable as StainTable

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "change": "StainChange StainChanges",
        "fits": "DensityFit LabFit StainFit",
        "job": "fit_stains",
        "settings": "StainSettings",
        "table": "SlideStain StainTable",
    },
)
