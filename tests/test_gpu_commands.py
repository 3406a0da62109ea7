"""``make test-gpu`` and ``make bench-gpu`` where there is no GPU: a clear message and an error, never a silent pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("script", "words"), [("gpu/run.py", "No test was run."), ("benchmarks/gpu.py", "Nothing was measured.")]
)
def test_without_a_gpu_they_say_so_and_fail(script: str, words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / script)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "no usable CUDA device" in done.stderr
    assert not list(tmp_path.iterdir())


def test_make_test_collects_no_gpu_test() -> None:
    files = {path.name for path in (ROOT / "tests" / "gpu").glob("*.py")}
    assert {name for name in files if name.startswith("gpu_")} >= {
        "gpu_decoding.py",
        "gpu_engines.py",
        "gpu_loaders.py",
    }
    assert not any(name.startswith("test_") or name.endswith("_test.py") for name in files)
