"""What the tests of the tiling job share."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from cellmix_dali.synthetic import render_slides
from cellmix_dali.tiling import TilingSettings, tile_slides

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "slides"), str(TESTS / "faults"), str(TESTS / "tiling")]

from slide_files import directory, picture, write_tiff  # noqa: E402 (of these folders)
from tiling_jobs import TINY, Tree, serial, tree  # noqa: E402


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slides of 1024 x 1024 px with 256-px blocks: SVS, generic TIFF, SVS."""
    folder = tmp_path_factory.mktemp("tiling")
    return [slide.path for slide in render_slides(folder, count=3, side=1024, seed=8)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slides of 384 x 256 px with 64-px blocks, which cost next to nothing: for jobs that are done many times."""
    folder = tmp_path_factory.mktemp("tiny")
    pictures = [picture(384, 256, seed=seed) for seed in range(3)]
    return [
        write_tiff(folder / f"slide-{number}.tiff", [directory(pixels, pixels_per_cm=20000)])
        for number, pixels in enumerate(pictures, 1)
    ]


@pytest.fixture(scope="session")
def uninterrupted(tiny: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What a job over the three tiny slides makes when nothing happens."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    result = serial(tiny, out, TINY)
    assert not result.failed
    assert result.tiles == 3 * 24
    return tree(out)


# Jobs that are killed run in children of a process that has imported everything already: they start at once, and have
# inherited nothing that was opened.
CHILDREN = multiprocessing.get_context("forkserver")


@pytest.fixture
def start() -> Iterator[Callable[..., ForkServerProcess]]:
    """Start a job in a process of its own."""
    CHILDREN.set_forkserver_preload(["cellmix_dali.tiling.job", "jinja2", "pyarrow.compute"])
    started = []

    def begin(slides: list[Path], out: Path, settings: TilingSettings = TINY, **options: Any) -> ForkServerProcess:
        process = CHILDREN.Process(target=tile_slides, args=(slides, out, settings), kwargs={"workers": 0, **options})
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()
