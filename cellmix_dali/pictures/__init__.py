"""Pictures for people: mixed batches, what a curriculum did, and what its strategies would do."""

from .curriculum import curriculum_picture
from .methods import MethodRow, methods_picture
from .mixed import mixed_picture
from .strategies import strategies_picture

__all__ = ["MethodRow", "curriculum_picture", "methods_picture", "mixed_picture", "strategies_picture"]
