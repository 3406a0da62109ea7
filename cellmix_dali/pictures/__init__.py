"""Pictures for people: mixed batches, what a curriculum did or would do, and what a comparison of methods found."""

from .comparison import CurriculumRow, DifferenceRow, curricula_picture, differences_picture
from .curriculum import curriculum_picture
from .methods import MethodRow, methods_picture
from .mixed import mixed_picture
from .stains import stains_picture
from .strategies import strategies_picture

__all__ = [
    "CurriculumRow",
    "DifferenceRow",
    "MethodRow",
    "curricula_picture",
    "curriculum_picture",
    "differences_picture",
    "methods_picture",
    "mixed_picture",
    "stains_picture",
    "strategies_picture",
]
