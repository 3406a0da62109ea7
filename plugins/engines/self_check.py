"""Engines tried on this machine before they are used: an error inside compiled code would leave garbage unseen."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import Action, CellMix, Cutout, FMix, Mixup, ResizeMix, TileMixer

from ..colour_stages import Colour, plainly, stage_numbers
from ..dali import DataNode, Pipeline, fn, types
from ..plan_arrays import PlanNodes
from ..plan_source import PlanSource
from .engine import Engine, Normalisation

__all__ = [
    "blur_check",
    "colour_check",
    "require",
    "result_of",
    "self_check",
    "told",
    "tried",
    "tried_blur",
    "tried_colour",
]

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


def tried_colour(engine: Engine, images: DataNode, kinds: tuple[str, ...], *, fused: bool = False) -> Engine:
    """Return an engine that is about to change colours, after `colour_check` of each kind where it is compiled."""
    if engine.compiled:
        device_id = Pipeline.current().device_id if images.device == "gpu" else None
        for kind in sorted(set(kinds)):
            colour_check(engine, kind, fused, device_id)
    return engine


def tried_blur(engine: Engine, images: DataNode) -> Engine:
    """Return an engine that is about to blur, after `blur_check` where it is compiled."""
    if engine.compiled:
        blur_check(engine, Pipeline.current().device_id if images.device == "gpu" else None)
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
        require(got, want, told(engine, what, device_id), engine.packages, levels=levels)


def require(
    got: NDArray[Any],
    want: NDArray[Any],
    told: tuple[str, str],
    packages: tuple[str, ...],
    *,
    levels: float | NDArray[np.floating] = 0,
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
    levels : float or array, default 0
        By how much values may differ.

    Raises
    ------
    CellMixDaliError
        If a value differs by more, or is not a number.
    """
    if not (np.abs(got.astype(np.float64) - want) <= levels).all():  # nor is anything NaN
        versions = [f"{name} {import_module(name).__version__}" for name in packages]
        raise CellMixDaliError(
            f"{told[0]} in its self-check, a small batch: {told[1]}please report this with the versions "
            f"{', '.join(versions)}."
        )


@functools.cache
def colour_check(engine: Engine, kind: str, fused: bool, device_id: int | None = None) -> None:
    """Compare what an engine makes of small batches with `colour_stages.plainly`; see `self_check`.

    Parameters
    ----------
    engine : Engine
        What is tried.
    kind : str
        Of the stage, one of `colour_stages.KINDS`; measured by the image, too, where that is possible.
    fused : bool
        Whether `Engine.normalise` is tried, with a plan, instead of `Engine.colour`.
    device_id : int, optional
        The GPU; by default images are on the CPU.

    Raises
    ------
    CellMixDaliError
        If the engine gives pixels that are more than 1 level away.
    """
    matrix = [[0.9, 0.2, -0.1], [-0.2, 1.1, 0.1], [0.1, -0.3, 1.2]]
    given: dict[str, Any] = {"matrix": matrix, "back": np.linalg.inv(matrix), "scale": [0.9, 1.1, 1.2]}
    given["shift"] = {"density": [0.05, 0.1, -0.05]}.get(kind, [8.0, -9.0, 5.0])
    given["offset"] = {"density": 0.0, "solarise": 128.0, "noise": [12.0, 77.0, 0.0]}.get(kind, [9.0, -7.0, 3.0])
    measured = {"scale": [0.4, 0.3, 0.5] if kind == "density" else [25.0, 30.0, 20.0], "measured": True}
    measurable = not fused and kind in ("density", "lab", "hsv")
    samples: list[dict[str, Any]] = [{"active": False}, {}, {"matrix": np.eye(3)}, measured if measurable else {}]
    numbers = np.stack([stage_numbers(1, **(given | each)) for each in samples])
    how, mixer = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), CellMix("CellMix-All")
    for height, width, patch_size in _SIZES:
        images = np.random.default_rng(0).integers(0, 256, (_BATCH, height, width, 3), dtype=np.uint8)
        steering: dict[str, Any] = {"patch_size": patch_size, "fix_ratio": 0.3}
        source = PlanSource(mixer, tile_size=(height, width), batch_size=_BATCH, **steering)

        def graph(node: DataNode, source: PlanSource = source) -> list[DataNode]:
            colour = Colour((kind,), fn.external_source(lambda: numbers, batch=True, dtype=types.FLOAT))
            if not fused:
                return [engine.colour(node, colour)]
            plan = source.nodes()
            return [engine.normalise(node, plan, how, colour), *_unused(plan)]

        changed = np.stack([plainly(image, (kind,), own) for image, own in zip(images, numbers, strict=True)])
        want: NDArray[Any] = changed
        level: Any = 1.0
        if fused:
            plan = mixer.draw(_BATCH, (height, width), **steering, epoch=0, iteration=0)
            want, level = (
                how.plainly(np.asarray(plan.apply(changed), np.uint8)),
                1.001 * how.constants()[3:, None, None],
            )
        said = told(engine, f"changed colours by a stage of kind {kind!r}", device_id)
        require(result_of(graph, images, device_id), want, said, engine.packages, levels=level)


