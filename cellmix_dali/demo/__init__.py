"""The demo: from slide files to a trained classifier, with a report and two pictures."""

from .data import DemoData, rendered_data, slide_data
from .run import DemoSettings, run_demo

__all__ = ["DemoData", "DemoSettings", "rendered_data", "run_demo", "slide_data"]
