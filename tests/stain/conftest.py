"""What the tests of stains share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "slides"), str(TESTS / "faults"), str(TESTS / "stain")]

from stained_images import stained  # noqa: E402 (of this folder)


@pytest.fixture(scope="session")
def image() -> NDArray[np.uint8]:
    """An image of both stains."""
    return stained()
