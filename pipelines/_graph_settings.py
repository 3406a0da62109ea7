"""What a graph's last operators are told, and where and how the pipeline runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.plugins import Augment, Draw
from cellmix_dali.plugins.dali import DataNode, Pipeline
from cellmix_dali.plugins.draw import Drawn
from cellmix_dali.plugins.engines.paste import check_engine
from cellmix_dali.plugins.normalise import DTYPES, MEAN, STD, channel_numbers, default_engine

from .device import device_id, device_name, pipeline_on

__all__ = ["GraphSettings"]


@dataclass(frozen=True)
class GraphSettings:
    """How a pipeline normalises, and where and how it runs; see `cellmix_dali.pipelines.train_pipeline`.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """

    device: str | torch.device = "cpu"
    engine: str | None = None
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    dtype: str = "float32"
    num_threads: int | None = None
    prefetch_queue_depth: int | None = None
    augment: Augment | None = None

    def __post_init__(self) -> None:
        device_id(self.device)
        check_engine(default_engine(self.device_name) if self.engine is None else self.engine, self.device_name)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        for name in ("mean", "std"):
            object.__setattr__(self, name, channel_numbers(name, getattr(self, name)))
        for name in ("num_threads", "prefetch_queue_depth"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, integer(name, getattr(self, name), low=1))

    @property
    def device_name(self) -> str:
        """Where the pipeline runs, "cpu" or "gpu"."""
        return device_name(self.device)

    @property
    def on_gpu(self) -> bool:
        """Whether the pipeline runs on a GPU."""
        return self.device_name == "gpu"

    def pipeline(self, batch_size: int) -> Pipeline:
        """Make a pipeline to define the graph in."""
        return pipeline_on(
            self.device,
            batch_size=batch_size,
            num_threads=self.num_threads,
            prefetch_queue_depth=self.prefetch_queue_depth,
        )

    def normalising(self) -> dict[str, Any]:
        """Return the arguments of `cellmix_dali.plugins.normalise.normalise`."""
        return {"mean": self.mean, "std": self.std, "dtype": self.dtype, "engine": self.engine}

    def augmented(self, images: DataNode, source: Drawn) -> DataNode:
        """Change the images as the user's function says; without one they stay as they are."""
        if self.augment is None:
            return images
        found = self.augment(images, Draw.of(source))
        if not isinstance(found, DataNode):
            raise ArgumentError(
                f"augment={_told(self.augment)} returned {type(found).__name__}: it takes (images, draw), nodes of the "
                "graph, and returns the images."
            )
        return found.gpu() if self.on_gpu else found

    def seen(self) -> dict[str, Any]:
        """Return what changes the tensors of a batch, as plain values."""
        seen: dict[str, Any] = {"mean": list(self.mean), "std": list(self.std), "dtype": self.dtype}
        return seen if self.augment is None else seen | {"augment": _told(self.augment)}


def _told(augment: Any) -> str:
    """A function's name, and what it was given beforehand; two of one name are told apart by that only."""
    if isinstance(augment, partial):
        given = [repr(each) for each in augment.args] + [
            f"{name}={value!r}" for name, value in augment.keywords.items()
        ]
        return f"{_told(augment.func)}({', '.join(given)})"
    named = augment if hasattr(augment, "__qualname__") else type(augment)
    return f"{named.__module__}.{named.__qualname__}"
