"""The page and the pictures of benchmark figures: what is drawn and written is what the file says."""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "figures.py"
sys.path.insert(0, str(BENCHMARKS))  # where they find each other when they are run
bench_file, plots, figures = (importlib.import_module(name) for name in ("bench_file", "plots", "figures"))
sys.path.remove(str(BENCHMARKS))

Bench = dict[str, Any]


def times(*us: float) -> Bench:
    return {"median_us": statistics.median(us), "us": list(us), "cpu_us": [2 * each for each in us]}


def kernel(**ways: list[float]) -> Bench:
    """Milliseconds by way, of a pass that makes a megabyte."""
    figures: Bench = {f"{way}, ms": each for way, each in ways.items()}
    return figures | {"over_copy": 0.8} | {f"{way}, GB/s": 1000 / statistics.median(ms) for way, ms in ways.items()}


@pytest.fixture
def bench() -> Bench:
    """As bench.json."""
    return {
        "machine": {"date": "2026-01-02T03:04:05", "cpu": "X", "cores": 2, "load_at_start": [0.5, 0, 0], "gpu": "none"},
        "versions": {"python": "3.11", "dali": "2"},
        "settings": {},
        "series": {
            "blocks": {"read": {"median_tiles_per_s": 90.0, "tiles_per_s": [90, 80, 95], "cpu_us_per_tile": [5, 6, 7]}}
        },
        "ratios": {"read_over_cucim": 0.9, "windows_over_openslide": None, "kernel_over_copy": 0.8, "loop": 0.7},
        "rounds": {"read_over_cucim": [0.9, 1.1, 0.5], "windows_over_openslide": []},
        "other": {
            "kernel alone": {"batch 64, 224 px, float32": kernel(mixing=[2.0, 2.5, 1.25], copy=[1.0] * 3)},
            "host, us per tile: blocks": {
                "reader.read, one thread": times(10, 11, 12),
                "TileSource.__call__, 1 reading threads": times(15, 16, 17),
                "TileSource.__call__, 4 reading threads": times(20, 21, 25),
            },
        },
    }


@pytest.fixture
def gpu_bench(bench: Bench) -> Bench:
    """As bench-gpu.json."""
    ways = kernel(mixing=[2.0, 2.5, 1.25], **{"no plan": [2.0, 2.0, 2.0]}, copy=[1.0, 2.0, 2.0])
    return bench | {
        "machine": bench["machine"] | {"gpu": {"name": "Y"}},
        "ratios": {"pipeline_over_decode": 0.95},
        "rounds": {"pipeline_over_decode": [0.95, 0.9, 1.0]},
        "other": {"kernel alone": {"batch 256, 224 px, patches of 32, float32": ways}},
    }


def bars(figure: Figure) -> list[float]:
    return [round(patch.get_width(), 6) for patch in figure.axes[0].patches]


def test_the_ratios_are_drawn_with_rounds_and_aims(bench: Bench) -> None:
    (axes,) = plots.ratios_picture(bench).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["read_over_cucim", "kernel_over_copy", "loop"]
    drawn = [sorted(line.get_xdata()) for line in axes.lines]
    for want in ([0.9], [0.5, 0.9, 1.1], [0.8], [0.7], [1.0, 1.0], [0.5, 0.5]):  # medians, rounds, aims
        assert want in drawn
    assert [text.get_text() for text in axes.texts] == ["0.90", "0.80", "0.70"]
    colours = [text.get_color() for text in axes.texts]
    assert len(set(colours)) == 3  # missed, met, no aim


def test_the_kernel_in_gigabytes_a_second(bench: Bench, gpu_bench: Bench) -> None:
    assert bars(plots.kernel_picture(bench)) == [1000.0, 500.0]
    figure = plots.kernel_picture(gpu_bench)
    assert bars(figure) == [500.0, 500.0, 500.0]
    assert [500.0, 400.0, 800.0] in [list(line.get_xdata()) for line in figure.axes[0].lines]


def test_the_host_by_threads(bench: Bench) -> None:
    (axes,) = plots.host_picture(bench).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    drawn = [list(line.get_ydata()) for line in axes.lines]
    for want in ([16, 21], [32, 42], [15, 16, 17], [11, 11], [8, 8]):
        assert want in drawn


def test_files_of_single_groups_make_one_set_of_pictures(bench: Bench, tmp_path: Path) -> None:
    one, two, out = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "out"
    other = bench | {"ratios": {"read_over_cucim": None, "copy_over_cp": 0.4}, "rounds": {}, "other": {}}
    one.write_text(json.dumps(bench))
    two.write_text(json.dumps(other))
    merged = bench_file.merged([one, two])
    assert merged["ratios"] == {"read_over_cucim": 0.9, "kernel_over_copy": 0.8, "loop": 0.7, "copy_over_cp": 0.4}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(one), str(two), str(out)], check=True, capture_output=True, text=True
    )
    names = [f"performance-{name}" for name in ("ratios.png", "kernel.png", "host.png", "figures.md")]
    made = {out / name for name in names}
    assert {Path(line) for line in done.stdout.splitlines()} == made == set(out.iterdir())
    for path in made - {out / "performance-figures.md"}:
        with Image.open(path) as picture:
            assert picture.size[0] > 900


def test_the_page_says_what_the_file_says(bench: Bench) -> None:
    bench["ratios"] |= {"host_us_per_tile": 9.0, "copy_over_cp": 0.6}
    bench["rounds"] |= {"host_us_per_tile": [8.5, 9.0, 9.5]}
    page = figures.page(bench | {"ratios": {k: v for k, v in bench["ratios"].items() if v}, "loads": [0.5]}, ["a.png"])
    for line in (
        "X, 2 cores, load at start 0.5; 2026-01-02. Versions: python 3.11, dali 2.",
        "![a.png](a.png)",
        "| `read_over_cucim` | 0.90 | 0.50 to 1.10 | 1 | **missed** |",
        "| `kernel_over_copy` | 0.80 |  | 0.5 | met |",
        "| `loop` | 0.70 |  |  |  |",
        "| `host_us_per_tile` | 9.00 | 8.50 to 9.50 | 8 | **missed** |",  # less is better
        "| read | 90 | 80 to 95 | 6 |",
        "| batch 64, 224 px, float32 | 500.0 | 1000.0 | 0.80 |",
        "| reader.read, one thread | 11 | 10 to 12 |",
    ):
        assert line in page.splitlines(), line


def test_what_cannot_be_drawn(bench: Bench, gpu_bench: Bench, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps(bench))
    two.write_text(json.dumps(gpu_bench))
    with pytest.raises(SystemExit, match="apart"):
        bench_file.merged([one, two])
    two.write_text("no json")
    with pytest.raises(SystemExit, match=r"two\.json cannot be read"):
        bench_file.merged([two])
    empty = bench | {"ratios": {}, "rounds": {}, "other": {}}
    assert [draw(empty) for _, draw in plots.PICTURES.values()] == [None, None, None]
