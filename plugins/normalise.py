"""What the model sees: normalised images, channels first; with the mixing in the same pass over the pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from cellmix_dali.errors import ArgumentError, CellMixDaliError, unknown_name

from .dali import DataNode, Pipeline, fn, types
from .engines.paste import check_engine, move_pixels
from .image_shape import require_channels, require_tile_size
from .plan_arrays import PlanNodes

__all__ = ["DTYPES", "MEAN", "STD", "channel_numbers", "default_engine", "normalise"]

#: ImageNet's means and standard deviations of R, G, B in [0, 1], as pretrained models expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}


def default_engine(device: str) -> str:
    """Return the faster engine.

    On the CPU "numba": one pass that pastes, normalises, casts and transposes costs 35 to 50 us for a tile of 256 px,
    where `fn.multi_paste` and `fn.crop_mirror_normalize` cost 60 and 160 (see docs/performance.md). On the GPU
    "native", which is faster for patches of 32 px and little slower for 16 (see docs/gpu.md).
    """
    return "native" if device == "gpu" else "numba"


def channel_numbers(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    """Return `mean` or `std` as three floats, of R, G and B.

    Raises
    ------
    ArgumentError
        If they are not three finite numbers, or a deviation is not above 0.
    """
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{name}={values!r} cannot be used: give three numbers, of red, green and blue, in [0, 1]."
        ) from None
    if not np.isfinite([red, green, blue]).all() or (name == "std" and min(red, green, blue) <= 0):
        raise ArgumentError(f"{name}={values!r} cannot be used: give three numbers, standard deviations above 0.")
    return red, green, blue


def normalise(
    images: DataNode,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    plan: PlanNodes | None = None,
    dtype: str = "float32",
    engine: str | None = None,
    sizes_checked: bool = False,
) -> DataNode:
    """Take out mean and standard deviation, cast, and put the channels first; before that, apply a plan.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On "cpu" or "gpu"; with a plan all of the size that it is drawn for.
    mean, std : sequence of 3 floats
        Of R, G, B in [0, 1].
    plan : PlanNodes, optional
        What to mix, of any kind but "saliency" (see `_saliency.placed_boxes`).
    dtype : {"float32", "float16"}
        Of the result.
    engine : {"native", "numba"}, optional
        DALI's operators, or one compiled pass over the pixels: on the CPU, or on the GPU by numba-cuda. On the CPU the
        results of both are the same to the bit, and so should be those of "numba" on both devices; DALI's own operator
        on the GPU may round otherwise. By default `default_engine`.
    sizes_checked : bool, default False
        Whether the images are known to be RGB, and of the plan's size; if not, the graph raises where they are not.

    Returns
    -------
    DataNode, CHW
        ``(images / 255 - mean) / std``.

    Raises
    ------
    ArgumentError
        For an argument that cannot work.
    CellMixDaliError
        If the compiled pass, tried once per process on a small batch, gives other numbers than DALI's operators.
    """
    engine = default_engine(images.device) if engine is None else engine
    check_engine(engine, images.device)
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    mean, std = channel_numbers("mean", mean), channel_numbers("std", std)
    gpu = images.device == "gpu"
    if plan is not None and not sizes_checked:
        images = require_tile_size(images, plan.parameters)
    if engine == "numba" and not sizes_checked:
        images = require_channels(images, 3)
    if plan is not None and (engine == "native" or plan.action.kind != "paste"):
        # On the GPU the numba engine has no kernel for other kinds of plans.
        images, plan = move_pixels(images, plan, engine="native" if gpu else engine), None
    if engine == "native":
        return _native(images, mean, std, dtype)
    if gpu:
        from .engines.cuda import normalised_on_gpu

        return normalised_on_gpu(images, mean, std, plan, dtype)
    _self_check(dtype)
    return _compiled(images, mean, std, plan, dtype)


def _native(images: DataNode, mean: Sequence[float], std: Sequence[float], dtype: str) -> DataNode:
    return fn.crop_mirror_normalize(
        images,
        dtype=DTYPES[dtype],
        output_layout="CHW",
        mean=[255 * value for value in mean],
        std=[255 * value for value in std],
    )


def _compiled(
    images: DataNode, mean: Sequence[float], std: Sequence[float], plan: PlanNodes | None, dtype: str
) -> DataNode:
    # As DALI works them out: the reciprocal in float32.
    means, deviations = (np.array([255 * value for value in given], np.float32) for given in (mean, std))
    constants = np.concatenate([means, 1 / deviations, np.array([dtype == "float16"])]).astype(np.float32)
    inputs = [images, types.Constant(constants, device="cpu")]
    if plan is not None:
        from .engines.image_addresses import image_addresses

        inputs += [image_addresses(images, plan.in_ids), plan.in_anchors, plan.out_anchors, plan.shapes]
    node = _operator(mixing=plan is not None, half=dtype == "float16")(*inputs)
    return fn.reinterpret(node, layout="CHW", **({"dtype": types.FLOAT16} if dtype == "float16" else {}))


@functools.cache
def _operator(*, mixing: bool, half: bool) -> Callable[..., DataNode]:
    """The compiled pass as an operator, for all pipelines of the process."""
    from .engines import cpu_normalise as kernel
    from .engines.raw_numba import raw_operator

    return raw_operator(
        kernel.run,
        kernel.planes,
        in_types=[types.UINT8, types.FLOAT] + [types.INT64, types.INT32, types.INT32, types.INT32] * mixing,
        in_dimensions=[3, 1] + [1, 2, 2, 2] * mixing,
        out_type=types.UINT16 if half else types.FLOAT,
        out_dimensions=3,
        batch=False,
    )


@functools.cache
def _self_check(dtype: str) -> None:
    """Compare with DALI's operators once per process: an error inside compiled code would leave garbage unseen."""
    # Patches that hold vectors in full, that cut them, and rows that end within one.
    for height, width, patch in ((24, 16, 8), (24, 48, 12), (10, 15, 5)):
        if not _same_as_native(dtype, (height, width), patch):
            raise CellMixDaliError(
                "The compiled normalising gave other numbers than DALI's in its self-check on this machine; use "
                "engine='native', and please report the versions of numba, numpy and nvidia-dali."
            )


def _same_as_native(dtype: str, size: tuple[int, int], patch_size: int) -> bool:
    """Whether both engines give the same for a small batch, mixed and unmixed."""
    from cellmix_dali.mixing import CellMix

    from .plan_source import PlanSource

    batch = 4
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), dtype=np.uint8)
    source = PlanSource(CellMix("CellMix-All"), tile_size=size, batch_size=batch, patch_size=patch_size, fix_ratio=0.3)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    pipeline = Pipeline(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        plan = source.nodes()
        pipeline.set_outputs(
            _compiled(node, mean, std, plan, dtype),
            _compiled(node, mean, std, None, dtype),
            _native(move_pixels(node, plan), mean, std, dtype),
            _native(node, mean, std, dtype),
            plan.weights,
            plan.parameters,
        )
    pipeline.build()
    mixed, alone, want_mixed, want_alone = (output.as_array() for output in pipeline.run()[:4])
    return np.array_equal(mixed, want_mixed) and np.array_equal(alone, want_alone)
