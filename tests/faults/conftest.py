"""The slide writers of the slides' own tests, for the faults' tests too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "slides"))
sys.path.append(str(Path(__file__).parents[1] / "slides" / "formats"))
