"""Pictures for people: mixed batches, what a curriculum did or would do, and what a comparison of methods found.

What is here by name is imported when it is asked for: a training draws at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .comparison import (
        CurriculumRow as CurriculumRow,
        DifferenceRow as DifferenceRow,
        curricula_picture as curricula_picture,
        differences_picture as differences_picture,
    )
    from .curriculum import curriculum_picture as curriculum_picture
    from .methods import MethodRow as MethodRow, methods_picture as methods_picture
    from .mixed import mixed_picture as mixed_picture
    from .stains import stains_picture as stains_picture
    from .strategies import strategies_picture as strategies_picture

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "comparison": "CurriculumRow DifferenceRow curricula_picture differences_picture",
        "curriculum": "curriculum_picture",
        "methods": "MethodRow methods_picture",
        "mixed": "mixed_picture",
        "stains": "stains_picture",
        "strategies": "strategies_picture",
    },
)
