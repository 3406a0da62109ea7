"""The slide writer of the slides' own tests, and DALI's CPU decoder, for the formats' tests too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
