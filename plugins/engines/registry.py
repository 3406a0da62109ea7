"""Which engines there are: one for each name and device, and which of them is the default."""

from __future__ import annotations

import torch

from cellmix_dali.errors import unknown_name

from ..device_names import device_name
from .cpu import CompiledOnCpu
from .cuda import CompiledOnGpu
from .engine import Engine
from .native import Native

__all__ = ["ENGINES", "check_engine", "default_engine", "engine_for"]

_ALL: tuple[Engine, ...] = (Native(), CompiledOnCpu(), CompiledOnGpu())
_BY_NAME_AND_DEVICE = {(engine.name, device): engine for engine in _ALL for device in engine.devices}
#: Names that users may give.
ENGINES = tuple(dict.fromkeys(engine.name for engine in _ALL))
_FASTER = {"cpu": "numba", "gpu": "native"}


def default_engine(device: str | torch.device) -> str:
    """Return the name of the faster engine.

    On the CPU "numba": one pass that pastes, normalises, casts and transposes costs 35 to 50 us for a tile of 256 px,
    where `fn.multi_paste` and `fn.crop_mirror_normalize` cost 60 and 160 (see docs/performance.md). On the GPU
    "native", which is faster for patches of 32 px and little slower for 16 (see docs/gpu.md).

    Raises
    ------
    ArgumentError
        For an unknown device.
    """
    return _FASTER[device_name(device)]


def engine_for(name: str, device: str | torch.device) -> Engine:
    """Return the engine of that name for images on that device.

    Raises
    ------
    ArgumentError
        For an unknown engine or device.
    MissingDependencyError
        If this machine lacks what the engine needs: "numba" on the GPU needs numba-cuda.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    engine = _BY_NAME_AND_DEVICE[name, device_name(device)]
    engine.require()
    return engine


def check_engine(name: str, device: str | torch.device) -> None:
    """Raise what `engine_for` raises."""
    engine_for(name, device)
