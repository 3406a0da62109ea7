"""What every kind of loader does when it is closed within a pass."""

from __future__ import annotations

from typing import Any

import pytest

from cellmix_dali.errors import ArgumentError

__all__ = ["check_closed_within_a_pass"]


def check_closed_within_a_pass(loader: Any) -> None:
    """It says so when the next batch is asked for, and keeps its place."""
    batches = iter(loader)
    next(batches)
    loader.close()
    with pytest.raises(ArgumentError, match="closed"):
        next(batches)
    assert loader.state_dict()["iteration"] == 1