@functools.cache
def blur_check(engine: Engine, device_id: int | None = None) -> None:
    """Compare what an engine makes of small batches with a Gaussian in float64; see `self_check`.

    Raises
    ------
    CellMixDaliError
        If the engine gives pixels that are more than 1 level away.
    """
    sigmas, weights = np.array([0.3, 1.0, 1.7, 4.0], np.float32), np.array([0.0, 0.25, 1.5, 0.0], np.float32)
    for height, width, _ in _SIZES:
        images = np.random.default_rng(0).integers(0, 256, (_BATCH, height, width, 3), dtype=np.uint8)

        def graph(node: DataNode) -> list[DataNode]:
            numbers = fn.external_source(lambda: np.stack([sigmas, weights], axis=1), batch=True)
            return [engine.blur(node, numbers[0], numbers[1])]

        want = np.stack([_plainly_blurred(*each) for each in zip(images, sigmas, weights, strict=True)])
        require(
            result_of(graph, images, device_id),
            want,
            told(engine, "blurred images", device_id),
            engine.packages,
            levels=1,
        )


def _plainly_blurred(image: NDArray[np.uint8], sigma: float, weight: float) -> NDArray[np.float64]:
    """What `Engine.blur` must make, before it is rounded."""
    radius = math.ceil(3 * sigma)
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / np.float64(sigma)) ** 2)
    blurred = image.astype(np.float64)
    for axis in (0, 1):
        padded = np.pad(blurred, [(radius, radius) if axis == own else (0, 0) for own in range(3)], mode="reflect")
        blurred = np.apply_along_axis(np.convolve, axis, padded, gaussian / gaussian.sum(), mode="valid")
    return np.clip(weight * image + (1 - weight) * blurred, 0, 255)


def told(engine: Engine, what: str, device_id: int | None) -> tuple[str, str]:
    """What to say of an engine that did something wrongly."""
    where = "the CPU" if device_id is None else f"GPU {torch.cuda.get_device_name(device_id)}"
    return f"Engine {engine.name!r} {what} wrongly on {where}", "use engine='native', and "


def _result(
    engine: Engine, images: NDArray[Any], source: PlanSource | None, how: Normalisation | None, device_id: int | None
) -> NDArray[Any]:
    """What an engine makes of a batch."""

    def graph(node: DataNode) -> list[DataNode]:
        plan = PlanNodes() if source is None else source.nodes()
        if how is None:
            result = engine.mix(node, plan)
        else:
            result = engine.normalise(node, None if source is None else plan, how)
        return [result, *_unused(plan)]

    return result_of(graph, images, device_id)


def _unused(plan: PlanNodes) -> list[DataNode]:
    """Nodes of a plan that nothing in a check takes: a graph must."""
    return [each for each in (plan.weights, plan.parameters) if each is not None]


def result_of(graph: Callable[[DataNode], list[DataNode]], images: NDArray[Any], device_id: int | None) -> NDArray[Any]:
    """The first output of a graph over one batch."""
    pipeline = Pipeline(batch_size=_BATCH, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        pipeline.set_outputs(*graph(node if device_id is None else node.gpu()))
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
