"""The pictures of benchmark figures: what is drawn is what the file says."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

SCRIPT = Path(__file__).parent / "benchmarks" / "plots.py"
spec = importlib.util.spec_from_file_location("benchmark_plots", SCRIPT)
assert spec is not None
assert spec.loader is not None
plots = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plots)

Bench = dict[str, Any]
RATES = {"read": (900.0, 1100.0, 1000.0), "cuCIM": (1000.0, 1000.0, 2000.0)}  # rounds 0.9, 1.1, 0.5


def contestants(rates: dict[str, tuple[float, ...]]) -> Bench:
    return {
        name: {"median_tiles_per_s": statistics.median(each), "tiles_per_s": list(each), "cpu_us_per_tile": [1.0] * 3}
        for name, each in rates.items()
    }


def times(*us: float) -> Bench:
    return {"median_us": statistics.median(us), "us": list(us), "cpu_us": [2 * each for each in us]}


@pytest.fixture
def bench() -> Bench:
    """As bench.json."""
    return {
        "machine": {"date": "2026-01-02T03:04:05", "cpu": "X", "cores": 2, "load_at_start": [0.5, 0, 0], "gpu": "none"},
        "settings": {},
        "ratios": {"read_over_cucim": 0.9, "windows_over_openslide": None, "kernel_over_copy": 0.8, "loop": 0.7},
        "series": {"blocks of 256 px, YCbCr 4:2:0 TIFF": contestants(RATES)},
        "other": {
            "mixing pass to float32 CHW": {
                "224 px, patches of 16: us a tile": 60.2112,
                "224 px, patches of 16: over copying": 0.8,
            },
            "host, us a tile: blocks": {
                "reader.read, one thread": times(10, 11, 12),
                "TileSource.__call__, 1 reading threads": times(15, 16, 17),
                "TileSource.__call__, 4 reading threads": times(20, 21, 25),
            },
        },
    }


@pytest.fixture
def gpu_bench(bench: Bench) -> Bench:
    """As bench-gpu.json."""
    names = {
        "bare DALI decoder, hw_decoder_load 0.0": (100.0, 100.0, 100.0),
        "bare DALI decoder, hw_decoder_load 1.0": (200.0, 200.0, 200.0),
        "read + normalise (native)": (150.0, 150.0, 150.0),
        "read + normalise (numba)": (160.0, 160.0, 160.0),
        "read + CellMix (native) + normalise": (120.0, 150.0, 150.0),
        "read + CellMix (numba) + normalise": (180.0, 190.0, 200.0),
    }
    ways = {"mixing": [2.0, 2.5, 1.25], "no plan": [2.0, 2.0, 2.0], "copy": [1.0, 2.0, 2.0]}
    kernel = {"over_copy": 0.8} | {f"{way}, ms": each for way, each in ways.items()}
    kernel |= {f"{way}, GB/s": 1000 / statistics.median(each) for way, each in ways.items()}
    return bench | {
        "machine": bench["machine"] | {"gpu": {"name": "Y"}},
        "settings": {"default_engine": "numba"},
        "ratios": {"pipeline_over_decode": 0.95, "mix_over_normalise_native": 1.0, "numba_over_native_svs": 4 / 3},
        "series": {
            f"blocks of 256 px, {kind}, batches of 256": contestants(names) for kind in ("YCbCr 4:2:0 TIFF", "RGB SVS")
        },
        "other": {"kernel alone": {"batch 256, 224 px, patches of 32, float32": kernel}},
    }


def bars(figure: Figure) -> list[float]:
    return [round(patch.get_width(), 6) for patch in figure.axes[0].patches]


def test_rounds_are_those_of_the_ratio(bench: Bench) -> None:
    assert plots.rounds_of(bench, "read_over_cucim") == [0.9, 1.1, 0.5]
    assert plots.rounds_of(bench, "loop") == plots.rounds_of(bench, "kernel_over_copy") == []
    bench["ratios"]["read_over_cucim"] = 0.8
    with pytest.raises(SystemExit, match=r"read_over_cucim have the median 0\.9000"):
        plots.rounds_of(bench, "read_over_cucim")


def test_rounds_of_a_gpu(gpu_bench: Bench) -> None:
    assert plots.rounds_of(gpu_bench, "pipeline_over_decode") == [0.9, 0.95, 1.0]  # over the faster decoder
    assert plots.rounds_of(gpu_bench, "mix_over_normalise_native") == [0.8, 1.0, 1.0]
    assert plots.rounds_of(gpu_bench, "numba_over_native_svs") == pytest.approx([1.5, 19 / 15, 4 / 3])


ENCODING = ("decoded_tiles + Encoding", "OpenSlide + PIL")
TIFF, SVS = "one core, YCbCr 4:2:0 TIFF", "one core, RGB SVS"


@pytest.mark.parametrize(
    ("key", "group", "names"),
    [
        ("cellmix_group_over_none", "each method in the graph, blocks of 256 px", ("CellMix-Group", "none")),
        ("encode_over_openslide_pil", f"windows of 512 px to JPEG of 256 px, {TIFF}", ENCODING),
        ("encode_over_openslide_pil_224_svs", f"windows of 224 px to JPEG of 224 px, {SVS}", ENCODING),
        ("drop_in_over_plain: Mixup, 8 x 3", "drop-in, Mixup, 8 x 3", ("drop-in", "plain CellMix")),
        ("copy_over_cp_unsynced", "blocks of 256 px copied into shards, RGB SVS", ("blocks into shards", "cp")),
    ],
)
def test_contestants_of_every_family_of_ratios_are_found(
    bench: Bench, key: str, group: str, names: tuple[str, str]
) -> None:
    over, under = names
    found = contestants({over: (8.0, 8.0, 8.0), under: (2.0, 4.0, 4.0)})
    others = {"CellMix": found[over], "cp + fsync": found[over]} if under in ("none", "cp") else {}
    bench["series"] = {"another group": found, group: found | others}
    bench["ratios"] = {key: 2.0}
    assert plots.rounds_of(bench, key) == [4.0, 2.0, 2.0]


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
    # 224 x 224 x 3 float32 in 60.2112 us are 10 GB/s; copying takes 0.8 of the time.
    assert bars(plots.kernel_picture(bench)) == [12.5, 10.0]
    figure = plots.kernel_picture(gpu_bench)
    assert bars(figure) == [500.0, 500.0, 500.0]
    assert [800.0, 500.0, 400.0] not in [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert [500.0, 400.0, 800.0] in [list(line.get_xdata()) for line in figure.axes[0].lines]


def test_the_host_by_threads(bench: Bench) -> None:
    (axes,) = plots.host_picture(bench).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    drawn = [list(line.get_ydata()) for line in axes.lines]
    for want in ([16, 21], [32, 42], [15, 16, 17], [11, 11], [8, 8]):
        assert want in drawn


def test_files_of_single_groups_make_one_set_of_pictures(bench: Bench, tmp_path: Path) -> None:
    one, two, out = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "out"
    other = bench | {"ratios": {"read_over_cucim": None, "copy_over_cp": 0.4}, "series": {}, "other": {}}
    one.write_text(json.dumps(bench))
    two.write_text(json.dumps(other))
    merged = plots.merged([one, two])
    assert merged["ratios"] == {"read_over_cucim": 0.9, "kernel_over_copy": 0.8, "loop": 0.7, "copy_over_cp": 0.4}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(one), str(two), str(out)], check=True, capture_output=True, text=True
    )
    made = {out / f"performance-{name}.png" for name in ("ratios", "kernel", "host")}
    assert {Path(line) for line in done.stdout.splitlines()} == made == set(out.iterdir())
    for path in made:
        with Image.open(path) as picture:
            assert picture.size[0] > 900


def test_what_cannot_be_drawn(bench: Bench, gpu_bench: Bench, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps(bench))
    two.write_text(json.dumps(gpu_bench))
    with pytest.raises(SystemExit, match="apart"):
        plots.merged([one, two])
    two.write_text("no json")
    with pytest.raises(SystemExit, match=r"two\.json cannot be read"):
        plots.merged([two])
    empty = bench | {"ratios": {}, "series": {}, "other": {}}
    assert [draw(empty) for _, draw in plots.PICTURES.values()] == [None, None, None]
