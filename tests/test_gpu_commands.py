"""``make test-gpu``, ``bench-gpu`` and ``gpu-report`` where there is no GPU: a message and an error, no silent pass.

The report is tried on the CPU, too: its parts are asked, their ends told, its page made.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("tests/gpu/run.py", "No test was run."),
        ("benchmarks/gpu.py", "Nothing was measured."),
        ("tests/gpu/report.py", "Nothing was asked."),
    ],
)
def test_without_a_gpu_they_say_so_and_fail(script: str, words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script)],
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


def report(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests" / "gpu" / "report.py"), "--out", str(folder / "report.json")]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_the_report_is_tried_on_the_cpu(tmp_path: Path) -> None:
    done = report(tmp_path, "--device", "cpu", "--seconds", "0.05", "--only", "colours")
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "report.json").read_text())["parts"]
    assert [row["blocks"] for row in parts["colours"]["rows"]] == ["rgb jpeg", "ycbcr jpeg 4:2:0", "jpeg 2000"]
    assert all(row["largest"] == row["largest of a part"] == 0 for row in parts["colours"]["rows"])
    page = (tmp_path / "report.md").read_text()
    assert "**Nothing was measured on a GPU**" in page
    assert "| ycbcr jpeg 4:2:0 | cpu | 0 | 0.0 | 0 |" in page


def test_a_group_of_the_benchmark_that_fails_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kernel, slides or a decoder the rest is measured, and what failed is among the figures."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    bench = importlib.import_module("gpu")

    def broken(*_: Any) -> None:
        raise RuntimeError("no decoder")

    monkeypatch.setattr(bench, "decoder", broken)
    monkeypatch.setattr(bench, "host", lambda _, __, report, ___: report["ratios"].update(host_us_per_tile=1.0))
    out = tmp_path / "bench.json"
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", "--device", "cpu", "--side", "2048", "--rounds", "1", "--out", str(out)]
    )
    assert bench.main() == 1
    found = json.loads(out.read_text())
    assert found["failed"] == dict.fromkeys(["YCbCr 4:2:0 TIFF", "RGB SVS"], "RuntimeError: no decoder")
    assert found["ratios"] == {"host_us_per_tile": 1.0}


@pytest.mark.slow
def test_a_part_that_runs_out_of_time_takes_no_other_with_it(tmp_path: Path) -> None:
    done = report(tmp_path, "--device", "cpu", "--minutes", "0.02", "--only", "trainings", "colours")
    assert done.returncode == 1
    assert "trainings: ran out of time" in done.stdout
    parts = json.loads((tmp_path / "report.json").read_text())["parts"]
    assert list(parts) == ["trainings", "colours"]
    assert all(part["exit code"] is None for part in parts.values())
    assert (tmp_path / "report.md").read_text().count("**No answer, or not a whole one**") == 2
