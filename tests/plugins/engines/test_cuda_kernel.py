"""The CUDA kernel without a GPU: its source in numba's simulator against the plan's reference, and compiled to PTX."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CELLMIX_VARIANTS, CellMix, make_mixer
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.engines.cell_table import cell_tables, tables_of_batch
from cellmix_dali.plugins.engines.cuda_kernel import BLOCK

BATCH = 8  # a multiple of all groups
MOMENTS = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
# Height, width, patch. Rows of 48 and 24 px keep every access aligned; of 20, those of float32 alone; 35 and 7, none.
SIZES = [(16, 48, 16), (8, 24, 4), (8, 20, 4), (5, 35, 5), (4, 7, 1)]


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (BATCH, height, width, 3), dtype=np.uint8)


def case(height: int, width: int, method: str | None, patch: int | None, dtype: str, **more: Any) -> dict[str, Any]:
    given = {"method": method, "patch": patch, "fix_ratio": 0.25, "seed": 3, "dtype": dtype, "moments": MOMENTS}
    return {"images": pixels(height, width), "graph": False, "shift": 0, "block": (4, 4), **given, **more}


CASES = [
    *(case(*size[:2], "CellMix-All", size[2], dtype) for size in SIZES for dtype in ("float32", "float16")),
    *(case(8, 8, method, 4, "float32") for method in CELLMIX_VARIANTS),
    # Whatever the fix ratio: everything moves, nothing does.
    *(case(8, 8, "CellMix-All", 4, "float32", fix_ratio=ratio) for ratio in (0.0, 1.0)),
    # Boxes of any place and size, which lie on no grid.
    *(case(9, 13, "CutMix", None, dtype, seed=seed) for seed in (1, 2) for dtype in ("float32", "float16")),
    # Images at odd addresses.
    *(case(4, 16, "CellMix-All", 4, dtype, shift=shift) for shift in (1, 4, 6) for dtype in ("float32", "float16")),
    # The blocks of a real launch.
    case(8, 24, "CellMix-All", 8, "float32", block=BLOCK),
    # Nothing mixed.
    *(case(*size[:2], None, None, dtype) for size in SIZES[2:4] for dtype in ("float32", "float16")),
    # The whole operator, in a pipeline of DALI's.
    *(case(8, 16, method, patch, "float32", graph=True) for method, patch in (("CellMix-All", 4), (None, None))),
    *(case(9, 14, "CutMix", None, "float16", graph=True, seed=seed) for seed in (1, 2)),
]


def name(given: dict[str, Any]) -> str:
    height, width = given["images"].shape[1:3]
    way = "graph" if given["graph"] else f"shift {given['shift']}"
    return f"{height}x{width} {given['method']} {given['patch']} {given['fix_ratio']} {given['dtype']} {way}"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[np.ndarray], list[str]]:
    """What the simulator makes of each case, and what the self-check says there of an engine that does not mix.

    In one child process: numba must be told of the simulator before it is imported.
    """
    folder = tmp_path_factory.mktemp("simulator")
    (folder / "cases").write_bytes(pickle.dumps(CASES))
    child = Path(__file__).with_name("cuda_simulator.py")
    done = subprocess.run(
        [sys.executable, str(child), str(folder / "cases"), str(folder / "results")],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results: tuple[list[np.ndarray], list[str]] = pickle.loads((folder / "results").read_bytes())
    return results


def reference(given: dict[str, Any]) -> np.ndarray:
    """The plan's own pixels, normalised step by step in float32 as DALI's operator does on the CPU."""
    images, (height, width), patch = given["images"], given["images"].shape[1:3], given["patch"]
    if given["method"] is not None:
        mixer = make_mixer(given["method"], p=1.0, seed=given["seed"])
        steering = () if patch is None else (patch, given["fix_ratio"])
        images = mixer.draw(BATCH, (height, width), *steering, epoch=0, iteration=0).apply(images)
    means, deviations = (np.array([255 * value for value in each], np.float32) for each in MOMENTS)
    floats = (images.astype(np.float32) - means) * (1 / deviations).astype(np.float32)
    return floats.transpose(0, 3, 1, 2).astype(given["dtype"])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[name(given) for given in CASES])
def test_the_simulated_kernel_gives_the_plans_pixels_to_the_bit(
    number: int, simulated: tuple[list[np.ndarray], list[str]]
) -> None:
    given, got = CASES[number], simulated[0][number]
    want = reference(given)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    if given["method"] is not None and given["fix_ratio"] < 1:
        assert not np.array_equal(got, reference(given | {"method": None}))


@pytest.mark.slow
def test_the_self_check_passes_in_the_simulator_and_finds_a_kernel_that_does_not_mix(
    simulated: tuple[list[np.ndarray], list[str]],
) -> None:
    for message in simulated[1]:
        assert re.search(
            r"'numba' applied a plan of kind 'paste' wrongly .* numba_cuda \S+, torch \S+, nvidia", message
        )


PTX = """
import importlib
import json
from numba import cuda
from numba.cuda import types
from cellmix_dali.plugins.engines import cuda_kernel as kernel

