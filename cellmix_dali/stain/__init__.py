"""The colours of stains: fitted to the tissue of slides, and changed to those of a target.

`fit_stains` fits each slide's stain once and writes a `StainTable`; `cellmix-dali stain` is its command. How a stain is
fitted is a method (`methods`); what it gives is a fit, which says what takes an image to another fit's colours. Names
are imported when they are asked for: the methods alone need NumPy and no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_WHERE = {
    "change": ("StainChange", "StainChanges"),
    "fits": ("DensityFit", "LabFit", "StainFit"),
    "job": ("fit_stains",),
    "settings": ("StainSettings",),
    "table": ("SlideStain", "StainTable"),
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
