"""`cellmix-dali compare`: what it prints, its exit codes, and one clear message for what cannot work."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Run `cellmix-dali compare`."""
    return partial(run, "compare", "images")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise: 48 images of two classes in three folds."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    rows = [["path", "kind", "fold", "set"]]
    for number in range(48):
        name = ("blue", "red")[number % 2]
        noise = random.integers(0, 160, (40, 40, 3))
        noise[..., 0 if name == "red" else 2] += 40
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(noise.astype(np.uint8)).save(folder / name / f"{number}.png")
        rows.append([f"{name}/{number}.png", name, str(number // 2 % 3), "a"])
    rows.append(["nowhere.png", "blue", "0", "b"])
    with (folder / "folds.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def on(images: Path) -> list[object]:
    return [
        images, "--folds", images / "folds.csv", "--only", "set=a", "--class-column", "kind",
        "--image-size", 32, "--batch-size", 4, "--epochs", 1, "--workers", 0,
    ]  # fmt: skip


def test_a_comparison_and_the_same_command_again(run: Run, images: Path, tmp_path: Path) -> None:
    arguments = [
        *on(images), "--methods", "cutmix,cellmix-group", "--curricula", "linear,off", "--seeds", 1,
        "--test-folds", "0,2", "--p", "0.5,1", "--out", tmp_path,
    ]  # fmt: skip
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "none was added to --methods" in out
    assert "0 of 14 runs" in out  # (none + 2 values of p for each of three arms) x two folds
    assert "14 of 14 runs, 0:00 left: CellMix-Group, off, fold 2, seed 0: balanced accuracy" in out
    assert f"written to {tmp_path}: see report.md" in out
    report = json.loads((tmp_path / "report.json").read_text())
    table = out[out.index("14 of 14") :]
    for arm in ("none", "CutMix", "CellMix-Group, linear", "CellMix-Group, off"):
        assert arm in (tmp_path / "report.md").read_text()
        assert arm.split(",")[0] in table
    assert report["settings"]["p"] == [0.5, 1.0]
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["arm"], row["fold"]) for row in rows) == sorted(
        (arm, fold) for arm in ("none", "CutMix", "CellMix-Group, linear", "CellMix-Group, off") for fold in "02"
    )
    code, again, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "14 of 14 runs" in again
    assert "left" not in again  # nothing was done
    code, other, _ = run(*arguments, "--against", "CellMix-Group, off")
    assert code == 0
    assert "left" not in other
    assert "against CellMix-Group, off, in balanced accuracy" in other
    code, _, err = run(*arguments, "--against", "CellMix-Group, of")
    assert code == 2
    assert "Did you mean 'CellMix-Group, off'" in err
    assert again[again.index("14 of 14 runs") :].splitlines()[1:] == table.splitlines()[1:]


def test_runs_that_fail_are_listed_with_exit_code_3(run: Run, images: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        *on(images), "--methods", "none", "--seeds", 1, "--test-folds", "1", "--epochs", 12, "--learning-rate",
        "1e-13,0.5", "--weight-decay", "1e12", "--out", tmp_path,
    )  # fmt: skip
    assert code == 3
    assert "1 runs failed:" in out
    assert "none, fold 1, seed 0, learning rate 0.5: " in out
    code, _, err = run(
        *on(images), "--methods", "none", "--seeds", 1, "--test-folds", "1", "--epochs", 12, "--learning-rate", "0.5",
        "--weight-decay", "1e12", "--out", tmp_path,
    )  # fmt: skip
    assert code == 3
    assert "All 1 runs failed" in err


def test_bad_images_stop_or_are_left_out(run: Run, images: Path, tmp_path: Path) -> None:
    bad = images / "red" / "bad.png"
    bad.write_bytes(b"no image")
    folds = tmp_path / "folds.csv"
    folds.write_text((images / "folds.csv").read_text() + "red/bad.png,red,1,a\n")
    arguments = [*on(images), "--folds", folds, "--methods", "none", "--seeds", 1, "--test-folds", "0", "--out"]
    code, _, err = run(*arguments, tmp_path / "out")
    assert code == 2
    assert "1 of 49 images cannot be read" in err
    assert not (tmp_path / "out").exists()
    code, out, err = run(*arguments, tmp_path / "out", "--skip-bad-images")
    assert (code, err) == (0, "")
    assert f"left out: {bad}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "cutmux"], "Did you mean 'CutMix'?"),
        (["--curricula", "straight"], "Unknown curriculum 'straight'"),
        (["--p", "half"], "--p half: give numbers"),
        (["--p", "2", "--methods", "cutmix"], "CutMix: "),
        (["--learning-rate", "0.1,3"], "none: learning_rate=3.0"),
        (["--test-folds", ","], "--test-folds ',': give at least one"),
        (["--test-folds", "0,7"], "Unknown fold '7'"),
        (["--only", "set=c"], "--only set=c"),
        (["--only", "set=b"], "nowhere.png"),
        (["--class-column", "class"], "no column 'class'"),
        (["--folds", "/nowhere.csv"], "no file at /nowhere.csv"),
        (["--model", "vitt"], "Did you mean 'vit'?"),
        (["--image-size", "50"], "CellMix-Group: "),
        (["--out", "{folds}/out"], "give another one"),
    ],
)
def test_what_is_refused(run: Run, images: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [argument.format(folds=images / "folds.csv") for argument in arguments]
    code, _, err = run(*on(images), *([] if "--out" in given else ["--out", tmp_path / "out"]), *given)
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()
