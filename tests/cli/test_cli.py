"""The command line: the demo end to end, and one clear message with exit code 2 for what cannot work."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.main import get_command

from cellmix_dali import TileTable, __version__
from cellmix_dali.cli import app
from cellmix_dali.synthetic import RenderedSlide, render_slides

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


def check_results(out: Path, epochs: int) -> dict[str, Any]:
    for name in ("mixed.png", "curriculum.png", "confusion.png"):
        with Image.open(out / name) as picture:
            assert picture.size[0] > 400
            colours = picture.convert("RGB").getcolors(1 << 24)
            assert colours is not None
            assert len(colours) > 50
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert [entry["epoch"] for entry in report["epochs"]] == list(range(1, epochs + 1))
    for entry in report["epochs"]:
        assert set(entry) == {
            "epoch",
            "learning_rate",
            "train_loss",
            "patch_size",
            "fix_ratio",
            "threshold",
            "samples_per_second",
        }
        assert entry["samples_per_second"] > 0
    assert report["final"]["epoch"] == epochs
    with (out / "log.csv").open(newline="") as file:
        logged = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert logged == report["epochs"]
    assert report["versions"]["cellmix_dali"] == __version__
    assert report["versions"]["nvidia_dali"]
    return report


@pytest.mark.slow
def test_demo_on_rendered_slides_learns(run: Run, tmp_path: Path) -> None:
    code, out, err = run("demo", "--epochs", "6", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    report = check_results(tmp_path / "out", 6)
    # The two classes are about equally frequent: a constant guess is right in about half of the tiles.
    assert report["final"]["test"]["accuracy"] > 0.75
    assert report["final"]["test"]["auroc"] > 0.9
    assert report["tiles"]["read"]["openslide"] == 0
    seen = report["samples"]["train"] // 32 * 32 * 6 + report["samples"]["test"]
    assert report["tiles"]["read"]["direct"] == seen
    # The curriculum moved: the loss fell below the threshold in some epoch.
    assert len({entry["patch_size"] for entry in report["epochs"]}) > 1
    assert "report.json" in out
    assert "6 rendered slides" in out


def test_demo_on_a_real_slide_reads_it_directly(run: Run, real: Callable[[str], Path], tmp_path: Path) -> None:
    code, _, err = run("demo", "--slides", real("CMU-1-Small-Region.svs"), "--epochs", "3", "--out", tmp_path)
    assert (code, err) == (0, "")
    report = check_results(tmp_path, 3)
    assert report["tiles"]["read"]["openslide"] == 0
    assert report["tiles"]["read"]["direct"] > 0
    assert report["samples"]["size"] == 240
    assert report["classes"] == ["glass", "tissue"]


def test_demo_on_several_slides_and_a_folder(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    folder = rendered[0].path.parent
    code, _, err = run(
        "demo", "--slides", folder, "--epochs", 1, "--out", tmp_path, "--tile-size", 128, "--batch-size", 8,
        "--patch-size", 32, "--fix-ratio", 0.0, "--method", "cellmix_random4", "--engine", "numba",
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = check_results(tmp_path, 1)
    assert report["split"] == "held out: slide-2.tiff"
    assert report["tiles"]["read"]["direct"] > 0  # 128-px tiles are cut from 256-px blocks in the graph
    assert report["tiles"]["read"]["openslide"] == 0
    assert (report["epochs"][0]["patch_size"], report["epochs"][0]["fix_ratio"]) == (32, 0.0)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides of two classes with annotations, and their list."""
    folder = tmp_path_factory.mktemp("collection")
    slides = render_slides(folder, count=4, side=1024, seed=3)
    lines = [f"{slide.path.name},{('benign', 'malignant')[number % 2]}" for number, slide in enumerate(slides)]
    (folder / "slides.csv").write_text("\n".join(["slide,label", *lines]) + "\n")
    return folder


