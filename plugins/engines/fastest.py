"""Which engine is the fastest on a device: measured there once, and kept in a file of the user's."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellmix_dali._user_cache import CACHE_VARIABLE, user_cache
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import CellMix
from cellmix_dali.storage.aside import write_aside

from ..dali import Pipeline, fn, types
from ..plan_source import PlanSource
from .engine import Engine, Normalisation

__all__ = ["cache_file", "fastest", "gpu_key", "milliseconds"]

_BATCH, _TILE, _PATCHES = 64, 224, (16, 32)
_CLEARLY = 0.95  # so much of the first engine's time must another one need, or noise would choose
_DRIVER = Path("/proc/driver/nvidia/version")
_PACKAGES = ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "numba", "numba-cuda", "torch")


def fastest(
    candidates: Iterable[str], key: str, measure: Callable[[str], float], file: Path | None, where: str = "this machine"
) -> str:
    """Return the fastest of some engines, by what the file says of the key, or else by a measurement.

    Parameters
    ----------
    candidates : iterable of str
        Engines' names. The first is kept unless another is faster by 5 %.
    key : str
        On what the times depend; see `gpu_key`.
    measure : callable
        Given a name, returns how long the engine takes.
    file : Path, optional
        Where measurements are kept: JSON. One that cannot be read, or says something else, is measured anew.
    where : str
        The device, for warnings.

    Returns
    -------
    str

    Raises
    ------
    Exception
        That of the last engine, if none can be measured.

    Warns
    -----
    UserWarning
        If an engine cannot be measured, and is therefore left out; or the file cannot be written.
    """
    names = list(candidates)
    if len(names) == 1:
        return names[0]
    times = _times(_read(file).get(key), names)
    if times is None:
        times = _measured(names, measure, where)
        if len(times) == len(names):  # what failed is tried again the next time
            _keep(file, key, times)
    first = next(name for name in names if name in times)
    best = min(times, key=lambda name: times[name])
    return best if times[best] < _CLEARLY * times[first] else first


def _measured(names: list[str], measure: Callable[[str], float], where: str) -> dict[str, float]:
    """The times of those engines that work."""
    times: dict[str, float] = {}
    failed: Exception | None = None
    for name in names:
        try:
            times[name] = measure(name)
        except Exception as error:
            failed = error
            warnings.warn(
                f"engine={name!r} does not work on {where}, and another is used: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    if not times:
        assert failed is not None
        raise failed
    return times


def cache_file() -> Path | None:
    """Return where measurements are kept; None if the user has no folder."""
    folder = user_cache()
    return None if folder is None else folder / "engines.json"


def gpu_key(number: int) -> str:
    """Return what a GPU's times depend on: its name, the driver, and the versions of what runs."""
    told = {
        "gpu": torch.cuda.get_device_name(number),
        "driver": "unknown",
        "cellmix-dali": import_module("cellmix_dali").__version__,
    }
    with suppress(OSError, UnicodeDecodeError):
        told["driver"] = " ".join(_DRIVER.read_text(encoding="utf-8").splitlines()[0].split())
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            told[package] = metadata.version(package)
    return "; ".join(f"{name} {value}" for name, value in told.items())


def _read(file: Path | None) -> dict[str, Any]:
    """All that is kept, by key; nothing, if the file cannot be read."""
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _times(kept: Any, names: list[str]) -> dict[str, float] | None:
    """What is kept of a key, if it is the times of these engines."""
    if not isinstance(kept, Mapping) or set(kept) != set(names):
        return None
    times = {name: kept[name] for name in names}
    sound = all(isinstance(value, (int, float)) and value > 0 for value in times.values())
    return {name: float(value) for name, value in times.items()} if sound else None


def _keep(file: Path | None, key: str, times: dict[str, float]) -> None:
    """Write a measurement beside the others."""
    if file is None:
        return
    kept = {**_read(file), key: {name: round(value, 4) for name, value in times.items()}}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(file) as out:
            out.write((json.dumps(kept, indent=1) + "\n").encode())
    except (OSError, CellMixDaliError) as error:
        warnings.warn(
            f"Which engine is faster could not be kept, so it is measured in every process: {error} Set "
            f"{CACHE_VARIABLE} to a folder that can be written to, or name the engine.",
            stacklevel=2,
        )


def milliseconds(engine: Engine, native: Engine, device_id: int | None, *, rounds: int = 10) -> float:
    """Measure how long an engine takes to mix and normalise 64 tiles of 224 px, in patches of 16 and of 32 px.

    Parameters
    ----------
    engine : Engine
        What is measured.
    native : Engine
        What mixes, if the engine does not do so in its pass.
    device_id : int, optional
        The GPU; None is the CPU.
    rounds : int, default 10
        Batches of each kind, after three to warm up. The fastest counts.

    Returns
    -------
    float
        Milliseconds for a batch of each patch size.
    """
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, _TILE, _TILE, 3), dtype=np.uint8)
    total = 0.0
    for patch in _PATCHES:
        pipeline = Pipeline(batch_size=_BATCH, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
        with pipeline:
            node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
            node = node if device_id is None else node.gpu()
            source = PlanSource(
                CellMix("CellMix-All"), tile_size=_TILE, batch_size=_BATCH, patch_size=patch, fix_ratio=0.5
            )
            plan, how = source.nodes(), Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
            if plan.action.kind in engine.fuses:
                result = engine.normalise(node, plan, how)
            else:
                mixing = engine if plan.action.kind in engine.mixes else native
                result = engine.normalise(mixing.mix(node, plan), None, how)
            pipeline.set_outputs(result, plan.weights, plan.parameters)
        pipeline.build()
        total += _least(pipeline, device_id, rounds)
    return total


def _least(pipeline: Pipeline, device_id: int | None, rounds: int) -> float:
    """The fastest batch, in milliseconds."""
    times = []
    for number in range(rounds + 3):
        start = time.perf_counter()
        pipeline.run()
        if device_id is not None:
            torch.cuda.synchronize(device_id)
        if number >= 3:
            times.append(1000 * (time.perf_counter() - start))
    return min(times)
