"""What bench.json and bench-gpu.json say, and what was aimed at."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["AIMS", "GPU_AIMS", "Bench", "aim_of", "is_met", "merged", "note", "on_gpu"]

Bench = dict[str, Any]
_TIMES = ("host_us_per_tile",)  # of which less is better; all others are ratios

# Aims, of docs/performance.md; "drop_in" stands for all ratios that begin so.
AIMS = {
    "read_over_cucim": 1.0,
    "windows_over_openslide": 1.5,
    "whole_over_openslide": 25.0,
    "mix_over_normalise": 1.0,
    "kernel_over_copy": 0.5,
    "encode_over_openslide_pil": 3.0,
    "job_over_script": 1.67,
    "job_of_one_slide_over_script": 1.0,
    "copy_over_cp": 0.5,
    "drop_in": 10.0,
    "host_us_per_tile": 8.0,
}
GPU_AIMS = {"mix_over_normalise": 1.0, "kernel_over_copy": 0.8, "pipeline_over_decode": 0.95, "host_us_per_tile": 8.0}


def aim_of(bench: Bench, key: str) -> float | None:
    """The aim of a ratio, or None."""
    aims = GPU_AIMS if on_gpu(bench) else AIMS
    return aims.get("drop_in" if key.startswith("drop_in") else key)


def is_met(bench: Bench, key: str) -> bool | None:
    """Whether the aim of a ratio is met; None where there is no aim, or no figure."""
    aim, value = aim_of(bench, key), bench["ratios"].get(key)
    if aim is None or value is None:
        return None
    return bool(value <= aim if key in _TIMES else value >= aim)


def on_gpu(bench: Bench) -> bool:
    """Whether the figures are those of a GPU."""
    return isinstance(bench["machine"]["gpu"], dict)


def merged(files: Sequence[Path]) -> Bench:
    """Runs on one machine as one: a later one's figures replace an earlier one's."""
    runs: list[Bench] = []
    for file in files:
        try:
            runs.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            sys.exit(f"{file} cannot be read as a benchmark's figures: {error}")
    if len({on_gpu(run) for run in runs}) > 1:
        sys.exit("Draw the figures of the CPU and those of the GPU apart.")
    whole: Bench = {
        "machine": runs[0]["machine"],
        "versions": runs[0]["versions"],
        "settings": runs[0]["settings"],
        "series": {},
        "ratios": {},
        "rounds": {},
        "other": {},
        "loads": [],
    }
    for run in runs:
        whole["ratios"] |= {key: value for key, value in run["ratios"].items() if value is not None}
        whole["rounds"] |= {key: rounds for key, rounds in run["rounds"].items() if rounds}
        whole["series"] |= run["series"]
        whole["other"] |= run["other"]
        whole["loads"].append(run["machine"]["load_at_start"][0])
    return whole


def note(bench: Bench) -> str:
    """Where and when, in a line."""
    machine = bench["machine"]
    where = f"{machine['gpu']['name']}, " if on_gpu(bench) else ""
    loads = ", ".join(f"{load:.1f}" for load in bench["loads"])
    return f"{where}{machine['cpu']}, {machine['cores']} cores, load at start {loads}; {machine['date'][:10]}"
