"""The mixing plans of a training loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import make_mixer, mixes
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.plan_source import CurriculumLike

__all__ = ["training_plans"]


def training_plans(
    method: str | None,
    *,
    tile_size: int,
    batch_size: int,
    curriculum: CurriculumLike | None,
    patch_size: int | None,
    fix_ratio: float | None,
    method_parameters: Mapping[str, Any] | None,
    p: float,
    seed: int,
    rank: int,
    source_map: bool | int = False,
) -> PlanSource | None:
    """Make what draws a loader's plans; None where nothing is mixed (``method=None`` or "none")."""
    if mixes(method):
        assert method is not None
        return PlanSource(
            make_mixer(method, p=p, seed=seed, rank=rank, **(method_parameters or {})),
            tile_size=tile_size,
            batch_size=batch_size,
            curriculum=curriculum,
            patch_size=patch_size,
            fix_ratio=fix_ratio,
            source_map=source_map,
        )
    if curriculum is not None or patch_size is not None or fix_ratio is not None or method_parameters:
        raise ArgumentError(
            "Without a method nothing is mixed: leave curriculum, patch_size, fix_ratio and method_parameters out."
        )
    if source_map is not False:
        raise ArgumentError(
            f"Without a method nothing is mixed, and every token is its own sample's: leave source_map={source_map!r} "
            "out, or give a method with p=0."
        )
    return None
