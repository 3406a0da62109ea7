"""What slides, shards and images have in common in a training: settings, divisions, models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from cellmix_dali import TileTable
from cellmix_dali.curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.training import (
    Division,
    TileSamples,
    TrainingData,
    TrainingSettings,
    check_settings,
    run_training,
    slide_data,
    train_and_test,
)
from cellmix_dali.training.models import default_learning_rate, make_model
from cellmix_dali.training.settings import SCHEDULES

QUICK = TrainingSettings(epochs=2, batch_size=8, engine="native", threshold=5.0)


@pytest.fixture
def data(table: TileTable) -> TrainingData[TileTable]:
    """Tiles of two classes, by turns, in three sets."""
    labelled = table.with_labels(np.arange(len(table)) % 2)
    parts = [labelled.select(np.arange(start, len(table), 3)) for start in range(3)]
    return TrainingData(TileSamples(256), parts[0], parts[1], parts[2], ("a", "b"), "none", "none")


def test_the_best_epoch_of_tiles_is_kept(data: TrainingData[TileTable], tmp_path: Path) -> None:
    report = run_training(data, QUICK, tmp_path, Console(quiet=True))
    best = min(report["epochs"], key=lambda entry: (-entry["balanced_accuracy"], entry["validation_loss"]))
    assert report["final"]["epoch"] == best["epoch"]
    assert report["final"]["validation"]["loss"] == pytest.approx(best["validation_loss"])
    assert {path.name for path in tmp_path.iterdir()} >= {"confusion.png", "mixed.png", "curriculum.png", "log.csv"}


def test_the_last_epoch_is_kept_where_no_best_is_wanted(data: TrainingData[TileTable]) -> None:
    settings = TrainingSettings(**vars(QUICK) | {"best": False, "method": "none"})
    assert train_and_test(data, settings).best_epoch == QUICK.epochs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(data: TrainingData[TileTable], schedule: str) -> None:
    settings = TrainingSettings(**vars(QUICK) | {"schedule": schedule, "method": "none"})
    rates = [entry["learning_rate"] for entry in train_and_test(data, settings).epochs]
    highest = default_learning_rate("small_cnn")
    if schedule == "constant":
        assert rates == [highest, highest]
    else:
        assert all(0 < rate <= highest * (1 + 1e-9) for rate in rates)
        assert rates[0] != rates[1]
    with pytest.raises(ArgumentError, match="Did you mean 'cosine'"):
        check_settings(TrainingSettings(schedule="cosinus"), 256)


def own_model(num_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))


def test_a_model_of_ones_own(data: TrainingData[TileTable], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    name = f"{Path(__file__).stem}:own_model"
    assert make_model(name, 5, 64)(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    assert train_and_test(data, TrainingSettings(**vars(QUICK) | {"model": name})).parameters == 8
    with pytest.raises(ArgumentError, match="cannot be imported"):
        check_settings(TrainingSettings(model="nowhere:model"), 256)
    with pytest.raises(ArgumentError, match="no pretrained weights"):
        check_settings(TrainingSettings(model=name, pretrained=True), 256)


def telling_model(num_classes: int) -> torch.nn.Module:
    """Says what images it takes, and keeps the darkest and the brightest number that it was given."""
    model = own_model(num_classes)
    model.data_config = {"mean": (0.0, 0.25, 0.5), "std": (0.5, 1.0, 2.0)}  # type: ignore[assignment]
    model.register_buffer("seen", torch.tensor([torch.inf] * 3 + [-torch.inf] * 3))

    def look(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        low, high = given[0].amin(dim=(0, 2, 3)), given[0].amax(dim=(0, 2, 3))
        model.seen[:3], model.seen[3:] = model.seen[:3].minimum(low), model.seen[3:].maximum(high)

    model.register_forward_pre_hook(look)
    return model


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({}, (0.0, 0.25, 0.5), (0.5, 1.0, 2.0)),
        ({"std": (1.0, 2.0, 4.0)}, (0.0, 0.25, 0.5), (1.0, 2.0, 4.0)),
        ({"mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 4.0)}, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)),
    ],
)
def test_images_are_normalised_as_the_model_says_or_as_given(
    data: TrainingData[TileTable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, tuple[float, float, float]],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    name = f"{Path(__file__).stem}:telling_model"
    settings = TrainingSettings(**vars(QUICK) | {"epochs": 1, "best": False, "model": name, **given})
    report = run_training(data, settings, tmp_path, Console(quiet=True))
    assert (report["normalisation"]["mean"], report["normalisation"]["std"]) == (list(mean), list(std))
    assert report["normalisation"]["from"] == (
        f"{' and '.join(given)} as given" if given else "the model's own data_config"
    )
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (saved["mean"], saved["std"]) == (list(mean), list(std))
    seen = saved["model"]["seen"].view(2, 3) * torch.tensor(std) + torch.tensor(mean)  # as shares of 255
    levels = seen * 255
    assert torch.allclose(levels, levels.round(), atol=2e-2)  # the pixels' own numbers
    assert 0 <= levels.round().min() < 150 < levels.round().max() <= 255


@pytest.mark.parametrize(("name", "value"), [("mean", (0.5, 0.5)), ("std", (0.5, 0.0, 0.5)), ("mean", "grey")])
def test_normalisation_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=name):
        check_settings(TrainingSettings(**{name: value}), 256)  # type: ignore[arg-type]


def slides_of(count: int, **columns: list[str]) -> TileTable:
    """Ten tiles of each slide, the slides' classes by turns."""
    import pyarrow as pa

    parts = []
    for number in range(count):
        x = np.arange(10) * 64
        part = TileTable.from_columns(f"/slides/{number}.svs", x=x, y=0 * x, size=64, level=0)
        parts.append(part.with_labels(np.full(10, number % 2)))
    table = TileTable.concat(parts)
    arrow = table.arrow
    for name, values in columns.items():
        arrow = arrow.append_column(name, pa.array([value for value in values for _ in range(10)]))
    return TileTable(arrow)


