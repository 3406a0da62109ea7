"""All that the work on a slide imports, so that worker processes are forked with it; neither DALI nor PyTorch."""

from __future__ import annotations

import numpy as np
import simplejpeg  # noqa: F401  each import is what this module is for

from ..pipelines import tile  # noqa: F401
from ..reading import windows
from ..tissue.mask import tissue_mask
from . import tasks  # noqa: F401

__all__ = ["WORK"]

#: This module's name.
WORK = __name__

# Compiled code is loaded at its first use, with a part of numba that takes as long as numba itself.
tissue_mask(np.full((16, 16, 3), 255, np.uint8))
windows.lie(np.ones((1, 9), np.int64), np.ones((1, 3), np.int64), pad=False)