def test_train_on_a_list_of_slides_at_a_resolution(run: Run, collection: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "train", "slides", collection / "slides.csv", "--tile-size", 224, "--mpp", 0.7, "--edge", "pad",
        "--tissue", 0.2, "--epochs", 2, "--batch-size", 4, "--out", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = check_results(tmp_path, 2)
    assert report["classes"] == ["benign", "malignant"]
    assert report["tiles"]["read"]["openslide"] == 0
    assert (report["tiles"]["bad"], report["left_out"]) == ([], {})
    assert "2 of 4 slides held out" in report["split"]
    table = TileTable.from_parquet(tmp_path / "tiles.parquet")
    assert len(table) == report["samples"]["train"] + report["samples"]["test"]
    assert set(table.size.tolist()) == {round(224 * 0.7 / 0.5)}  # windows of level 0, resized in the graph
    assert "model.pt" in out
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (saved["size"], tuple(saved["classes"])) == (224, ("benign", "malignant"))


def test_train_by_annotations_skipping_a_bad_slide(run: Run, collection: Path, tmp_path: Path) -> None:
    (collection / "bad.svs").write_bytes(b"not a slide")
    names = [f"slide-{number}{suffix}" for number, suffix in ((1, ".svs"), (2, ".tiff"), (3, ".svs"))]
    (collection / "with-bad.csv").write_text("\n".join(["slide", *names, "bad.svs"]) + "\n")
    arguments = [
        "train", "slides", collection / "with-bad.csv", "--tile-size", 128, "--level", 0, "--annotations", collection,
        "--classes", "stroma,tumour", "--epochs", 1, "--batch-size", 8, "--out", tmp_path,
    ]  # fmt: skip
    code, _, err = run(*arguments)
    assert code == 2
    assert "bad.svs" in err
    code, out, err = run(*arguments, "--skip-bad-slides")
    assert (code, err) == (0, "")
    assert "left out:" in out
    report = check_results(tmp_path, 1)
    assert [Path(slide).name for slide in report["left_out"]] == ["bad.svs"]
    assert report["classes"] == ["stroma", "tumour"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere.csv"], "/nowhere.csv"),
        (["{list}", "--mpp", "0.1"], "coarser than the wanted 0.1"),
        (["{list}", "--mpp", "0.5", "--level", "0"], "give only one"),
        (["{list}", "--edge", "padd"], "'padd' is not one of 'skip', 'pad'"),
        (["{list}", "--hold-out", "1"], "hold_out=1.0"),
        (["{list}", "--tile-size", "2000"], "too small for one tile"),
        (["{list}", "--annotations", "/nowhere"], "/nowhere"),
    ],
)
def test_what_train_refuses(run: Run, collection: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [argument.format(list=collection / "slides.csv") for argument in arguments]
    code, _, err = run("train", "slides", *given, "--out", tmp_path)
    assert code == 2
    assert words in err


def test_inspect(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    code, out, _ = run("inspect", rendered[0].path, "--json")
    assert code == 0
    info = json.loads(out)
    assert (info["route"], info["vendor"], info["mpp"]) == ("direct", "aperio", 0.5)
    assert [level["width"] for level in info["levels"]] == [1024, 256, 64]
    code, out, _ = run("inspect", rendered[1].path)
    assert code == 0
    assert "generic-tiff" in out
    assert "ycbcr" in out
    code, _, err = run("inspect", tmp_path / "gone.svs")
    assert code == 2
    assert "no slide at" in err


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_slides(tmp_path_factory.mktemp("slide"), count=1, side=512, seed=1)[0].path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slides", "/nowhere/slide.svs"], "no slide at /nowhere/slide.svs"),
        (["--slides", "{empty}"], "There is no slide in the folder"),
        (["--slides", "{garbage}"], "garbage.svs"),
        (["--slides", "{slide}", "--tile-size", "1024"], "too small for one tile"),
        (["--patch-size", "60"], "patch_size"),
        (["--tile-size", "250"], "token"),
        (["--fix-ratio", "1.5"], "1.5"),
        (["--method", "CellMix-Group4", "--batch-size", "30"], "does not divide batch_size=30"),
        (["--method", "CelMix"], "Did you mean 'CellMix'?"),
        (["--patch-strategy", "los_hold"], "'los_hold' is not one of"),
        (["--ratio-strategy", "deca"], "'deca' is not one of"),
        (["--engine", "numby"], "'numby' is not one of"),
        (["--device", "gpus"], "'gpus' is not one of"),
        (["--p", "2"], "p=2.0 cannot be used"),
        (["--out", "{garbage}/out"], "give another --out"),
        (["--epochs", "0"], "--epochs"),
        (["--nonsense"], "No such option"),
    ],
)
def test_bad_input_gets_one_clear_message(
    run: Run, slide: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    garbage = tmp_path / "garbage.svs"
    garbage.write_bytes(b"no slide at all" * 100)
    (tmp_path / "empty").mkdir()
    names = {"garbage": garbage, "slide": slide, "empty": tmp_path / "empty"}
    given = [argument.format(**names) for argument in arguments]
    code, _, err = run("demo", *([] if "--out" in given else ["--out", tmp_path / "out"]), *given)
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("histolab-broken.svs", "histolab-broken.svs"),
        ("histolab-kidney-48-5.tif", "not tiled"),
        ("CMU-1-Small-Region.webp.tiff", "50001"),
        ("stardist-histo.jpg", "stardist-histo.jpg"),
    ],
)
def test_files_that_are_no_slides(run: Run, real: Callable[[str], Path], tmp_path: Path, name: str, words: str) -> None:
    code, _, err = run("demo", "--slides", real(name), "--out", tmp_path)
    assert code == 2
    assert words in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_asked_for_where_there_is_none(run: Run, tmp_path: Path) -> None:
    code, _, err = run("demo", "--device", "gpu", "--out", tmp_path)
    assert code == 2
    assert "no usable CUDA device" in err


def test_help_is_complete(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert name in out
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"
        code, text, _ = run(name, "--help")
        assert code == 0
        assert "Usage" in text
    assert run("--version") == (0, f"cellmix-dali {__version__}\n", "")
    assert run("-h")[0] == 0


@pytest.mark.slow
def test_the_example_learns_and_is_short(tmp_path: Path) -> None:
    example = ROOT / "examples" / "train_classifier.py"
    assert len(example.read_text().splitlines()) < 100
    done = subprocess.run(
        [sys.executable, str(example), "--epochs", "8"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert float(lines[-1].split()[-1]) > 0.7  # the classes are about equally frequent
    assert "patch 128, fix ratio 0.90" in lines[0]
