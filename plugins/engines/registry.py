"""Which engines there are: one for each name and device, and which of them is the default."""

from __future__ import annotations

import functools

import torch

from cellmix_dali.errors import MissingDependencyError, unknown_name

from ..dali import Pipeline
from ..device_names import device_name
from .cpu import CompiledOnCpu
from .cuda import CompiledOnGpu
from .engine import Engine
from .fastest import cache_file, fastest, gpu_key, milliseconds
from .native import Native

__all__ = ["ENGINES", "check_engine", "default_engine", "engine_for"]

_ALL: tuple[Engine, ...] = (Native(), CompiledOnCpu(), CompiledOnGpu())
_BY_NAME_AND_DEVICE = {(engine.name, device): engine for engine in _ALL for device in engine.devices}
#: Names that users may give.
ENGINES = tuple(dict.fromkeys(engine.name for engine in _ALL))


def default_engine(device: str | torch.device) -> str:
    """Return the name of the faster engine.

    On the CPU "numba": one pass that pastes, normalises, casts and transposes costs 35 to 50 us for a tile of 256 px,
    where `fn.multi_paste` and `fn.crop_mirror_normalize` cost 60 and 160 (see docs/performance.md). Which is faster on
    a GPU depends on the GPU: it is measured there, in seconds, and kept in the user's cache folder (or in that of the
    variable CELLMIX_DALI_CACHE) until the GPU, its driver or a version is another; see `fastest.milliseconds`. The
    first engine, "native", is kept unless another is faster by 5 %.

    Raises
    ------
    ArgumentError
        For an unknown device.
    """
    if device_name(device) == "cpu":
        return "numba"
    if not torch.cuda.is_available():
        return "native"
    return _fastest_on(_gpu(device))


@functools.cache
def _fastest_on(number: int) -> str:
    """The fastest engine on a GPU that has what it needs, once per process."""
    native, usable = _BY_NAME_AND_DEVICE["native", "gpu"], []
    for name in ENGINES:
        try:
            usable.append(engine_for(name, "gpu").name)
        except MissingDependencyError:
            continue
    return fastest(
        usable,
        gpu_key(number),
        lambda name: milliseconds(_BY_NAME_AND_DEVICE[name, "gpu"], native, number),
        cache_file(),
        f"GPU {torch.cuda.get_device_name(number)}",
    )


def _gpu(device: str | torch.device) -> int:
    """The number of a GPU: as given ("cuda:1"), that of the pipeline that is being defined, or the current one."""
    index = None if str(device) == "gpu" else torch.device(device).index
    if index is not None:
        return int(index)
    defined = Pipeline.current()
    return torch.cuda.current_device() if defined is None or defined.device_id is None else int(defined.device_id)


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
