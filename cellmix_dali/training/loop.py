"""The answers of a model over any loader of batches; what runs say while they run."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from .._cores import usable_cores

__all__ = ["Batches", "answers", "on_device", "progress_bar", "steering", "versions"]

_PACKAGES = ("torch", "numpy", "numba", "openslide-python", "openslide-bin", "tifffile", "pyarrow")


class Batches(Protocol):
    """A loader: each pass gives dicts with ``images`` and ``labels``."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Go through one epoch."""
        ...

    def __len__(self) -> int:
        """Batches per epoch."""
        ...


@torch.inference_mode()
def answers(model: nn.Module, loader: Batches, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the model's logits (images, classes) and the labels int64 (images,) of one pass, on the CPU."""
    model.eval()
    logits, labels = [], []
    for batch in loader:
        logits.append(model(on_device(batch, device)).float().cpu())
        labels.append(batch["labels"].cpu())
    return torch.cat(logits), torch.cat(labels)


def progress_bar(console: Console) -> Progress:
    """Make the progress bar: batches, time, and a line with the figures of now."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[line]}"),
        console=console,
    )


def steering(entry: Mapping[str, float]) -> str:
    """Say what the curriculum says, where the method listens to one."""
    return f"patch {entry['patch_size']:3d} ratio {entry['fix_ratio']:.2f} " if "patch_size" in entry else ""


def versions() -> dict[str, str]:
    """Tell what ran, and on what."""
    import nvidia.dali

    from .. import __version__

    found = {"cellmix_dali": __version__, "nvidia_dali": nvidia.dali.__version__}
    found |= {package: metadata.version(package) for package in _PACKAGES}
    return found | {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {usable_cores()} cores",
    }


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """A batch's images where the model is, channels side by side: twice as fast on CPUs."""
    return batch["images"].to(device, memory_format=torch.channels_last)
