"""The subcommands of `cellmix-dali train`: their help at 80 columns, hints, and errors before anything slow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
CODE = "import sys; from cellmix_dali.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"


@pytest.mark.parametrize(
    "arguments",
    [["demo"], *([name, kind] for name in ("train", "compare") for kind in ("slides", "tiles", "images")), ["train"]],
    ids=" ".join,
)
def test_help_is_readable_at_80_columns(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "--help"],
        env=os.environ | {"COLUMNS": "80", "TERMINAL_WIDTH": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "False"  # torch was not imported
    assert max(map(len, lines)) <= 80
    assert "…" not in done.stdout
    for panel in ("Data", "Mixing", "Model", "Run") if arguments != ["train"] else ():
        assert any(line.startswith(f"╭─ {panel} ─") for line in lines)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A folder of each kind, a list, and a slide."""
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "tiles.parquet").write_bytes(b"")
    (tmp_path / "images" / "train" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "train" / "a" / "1.png")
    (tmp_path / "wsi").mkdir()
    (tmp_path / "wsi" / "a.svs").write_bytes(b"")
    (tmp_path / "list.csv").write_text("slide,label\n")
    return {name: tmp_path / name for name in ("tiles", "images", "wsi", "list.csv")} | {
        "slide": tmp_path / "wsi" / "a.svs"
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{list.csv}"], "type `cellmix-dali train slides {list.csv}`"),
        (["{list.csv}", "--epochs", "2"], "type `cellmix-dali train slides {list.csv}`"),
        (["--images", "{images}"], "type `cellmix-dali train images {images}`"),
        (["--tiles", "{tiles}"], "type `cellmix-dali train tiles {tiles}`"),
        (["{images}"], "type `cellmix-dali train images {images}`"),
        (["{tiles}"], "type `cellmix-dali train tiles {tiles}`"),
        (["nonsense"], "is not a kind of data to train on"),
        (["slides", "{images}"], "type `cellmix-dali train images {images}`"),
        (["slides", "{tiles}"], "type `cellmix-dali train tiles {tiles}`"),
        (["slides", "{wsi}"], "holds slide files. `cellmix-dali train slides` takes a list"),
        (["slides", "{slide}"], "is a slide. `cellmix-dali train slides` takes a list"),
        (["tiles", "{images}"], "type `cellmix-dali train images {images}`"),
        (["tiles", "{list.csv}"], "type `cellmix-dali train slides {list.csv}`"),
        (["images", "{tiles}"], "type `cellmix-dali train tiles {tiles}`"),
        (["images", "{list.csv}"], "type `cellmix-dali train slides {list.csv}`"),
    ],
)
def test_hints(run: Run, places: dict[str, Path], arguments: list[str], words: str) -> None:
    def filled(text: str) -> str:
        for name, path in places.items():
            text = text.replace(f"{{{name}}}", str(path))
        return text

    code, _, err = run("train", *map(filled, arguments))
    assert code == 2
    assert filled(words) in err
    assert err.startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--edge", "padd"], "'padd' is not one of"),
        (["--method", "CelMix"], "Did you mean 'CellMix'"),
        (["--model", "vitt"], "Did you mean 'vit'"),
        (["--patch-size", "60"], "patch_size"),
        (["--learning-rate", "2"], "learning_rate=2.0"),
        (["--hold-out", "1"], "hold_out=1.0"),
        (["--validation", "1"], "validation=1.0"),
        (["--mpp", "0.5", "--level", "0"], "give only one"),
        (["--method", "none", "--threshold", "1"], "--threshold does not go with --method none"),
        (["--nonsense"], "No such option"),
    ],
)
def test_errors_of_options_come_before_torch(places: dict[str, Path], arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "train", "slides", str(places["list.csv"]), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == "False\n"
