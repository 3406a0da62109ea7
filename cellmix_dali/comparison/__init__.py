"""The comparison of mixing methods on a user's own data: the same start for all, and nothing tuned on the test folds.

A run of one arm (a method under a curriculum) in one fold from one seed leaves a `RunRecord` (`records`). From the
records follow the candidates chosen by validation (`choice`), the paired differences to training without mixing
(`differences`), how the curricula acted (`acting`), and the report (`report`).
"""

from .arms import parse_curricula, parse_methods, parse_values
from .data import ComparedData, ComparedImages, ComparedSlides, ComparedTiles
from .job import AllRunsFailedError, Comparison, ComparisonState, compare
from .records import RunRecord
from .report import print_report, write_report
from .settings import ComparisonSettings

__all__ = [
    "AllRunsFailedError",
    "ComparedData",
    "ComparedImages",
    "ComparedSlides",
    "ComparedTiles",
    "Comparison",
    "ComparisonSettings",
    "ComparisonState",
    "RunRecord",
    "compare",
    "parse_curricula",
    "parse_methods",
    "parse_values",
    "print_report",
    "write_report",
]
