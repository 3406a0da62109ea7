"""Operators of the graph on some samples of a batch only."""

from __future__ import annotations

from collections.abc import Callable

from cellmix_dali.plugins import Draw
from cellmix_dali.plugins.dali import DataNode, fn, types

__all__ = ["sometimes", "where"]


def sometimes(
    p: float, images: DataNode, draw: Draw, change: Callable[..., DataNode], *arguments: DataNode
) -> DataNode:
    """Change each image with probability p; see `where`."""
    return change(images, *arguments) if p >= 1 else where(draw.coin(p), images, change, *arguments)


def where(chosen: DataNode, images: DataNode, change: Callable[..., DataNode], *arguments: DataNode) -> DataNode:
    """Change the images whose number, on the CPU, is not 0; the others are not touched, and cost nothing.

    `change` sees the samples that are changed only, and of its arguments, nodes on the CPU, those samples' own.
    """
    predicate = fn.cast(chosen, dtype=types.BOOL)

    def split(node: DataNode) -> list[DataNode]:
        return list(fn._conditional.split(node, predicate=predicate, _if_stmt=True))

    changed, others = split(images)
    own = [split(argument)[0] for argument in arguments]
    return fn._conditional.merge(change(changed, *own), others, predicate=predicate)