def names(table: TileTable | None) -> set[str]:
    assert table is not None
    return {Path(table.slides[number]).stem for number in np.unique(table.slide)}


@pytest.mark.parametrize("seed", range(3))
def test_a_share_of_the_training_slides_chooses_the_epoch(seed: int) -> None:
    table = slides_of(12)
    without = Division(0.25, seed=seed).of(table, "ab")
    sides = Division(0.25, validation=0.25, seed=seed).of(table, "ab")
    assert names(sides.test) == names(without.test)
    assert names(sides.train) | names(sides.validation) == names(without.train)
    assert not names(sides.train) & names(sides.validation)
    assert without.validation is None


def test_folds_and_splits_choose_the_epoch() -> None:
    folds = slides_of(6, fold=["0", "0", "1", "1", "2", "2"])
    sides = Division(fold="2", validation_fold="0").of(folds, "ab")
    assert (names(sides.test), names(sides.validation), names(sides.train)) == ({"4", "5"}, {"0", "1"}, {"2", "3"})
    split = slides_of(6, split=["train", "train", "val", "val", "test", "test"])
    sides = Division().of(split, "ab")
    assert (names(sides.test), names(sides.validation), names(sides.train)) == ({"4", "5"}, {"2", "3"}, {"0", "1"})


@pytest.mark.parametrize(
    ("division", "words"),
    [
        (Division(validation=1.0), "below 1"),
        (Division(validation=0.1, validation_fold="1"), "not both"),
        (Division(fold="1", validation_fold="1"), "another one"),
    ],
)
def test_divisions_that_cannot_be(division: Division, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        division.check()


def test_what_is_not_a_slide_is_left_out_of_a_folder(
    tmp_path: Path,
) -> None:
    from cellmix_dali.synthetic import render_slides

    render_slides(tmp_path, count=3, side=1024, seed=3)
    (tmp_path / "notes.svs").write_bytes(b"not a slide")
    data = slide_data([tmp_path], tile_size=128)
    assert [Path(file).name for file in data.left_out] == ["notes.svs"]
    with pytest.raises(CellMixDaliError, match=r"notes\.svs"):
        slide_data([tmp_path / "notes.svs"])


def test_the_command_lines_choices_are_the_librarys() -> None:
    from typing import get_args

    from cellmix_dali.cli import _training

    assert get_args(_training.PatchStrategy) == PATCH_STRATEGIES
    assert get_args(_training.RatioStrategy) == RATIO_STRATEGIES
    assert get_args(_training.Schedule) == SCHEDULES


def test_settings_are_checked_without_torch_and_dali() -> None:
    code = (
        "import sys; from cellmix_dali.training import TrainingSettings, check_settings; "
        "check_settings(TrainingSettings(), 256); print([m for m in ('torch', 'nvidia.dali') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
