"""The colours of stains: fitted to the tissue of slides, and changed to those of a target."""

from .change import StainChange, StainChanges
from .fits import DensityFit, LabFit, StainFit

__all__ = ["DensityFit", "LabFit", "StainChange", "StainChanges", "StainFit"]