signature = types.void(*[types.int64] * 6, *[types.float32] * 6)
found = {}
for name in ("mix_float32", "mix_float16"):
    for target in ((8, 0), (9, 0), (10, 0)):
        function = getattr(kernel, name).py_func
        ptx, _ = cuda.compile(function, signature, cc=target, device=False, abi="numba", output="ptx")
        found[f"{name} sm_{target[0]}{target[1]}"] = ptx
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def compiled() -> dict[str, str]:
    """The PTX of both kernels for both targets, made where no GPU is seen."""
    done = subprocess.run(
        [sys.executable, "-c", PTX],
        env={key: value for key, value in os.environ.items() if key != "NUMBA_ENABLE_CUDASIM"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize(("function", "store"), [("mix_float32", "f32"), ("mix_float16", "[bu]32")])
def test_ptx(function: str, store: str, target: str, compiled: dict[str, str]) -> None:
    """One 16-byte store a plane, 4-byte loads of pixels, no rounding more than the reference has, no call."""
    ptx = compiled[f"{function} {target}"]
    assert f".target {target}" in ptx
    assert len(re.findall(rf"st\.global\.v4\.{store}\s", ptx)) == 3
    assert re.search(r"ld\.global\.u32\s", ptx)
    assert not re.search(r"\bfma\.\w*\.?f32|\bcall\b|\.f64\s|\.local\b", ptx)
    assert ("cvt.rn.f16.f32" in ptx) == (function == "mix_float16")


def ptxas() -> Path:
    """NVIDIA's assembler, which comes with numba-cuda."""
    folders = [Path(folder) for folder in importlib.import_module("nvidia").__path__]
    return next(found for folder in folders for found in folder.glob("*/bin/ptxas"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("function", ["mix_float32", "mix_float16"])
def test_nothing_spills(function: str, target: str, compiled: dict[str, str], tmp_path: Path) -> None:
    """Registers hold all: the machine code keeps nothing in memory of a thread's own, and leaves room for others."""
    source = tmp_path / "kernel.ptx"
    source.write_text(compiled[f"{function} {target}"])
    command = [ptxas(), "-v", f"-arch={target}", "-o", tmp_path / "kernel.cubin", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in done.stderr
    registers = re.search(r"Used (\d+) registers", done.stderr)
    assert registers is not None
    assert 0 < int(registers[1]) <= 64  # of the 65,536 of a multiprocessor: 1,024 threads at least


def regions(source: PlanSource) -> np.ndarray:
    plan = source.draw(0, 0)
    return np.concatenate([plan.in_ids[..., None], plan.in_anchors, plan.out_anchors, plan.shapes], axis=-1)


def test_a_grid_has_a_cell_a_patch() -> None:
    source = PlanSource(CellMix("CellMix-All"), tile_size=(32, 48), batch_size=BATCH, patch_size=16, fix_ratio=0.0)
    tables = cell_tables(regions(source), 32, 48)
    assert tables.shape == (BATCH, 32 + 48 + 2 * 6)
    np.testing.assert_array_equal(tables[0, :32], np.repeat([0, 3], 16))
    np.testing.assert_array_equal(tables[0, 32:80], np.repeat([0, 1, 2], 16))


def test_regions_that_reach_out_are_refused() -> None:
    inside = regions(PlanSource(make_mixer("CutMix"), tile_size=(20, 30), batch_size=BATCH))
    cell_tables(inside, 20, 30)
    with pytest.raises(ArgumentError, match="does not fit a batch of 8 images of 20 x 29 px"):
        cell_tables(inside, 20, 29)
    with pytest.raises(ArgumentError, match="does not fit a batch of 3 images"):
        cell_tables(np.where(np.arange(7) == 0, 3, inside)[:3], 20, 30)
    for column in range(7):
        wrong = inside.copy()
        wrong[1, 0, column] = -1
        with pytest.raises(ArgumentError, match="does not fit"):
            cell_tables(wrong, 20, 30)
    with pytest.raises(ArgumentError, match=r"several sizes, \[\(20, 30\), \(20, 31\)\]"):
        tables_of_batch(list(inside), [np.array([20, 30 + (number == 2), 3]) for number in range(BATCH)])
