"""The decoder that pipelines take: what `inspect` says of it, and the report of a training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.cli import app
from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.pipelines.routes import decoder_device, routes_taken
from cellmix_dali.plugins import TileSource
from cellmix_dali.slides.stream_kinds import KINDS
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.training import TileSamples, TrainingData, TrainingSettings, run_training
from cellmix_dali.training.tile_samples import _kinds_read


def test_inspect_says_the_decoder(rendered: list[RenderedSlide]) -> None:
    found = CliRunner().invoke(app, ["inspect", str(rendered[0].path), "--json"])
    assert found.exit_code == 0
    info = json.loads(found.stdout)
    assert info["device"] == "cpu"
    assert {level["decoder"] for level in info["levels"]} == {decoder_device("cpu")}
    assert {level["decoder_reason"] for level in info["levels"]} == {routes_taken("cpu")["rgb jpeg"].reason}
    found = CliRunner().invoke(app, ["inspect", str(rendered[1].path)])
    assert "decoder (cpu)" in found.stdout
    assert "decoded by fn.decoders.image on the CPU" in found.stdout


def test_inspect_for_the_cpu_does_not_wait_for_dali(rendered: list[RenderedSlide]) -> None:
    code = (
        "import sys; from cellmix_dali.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print('nvidia.dali' in sys.modules, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "inspect", str(rendered[0].path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_asked_for_where_there_is_none(rendered: list[RenderedSlide]) -> None:
    found = CliRunner().invoke(app, ["inspect", str(rendered[0].path), "--device", "gpu"])
    assert isinstance(found.exception, MissingDependencyError)
    assert "no usable CUDA device" in str(found.exception)


def test_a_device_that_does_not_exist(rendered: list[RenderedSlide]) -> None:
    found = CliRunner().invoke(app, ["inspect", str(rendered[0].path), "--device", "gpux"])
    assert found.exit_code == 2
    assert "'gpux' is not one of 'cpu', 'gpu'" in " ".join(found.output.replace("│", "").split())


def test_the_report_of_a_training_holds_the_routes(table: TileTable, tmp_path: Path) -> None:
    labels = table.with_labels(torch.arange(len(table)).numpy() % 2)
    data = TrainingData(TileSamples(256), labels, None, labels, ("a", "b"), "none", "none")
    report = run_training(
        data, TrainingSettings(epochs=1, batch_size=8, engine="native"), tmp_path, Console(quiet=True)
    )
    routes = routes_taken("cpu")
    want = {
        kind: {"decoder": "cpu", "reason": routes[kind].reason, "difference": None}
        for kind in ("rgb jpeg", "ycbcr jpeg 4:2:0")
    }
    assert report["tiles"]["decoder_routes"] == want
    assert json.loads((tmp_path / "report.json").read_text())["tiles"]["decoder_routes"] == want


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("CMU-1-Small-Region.jp2.tiff", {"jpeg 2000"}),
        ("gcp-camelyon-multiframe-jpeg.dcm", {"ycbcr jpeg 4:2:0"}),
        ("", {"pixels"}),
    ],
)
def test_kinds_that_a_training_read(real, only_openslide, name: str, kinds: set[str]) -> None:  # type: ignore[no-untyped-def]
    with open_slide(real(name) if name else only_openslide) as slide:
        tiles = grid_tiles(slide, slide.levels[0].block_width or 256)
    source = TileSource(tiles, batch_size=2, shuffle=False)
    try:
        assert _kinds_read(source, source.read) == set()  # nothing yet
        source(SimpleNamespace(epoch_idx=0, iteration=0))
        assert _kinds_read(source, source.read) == kinds
    finally:
        source.close()
    assert kinds <= {*KINDS, "pixels"}
