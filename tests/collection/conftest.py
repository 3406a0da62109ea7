"""Slides to make indexes of, and which of them are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellmix_dali.collection import job as index_job
from cellmix_dali.synthetic import RenderedSlide


@pytest.fixture
def copies(rendered: list[RenderedSlide], tmp_path: Path) -> list[Path]:
    """Six small slides, each a file of its own."""
    paths = [tmp_path / f"{number}.svs" for number in range(6)]
    for path in paths:
        path.write_bytes(rendered[0].path.read_bytes())
    return paths


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The slides that are looked at, by this process."""
    names: list[str] = []
    real = index_job.do_task
    monkeypatch.setattr(index_job, "do_task", lambda task: (names.append(task.slide.name), real(task))[1])
    monkeypatch.setattr(index_job.do_task, "__module__", real.__module__, raising=False)
    return names
