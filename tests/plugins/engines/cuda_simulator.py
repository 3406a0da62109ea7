"""Run by test_cuda_kernel.py in a process of its own: the CUDA kernel in numba's simulator, results into a file."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import config
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import Action, make_mixer
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.engines import cuda_kernel as _cuda_kernel, cuda_launch
from cellmix_dali.plugins.engines.cell_table import cell_tables
from cellmix_dali.plugins.engines.cuda import CompiledOnGpu
from cellmix_dali.plugins.engines.cuda_launch import mixed_and_normalised
from cellmix_dali.plugins.engines.engine import Normalisation
from cellmix_dali.plugins.engines.self_check import self_check


def tensors(images: np.ndarray, shift: int) -> list[torch.Tensor]:
    """Each image in memory of its own, `shift` bytes after an address that is a multiple of 16."""
    placed = []
    for image in images:
        room = np.empty(image.size + 32, np.uint8)
        first = -room.ctypes.data % 16 + shift
        view = room[first : first + image.size].reshape(image.shape)
        view[:] = image
        placed.append(torch.from_numpy(view))
    return placed


def directly(images: np.ndarray, source: PlanSource | None, dtype: str, shift: int, moments: Any) -> np.ndarray:
    tables = None
    if source is not None:
        plan = source.draw(0, 0)
        regions = np.concatenate([plan.in_ids[..., None], plan.in_anchors, plan.out_anchors, plan.shapes], axis=-1)
        tables = list(map(torch.from_numpy, cell_tables(regions, *images.shape[1:3])))
    numbers = Normalisation(*moments).constants()
    return mixed_and_normalised(tensors(images, shift), tables, numbers, dtype, stream=0).numpy()


def in_a_graph(images: np.ndarray, source: PlanSource | None, dtype: str, moments: Any) -> np.ndarray:
    pipeline = Pipeline(batch_size=len(images), num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        plan = None if source is None else source.nodes()
        result = CompiledOnGpu().normalise(node, plan, Normalisation(*moments, dtype))
        # Raises where the result has no layout.
        kept = fn.crop_mirror_normalize(result, dtype=types.FLOAT, output_layout="HWC")
        pipeline.set_outputs(result, kept, *([] if plan is None else [plan.weights, plan.parameters]))
    pipeline.build()
    result, kept = pipeline.run()[:2]
    assert kept.layout() == "HWC"
    return np.array(result.as_array())


def tried(dtype: str) -> str:
    """What the self-check says of an engine that is right but forgets to mix."""
    for action in (None, Action("paste")):
        self_check(CompiledOnGpu(), action, dtype)
    right = cuda_launch.mixed_and_normalised
    cuda_launch.mixed_and_normalised = lambda images, _tables, *rest: right(images, None, *rest)
    try:
        self_check(CompiledOnGpu(), None, dtype)
        self_check(CompiledOnGpu(), Action("paste"), dtype)
    except CellMixDaliError as error:
        return str(error)
    finally:
        cuda_launch.mixed_and_normalised = right
    return ""


def main(cases: Path, out: Path) -> None:
    assert config.ENABLE_CUDASIM
    results = []
    _cuda_kernel.BLOCK = (4, 4)
    said = [tried(dtype) for dtype in ("float32", "float16")]
    for case in pickle.loads(cases.read_bytes()):
        images, method, patch = case["images"], case["method"], case["patch"]
        # The simulator pays for each thread, also for those that have no pixel.
        _cuda_kernel.BLOCK = case["block"]
        source = None
        if method is not None:
            steering = {} if patch is None else {"patch_size": patch, "fix_ratio": case["fix_ratio"]}
            mixer = make_mixer(method, p=1.0, seed=case["seed"])
            source = PlanSource(mixer, tile_size=images.shape[1:3], batch_size=len(images), **steering)
        if case["graph"]:
            results.append(in_a_graph(images, source, case["dtype"], case["moments"]))
        else:
            results.append(directly(images, source, case["dtype"], case["shift"], case["moments"]))
    out.write_bytes(pickle.dumps((results, said)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
