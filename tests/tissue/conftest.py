"""The damage of the faults' own tests, for those of thumbnails too."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "slides"), str(TESTS / "faults")]
