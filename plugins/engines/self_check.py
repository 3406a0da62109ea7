"""Engines tried on this machine before they are used: an error inside compiled code would leave garbage unseen."""

from __future__ import annotations

import functools
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import Action, CellMix, Cutout, FMix, Mixup, ResizeMix, TileMixer

from ..dali import DataNode, Pipeline, fn, types
from ..plan_arrays import PlanNodes
from ..plan_source import PlanSource
from .engine import Engine, Normalisation

__all__ = ["require", "self_check", "tried"]

_BATCH = 4
# Height, width and patch: patches that hold vectors in full, that cut them, and rows that end within one.
_SIZES = ((24, 16, 8), (24, 48, 12), (10, 15, 5))


def tried(engine: Engine, images: DataNode, action: Action | None, dtype: str | None = None) -> Engine:
    """Return an engine that is about to be used on images, after `self_check` where it is compiled."""
    if engine.compiled:
        device_id = Pipeline.current().device_id if images.device == "gpu" else None
        kind = None if action is None else Action(action.kind, interpolation=action.interpolation)
        self_check(engine, kind, dtype, device_id)
    return engine


@functools.cache
def self_check(engine: Engine, action: Action | None, dtype: str | None, device_id: int | None = None) -> None:
    """Compare what an engine makes of small batches with the plan's reference and plain float32 arithmetic.

    That is done once per process for the same arguments.

    Parameters
    ----------
    engine : Engine
        What is tried.
    action : Action or None
        What plans do; None: nothing is mixed.
    dtype : {"float32", "float16"} or None
        Of normalised images; None: plans are applied alone.
    device_id : int, optional
        The GPU; by default images are on the CPU.

    Raises
    ------
    CellMixDaliError
        If the engine gives other pixels, or numbers, than it should.
    """
    how = None if dtype is None else Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), dtype)
    for height, width, patch_size in _SIZES:
        images: NDArray[Any] = np.random.default_rng(0).integers(0, 256, (_BATCH, height, width, 3), dtype=np.uint8)
        want, source, levels = images, None, 0
        if action is not None:
            mixer, levels = _sample(action)
            steering: dict[str, Any] = {"patch_size": patch_size, "fix_ratio": 0.3} if mixer.steered else {}
            source = PlanSource(mixer, tile_size=(height, width), batch_size=_BATCH, **steering)
            want = mixer.draw(_BATCH, (height, width), **steering, epoch=0, iteration=0).apply(images)
        got = _result(engine, images, source, how, device_id)
        if how is not None:
            want, levels = how.plainly(want), 0
        what = "normalised images" if action is None else f"applied a plan of kind {action.kind!r}"
        where = "the CPU" if device_id is None else f"GPU {torch.cuda.get_device_name(device_id)}"
        told = f"Engine {engine.name!r} {what} wrongly on {where}", "use engine='native', and "
        require(got, want, told, engine.packages, levels=levels)


def require(
    got: NDArray[Any], want: NDArray[Any], told: tuple[str, str], packages: tuple[str, ...], *, levels: float = 0
) -> None:
    """Refuse compiled code that gave other values than it should.

    Parameters
    ----------
    got, want : arrays of one shape
        What it gave, and what is right.
    told : (str, str)
        What is then wrong, and what to do beside reporting it.
    packages : tuple of str
        Whose versions are told.
    levels : float, default 0
        By how much values may differ.

    Raises
    ------
    CellMixDaliError
        If a value differs by more, or is not a number.
    """
    if not np.abs(got.astype(np.float64) - want).max() <= levels:  # nor is anything NaN
        versions = [f"{name} {import_module(name).__version__}" for name in packages]
        raise CellMixDaliError(
            f"{told[0]} in its self-check, a small batch: {told[1]}please report this with the versions "
            f"{', '.join(versions)}."
        )


def _result(
    engine: Engine, images: NDArray[Any], source: PlanSource | None, how: Normalisation | None, device_id: int | None
) -> NDArray[Any]:
    """What an engine makes of a batch."""
    pipeline = Pipeline(batch_size=_BATCH, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        node = node if device_id is None else node.gpu()
        plan = PlanNodes() if source is None else source.nodes()
        if how is None:
            result = engine.mix(node, plan)
        else:
            result = engine.normalise(node, None if source is None else plan, how)
        pipeline.set_outputs(result, *(each for each in (plan.weights, plan.parameters) if each is not None))
    pipeline.build()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")  # numba's, that so few pixels do not fill a GPU
        output = pipeline.run()[0]
    return np.array((output if device_id is None else output.as_cpu()).as_array())


def _sample(action: Action) -> tuple[CellMix | TileMixer, int]:
    """A mixer of that kind whose first plan changes much, and by how many levels engines may round otherwise."""
    made: dict[str, tuple[CellMix | TileMixer, int]] = {
        "paste": (CellMix("CellMix-All"), 0),
        "fill": (Cutout(), 0),
        "resize": (ResizeMix(low=0.6, interpolation=action.interpolation), int(action.interpolation == "linear")),
        "share": (Mixup(), 1),
        "mask": (FMix(), 0),
    }
    return made[action.kind]
