"""The folder in which the user's own machine keeps what was measured or compiled once."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CACHE_VARIABLE", "user_cache"]

#: Names the folder; by default it is ``cellmix_dali`` in the user's cache folder (XDG_CACHE_HOME, ~/.cache).
CACHE_VARIABLE = "CELLMIX_DALI_CACHE"


def user_cache() -> Path | None:
    """Return the folder, which may not be there yet; None if the user has none."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "cellmix_dali"
    except RuntimeError:  # no home
        return None
