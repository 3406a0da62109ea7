"""Which process of those that train together this one is."""

from __future__ import annotations

import os

import torch.distributed as dist

from cellmix_dali.errors import ArgumentError

__all__ = ["group_ranks", "ranks_of"]


def ranks_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and world size, taken from the process group or the launcher where they are not given.

    Parameters
    ----------
    rank, world_size : int, optional
        Both or neither. What is given counts, whatever the process group says.

    Returns
    -------
    rank, world_size : int
        Not given: those of `torch.distributed`, where a process group is there; else those of the environment
        variables RANK and WORLD_SIZE, which torchrun sets; else 0 and 1.

    Raises
    ------
    ArgumentError
        If only one of the two is given, or the environment variables are not numbers.
    """
    if (rank is None) != (world_size is None):
        given, missing = ("rank", "world_size") if world_size is None else ("world_size", "rank")
        raise ArgumentError(
            f"{given} is given and {missing} is not. Give both, or neither: then they are those of the process group."
        )
    if rank is not None and world_size is not None:
        return rank, world_size
    group = group_ranks()
    if group is not None:
        return group
    texts = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if texts[0] is None or texts[1] is None:
        return 0, 1
    try:
        return int(texts[0]), int(texts[1])
    except ValueError:
        raise ArgumentError(
            f"The environment variables RANK={texts[0]!r} and WORLD_SIZE={texts[1]!r} are not both whole numbers. "
            "Correct them, or give rank and world_size."
        ) from None


def group_ranks() -> tuple[int, int] | None:
    """Return rank and world size of the process group; None where there is none."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return None
