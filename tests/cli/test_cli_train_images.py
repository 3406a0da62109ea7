"""`cellmix-dali train images`: a run end to end, what it writes, and one clear message for what cannot work."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cellmix_dali.training.models import make_model

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"
FIGURES = {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, reddish or bluish: 96 images of two classes in four folds, and the same in train, val and test."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    rows = [["path", "class", "group", "fold"]]
    for number in range(96):
        name, fold = ("blue", "red")[number % 2], number // 2 % 4
        noise = random.integers(0, 160, (50 + number % 7, 60, 3))
        noise[..., 0 if name == "red" else 2] += 40
        image = Image.fromarray(noise.astype(np.uint8))
        file = f"{number}.{('jpg', 'png', 'tif', 'bmp')[number % 3]}"
        part = {0: "test", 1: "val"}.get(fold, "train")
        for place in (folder / "whole" / name, folder / "parts" / part / name):
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / file)
        rows.append([f"{name}/{file}", name, f"p{fold}-{number % 8}", str(fold)])
    with (folder / "folds.csv").open("w", newline="") as file_of_folds:
        csv.writer(file_of_folds).writerows(rows)
    return folder


def by_folds(images: Path) -> list[object]:
    return [
        "train",
        "images",
        images / "whole",
        "--folds",
        images / "folds.csv",
        "--image-size",
        64,
        "--batch-size",
        8,
    ]


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_a_run_on_folds_learns_and_keeps_the_best_epoch(run: Run, images: Path, tmp_path: Path) -> None:
    normalised = "--mean", 0.6, 0.4, 0.5, "--std", 0.3, 0.2, 0.25
    code, out, err = run(*by_folds(images), "--epochs", 4, *normalised, "--out", tmp_path)
    assert (code, err) == (0, "")
    report = report_of(tmp_path)
    told = {"mean": [0.6, 0.4, 0.5], "std": [0.3, 0.2, 0.25], "from": "mean and std as given"}
    assert report["normalisation"] == told
    assert report["samples"] == {"unit": "images", "train": 48, "validation": 24, "test": 24, "size": 64}
    assert report["classes"] == ["blue", "red"]
    assert report["final"]["test"]["balanced_accuracy"] > 0.9
    entries = report["epochs"]
    for entry in entries:
        assert set(entry) == FIGURES | {
            "epoch", "learning_rate", "train_loss", "validation_loss", "samples_per_second",
            "patch_size", "fix_ratio", "threshold",
        }  # fmt: skip
    best = min(entries, key=lambda entry: (-entry["balanced_accuracy"], entry["validation_loss"]))
    assert report["final"]["epoch"] == best["epoch"]
    # What is kept is the best epoch's model: its figures come out again.
    for name in FIGURES:
        assert report["final"]["validation"][name] == pytest.approx(best[name])
    confusion = np.array(report["final"]["test"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [12, 12]
    assert np.trace(confusion) / 24 == pytest.approx(report["final"]["test"]["accuracy"])
    with (tmp_path / "log.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in logged] == entries
    for name in ("confusion.png", "mixed.png", "curriculum.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
        assert name in out
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    model = make_model(saved["name"], len(saved["classes"]), saved["size"])
    model.load_state_dict(saved["model"])


def test_without_mixing_on_folders_with_the_transformer(run: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.png").write_bytes(b"of an earlier run")
    code, out, err = run(
        "train", "images", images / "parts", "--method", "none", "--model", "vit", "--image-size", 32,
        "--epochs", 1, "--no-best", "--out", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = report_of(tmp_path)
    assert report["samples"] == {"unit": "images", "train": 48, "validation": 24, "test": 24, "size": 32}
    assert report["settings"]["batch_size"] == 12  # a quarter of the images at most
    assert report["settings"]["learning_rate"] == 1e-3
    assert "patch_size" not in report["epochs"][0]
    assert not (tmp_path / "mixed.png").exists()
    assert not (tmp_path / "curriculum.png").exists()
    assert "the last" in out


@pytest.mark.slow
def test_two_runs_with_one_seed_are_the_same_run(run: Run, images: Path, tmp_path: Path) -> None:
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        run(*by_folds(images), "--epochs", 2, "--method", "CutMix", "--no-best", "--seed", seed, "--out", out)
        report = report_of(out)
        assert report["samples"] == {"unit": "images", "train": 72, "test": 24, "size": 64}
        assert "validation_loss" not in report["epochs"][0]
        losses.append([entry["train_loss"] for entry in report["epochs"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


@pytest.mark.slow
def test_images_kept_in_memory_make_the_same_run(run: Run, images: Path, tmp_path: Path) -> None:
    reports = []
    for name, cache in (("read", []), ("kept", ["--cache"])):
        out = tmp_path / name
        code, _, err = run(*by_folds(images), "--epochs", 2, *cache, "--out", out)
        assert (code, err) == (0, "")
        report = report_of(out)
        assert report["images"]["cache"] == bool(cache)
        for entry in report["epochs"]:
            del entry["samples_per_second"]
        reports.append((report["epochs"], report["final"]))
    (epochs, final), (epochs_kept, final_kept) = reports
    assert len(epochs) == len(epochs_kept) == 2
    for entry, kept in zip(epochs, epochs_kept, strict=True):
        assert kept == pytest.approx(entry, rel=1e-4)
    assert final_kept["test"]["confusion"] == final["test"]["confusion"]


def test_a_bad_image_stops_the_run_or_is_left_out(run: Run, images: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(images, tmp_path / "images")
    bad = folder / "whole" / "red" / "1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    arguments = [*by_folds(folder), "--method", "none", "--epochs", 1, "--out", tmp_path / "out"]
    code, _, err = run(*arguments)
    assert code == 2
    assert "1 of 96 images cannot be read" in err
    assert str(bad) in err.replace(" ", "")
    code, out, err = run(*arguments, "--skip-bad-images")
    assert (code, err) == (0, "")
    assert f"left out: {bad}" in out.replace("\n", "")
    report = report_of(tmp_path / "out")
    assert list(report["left_out"]) == [str(bad)]
    assert sum(report["samples"][name] for name in ("train", "validation", "test")) == 95


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{parts}", "--fold", "1"], "--fold does not go with a training without --folds"),
        (["/nowhere"], "no folder /nowhere"),
        (["{whole}"], "give --folds CSV"),
        (["{whole}", "--folds", "{folds}", "--fold", "9"], "no fold '9'"),
        (["{whole}", "--folds", "/nowhere.csv"], "no file at /nowhere.csv"),
        (["{parts}", "--model", "vitt"], "Did you mean 'vit'?"),
        (["{parts}", "--model", "vit", "--image-size", "100"], "such as 96"),
        (["{parts}", "--method", "nothing"], "Unknown method 'nothing'"),
        (["{parts}", "--image-size", "250"], "patch"),
        (["{parts}", "--learning-rate", "2"], "learning_rate=2.0"),
        (["{parts}", "--method", "CutMix", "--threshold", "1"], "--threshold does not go with --method"),
        (["{parts}", "--method", "none", "--patch-size", "32"], "--patch-size does not go with --method"),
        (["{parts}", "--pretrained"], "no pretrained weights"),
        (["{parts}", "--std", "0.5", "0", "0.5"], "std"),
        (["{parts}", "--out", "{folds}/out"], "give another --out"),
    ],
)
def test_what_is_refused(run: Run, images: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    names = {"whole": images / "whole", "parts": images / "parts", "folds": images / "folds.csv"}
    given = [argument.format(**names) for argument in arguments]
    code, _, err = run("train", "images", *given, *([] if "--out" in given else ["--out", tmp_path / "out"]))
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not DATASETS.is_dir(), reason=f"the data sets are not at {DATASETS}")
def test_an_epoch_on_a_part_of_a_real_set(run: Run, tmp_path: Path) -> None:
    with (DATASETS / "oscc224" / "folds.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["magnification"] == "400x"]
    part = tmp_path / "part.csv"
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[::6])
    code, _, err = run(
        "train", "images", DATASETS / "oscc224", "--folds", part, "--fold", 4, "--image-size", 96, "--epochs", 1,
        "--batch-size", 16, "--out", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    report = report_of(tmp_path)
    assert report["classes"] == ["Normal", "OSCC"]
    assert sum(report["samples"][name] for name in ("train", "validation", "test")) == len(rows[::6])
    assert "fold 4 of 5 tested on, fold 0 chooses the best epoch" in report["split"]
