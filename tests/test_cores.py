"""The cores that this process may use: affinity, and the limit of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellmix_dali._cores import usable_cores
from cellmix_dali.pipelines.device import pipeline_on

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", HERE), ("100000 100000", 1), ("10000 100000", 1), ("9900000 100000", min(99, HERE)), ("?", HERE)],
)
def test_the_limit_of_control_groups_2(limit: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", HERE), ("50000", 1), ("100000", 1), ("9900000", min(99, HERE))])
def test_the_limit_of_control_groups_1(quota: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path) == cores


def test_a_part_of_a_core_more_counts_as_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores(tmp_path / "none") == 64
    (tmp_path / "cpu.max").write_text("350000 100000\n")
    assert usable_cores(tmp_path) == 4


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/job.slice/step\n", {"job.slice/step": "300000 100000"}, 3),
        ("0::/job.slice/step\n", {"job.slice": "500000 100000", "job.slice/step": "max 100000"}, 5),
        ("0::/job.slice/step\n", {"job.slice": "500000 100000", "job.slice/step": "700000 100000"}, 5),
        ("0::/job.slice/step\n", {"other": "100000 100000", "": "900000 100000"}, 9),
        ("0::/\n", {"": "200000 100000"}, 2),
        ("4:memory:/docker/a\n5:cpu,cpuacct:/docker/b\n", {"cpu/docker/b": "400000/100000"}, 4),
        ("4:memory:/docker/a\n5:cpuset:/docker/b\n", {"cpu/docker/b": "400000/100000"}, 64),
        ("?\n\n::\n", {"job.slice": "100000 100000"}, 64),
    ],
)
def test_the_least_limit_of_the_groups_around_a_process_counts(
    own: str, limits: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "own").write_text(own)
    for group, limit in limits.items():
        folder = tmp_path / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        if "/" in limit:
            (folder / "cpu.cfs_quota_us").write_text(limit.split("/")[0])
            (folder / "cpu.cfs_period_us").write_text(limit.split("/")[1])
        else:
            (folder / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path / "cgroup", tmp_path / "own") == cores


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (7, 7), (64, 16)])
def test_a_pipeline_has_a_thread_per_core(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellmix_dali.pipelines.device.usable_cores", lambda: cores)
    pipeline = pipeline_on("cpu", batch_size=2, num_threads=None, prefetch_queue_depth=None)
    assert (pipeline.num_threads, pipeline.prefetch_queue_depth) == (threads, 2)
    assert pipeline_on("cpu", batch_size=2, num_threads=3).num_threads == 3


def test_a_gpu_pipeline_makes_four_batches_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellmix_dali.pipelines.device.device_id", lambda _: 0)
    pipeline = pipeline_on("gpu", batch_size=2, num_threads=None, prefetch_queue_depth=None)
    assert pipeline.prefetch_queue_depth == 4
