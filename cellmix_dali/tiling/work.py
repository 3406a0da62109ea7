"""All that the work on a slide imports, so that worker processes are forked with it; neither DALI nor PyTorch."""

from __future__ import annotations

import simplejpeg  # noqa: F401  each import is what this module is for

from ..pipelines import tile  # noqa: F401
from ..reading import windows  # noqa: F401
from ..tissue import methods  # noqa: F401
from . import tasks  # noqa: F401

__all__ = ["WORK"]

#: This module's name.
WORK = __name__
