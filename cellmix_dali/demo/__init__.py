"""The demo: from slide files to a trained classifier, with a report and two pictures."""

from .data import RENDERED_TILE, DemoData, rendered_data, slide_data
from .run import DemoSettings, check_settings, run_demo

__all__ = [
    "RENDERED_TILE",
    "DemoData",
    "DemoSettings",
    "check_settings",
    "rendered_data",
    "run_demo",
    "slide_data",
]
