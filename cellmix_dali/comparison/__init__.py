"""The comparison of methods and augmentations on a user's own data: one start for all, nothing tuned on test folds.

A run of one arm (a method under a curriculum, an augmentation, or both) in one fold from one seed leaves a `RunRecord`
(`records`). From the records follow the candidates chosen by validation (`choice`), the paired differences to training
without mixing (`differences`), how the curricula acted (`acting`), and the report (`report`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .arms import (
        parse_augmentations as parse_augmentations,
        parse_curricula as parse_curricula,
        parse_methods as parse_methods,
        parse_values as parse_values,
    )
    from .data import (
        ComparedData as ComparedData,
        ComparedImages as ComparedImages,
        ComparedSlides as ComparedSlides,
        ComparedTiles as ComparedTiles,
    )
    from .job import (
        AllRunsFailedError as AllRunsFailedError,
        Comparison as Comparison,
        ComparisonState as ComparisonState,
        compare as compare,
    )
    from .records import RunRecord as RunRecord
    from .report import print_report as print_report, write_report as write_report
    from .settings import ComparisonSettings as ComparisonSettings

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "arms": "parse_augmentations parse_curricula parse_methods parse_values",
        "data": "ComparedData ComparedImages ComparedSlides ComparedTiles",
        "job": "AllRunsFailedError Comparison ComparisonState compare",
        "records": "RunRecord",
        "report": "print_report write_report",
        "settings": "ComparisonSettings",
    },
)
