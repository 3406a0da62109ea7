"""What steers a training, and what must not: the curriculum's loss, the model's mode, the held-out tiles."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from cellmix_dali import Curriculum
from cellmix_dali.synthetic import render_slides
from cellmix_dali.tables import TileRecipe
from cellmix_dali.training import Division, TrainingSettings, collection_data, run_training
from cellmix_dali.training.loop import answers


class Norm(nn.Module):
    """Answers by a batch norm, whose result depends on the mode; counts calls by mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        result: Tensor = self.norm(images.mean((2, 3)))
        return result


class Batches:
    """Two batches, one of them short."""

    def __init__(self) -> None:
        self.images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def __iter__(self) -> Any:
        yield {"images": self.images[:4], "labels": torch.tensor([0, 1, 2, 0])}
        yield {"images": self.images[4:], "labels": torch.tensor([1])}

    def __len__(self) -> int:
        return 2


def test_batch_norm_does_not_learn_from_held_out_images() -> None:
    """Evaluation is in evaluation's mode: a sample's answer depends on no other, and nothing is learned from it."""
    model, batches = Norm(), Batches()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits, labels = answers(model, batches, torch.device("cpu"))
    assert model.modes == [False, False]
    assert labels.tolist() == [0, 1, 2, 0, 1]
    model.eval()
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in batches.images])
    torch.testing.assert_close(logits, alone)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed")
    slides = render_slides(folder, count=4, side=512, seed=2)
    rows = [["slide", "label"], *([str(slide.path), "ab"[number % 2]] for number, slide in enumerate(slides))]
    with (folder / "slides.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "slides.csv"


@pytest.mark.parametrize("hold_out", [0.25, 0.5])
def test_no_slide_is_on_both_sides(listed: Path, hold_out: float) -> None:
    for seed in range(4):
        data = collection_data(listed, TileRecipe(128, level=0, tissue=0), division=Division(hold_out, seed=seed))
        sides = [{table.slides[number] for number in np.unique(table.slide)} for table in (data.train, data.test)]
        assert not sides[0] & sides[1]
        assert len(sides[0] | sides[1]) == 4
        places = [
            {(t.slides[t.slide[row]], int(t.x[row]), int(t.y[row])) for row in range(len(t))}
            for t in (data.train, data.test)
        ]
        assert not places[0] & places[1]


def test_the_training_loss_steers_the_curriculum(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that of the held-out tiles; the model is in training's mode while it learns, each epoch anew."""
    told: list[float] = []
    step = Curriculum.step
    monkeypatch.setattr(Curriculum, "step", lambda self, loss: (told.append(float(loss)), step(self, loss))[1])
    modes: list[bool] = []
    forward = nn.Sequential.forward
    monkeypatch.setattr(nn.Sequential, "forward", lambda self, x: (modes.append(self.training), forward(self, x))[1])
    data = collection_data(listed, TileRecipe(128, level=0, tissue=0), division=Division(0.5))
    data = replace(data, validation=data.test)
    settings = TrainingSettings(epochs=3, batch_size=8, threshold=5.0, seed=1)
    report = run_training(data, settings, tmp_path, Console(file=(tmp_path / "said").open("w")))
    entries = report["epochs"]
    assert told == [entry["train_loss"] for entry in entries]
    assert not np.allclose(told, [entry["validation_loss"] for entry in entries], rtol=1e-3)
    assert [entry["patch_size"] for entry in entries] == [64, 32, 16]
    turns = [mode for number, mode in enumerate(modes) if not number or mode != modes[number - 1]]
    assert turns == [True, False] * 3
