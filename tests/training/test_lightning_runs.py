"""PyTorch Lightning: whatever its trainer does, a resumed run goes on with what the whole one would have made."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.training.lightning import CurriculumStep, LoaderDataModule

pytestmark = pytest.mark.slow

EPOCHS, BATCH, STEPS = 3, 4, 8


class Model(LightningModule):
    """Small; notes what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * 64, 3))
        self.steps: list[list[Any]] = []
        self.validated: list[int] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = SoftTargetCrossEntropy()(self.layers(batch["images"]), batch["labels"])
        applied = [int(batch[name][0]) for name in ("epoch", "iteration", "patch_size") if name in batch]
        self.steps.append([self.current_epoch, *applied, batch["tile"].tolist(), float(loss.detach())])
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.validated += batch["tile"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Losses(Curriculum):
    """Notes what it was stepped with."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.losses: list[float] = []

    def step(self, loss: Any) -> None:
        self.losses.append(float(loss))
        super().step(loss)


class BreakOff(Callback):
    """Ends the run as a signal would, after so many batches."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_train_batch_end(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise InterruptedError


def fit(
    table: TileTable,
    folder: Path,
    *,
    resume: Path | None = None,
    break_off: int | None = None,
    method: str = "CellMix-Group",
    bare: bool = False,
    **options: Any,
) -> tuple[Model, Losses]:
    """Train, with a checkpoint after every batch and at every epoch's end; give model and curriculum."""
    seed_everything(0)
    curriculum = Losses(epochs=EPOCHS, tile_size=256, threshold=5.0)
    steering = {"curriculum": curriculum} if method.startswith("CellMix") else {}
    make = partial(train_loader, table, num_classes=3, batch_size=BATCH, method=method, p=0.5, **steering)
    validate = partial(evaluate_loader, table.select(np.arange(6)), num_classes=3, batch_size=4)
    after_batches = ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    at_ends = ModelCheckpoint(dirpath=folder, filename="end-{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[
            *([CurriculumStep(curriculum)] if steering else []),
            *([] if break_off is None else [BreakOff(break_off)]),
            after_batches,
            at_ends,
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    model = Model()
    data = [make(), validate()] if bare else [LoaderDataModule(train=make, validation=validate)]
    try:
        trainer.fit(model, *data, ckpt_path=resume)
    except InterruptedError:
        assert break_off is not None
    finally:
        for loader in data if bare else []:
            loader.close()  # type: ignore[union-attr]
    return model, curriculum


# What the trainer is told, steps an epoch by it, and the loader's method.
KINDS: dict[str, tuple[dict[str, Any], int, str]] = {
    "plain": ({}, STEPS, "CellMix-Group"),
    "the loader itself": ({"bare": True}, STEPS, "CellMix-Group"),
    "limited": ({"limit_train_batches": 3}, 3, "CellMix-Group"),
    "limited to one": ({"limit_train_batches": 1, "bare": True}, 1, "CellMix-Group"),
    "limited, no curriculum": ({"limit_train_batches": 3, "bare": True}, 3, "CutMix"),
    "limited to one, no curriculum": ({"limit_train_batches": 1}, 1, "none"),
    "accumulating": ({"accumulate_grad_batches": 3}, STEPS, "CellMix-Group"),
    "loaders made anew": ({"reload_dataloaders_every_n_epochs": 1}, STEPS, "CellMix-Group"),
    "limited loaders made anew": (
        {"reload_dataloaders_every_n_epochs": 2, "limit_train_batches": 3},
        3,
        "CutMix",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_goes_on_with_the_same_batches(table: TileTable, tmp_path: Path, kind: str) -> None:
    options, steps, method = KINDS[kind]
    whole, curriculum = fit(table, tmp_path / "whole", method=method, **options)
    if method == "none":
        assert [step[0] for step in whole.steps] == [epoch for epoch in range(EPOCHS) for _ in range(steps)]
    else:
        assert [step[:3] for step in whole.steps] == [
            [epoch, epoch, number] for epoch in range(EPOCHS) for number in range(steps)
        ]
    assert len({tuple(step[-2]) for step in whole.steps}) == EPOCHS * steps
    assert len(whole.validated) >= 6 * EPOCHS
    if method.startswith("CellMix"):
        assert [step[3] for step in whole.steps[::steps]] == [128, 64, 32]
        means = np.array([step[-1] for step in whole.steps]).reshape(EPOCHS, steps).mean(axis=1)
        np.testing.assert_allclose(curriculum.losses, means, rtol=1e-6)
    # At an epoch's end; after its last batch; within an epoch; after the first batch.
    accumulated = options.get("accumulate_grad_batches", 1)
    updates = -(-steps // accumulated)
    places = {"end-epoch=0.ckpt": steps, f"step={updates}.ckpt": steps, f"step={updates + 1}.ckpt": steps + accumulated}
    for checkpoint, done in places.items():
        if (options.get("reload_dataloaders_every_n_epochs") or 1) > 1 and done > steps:
            continue
        resumed, again = fit(
            table, tmp_path / "resumed", method=method, resume=tmp_path / "whole" / checkpoint, **options
        )
        assert resumed.steps == whole.steps[done:], checkpoint
        assert again.losses == pytest.approx(curriculum.losses[-len(again.losses) :], rel=1e-12)
        assert all(torch.equal(one, two) for one, two in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_a_run_that_was_broken_off_within_an_epoch(table: TileTable, tmp_path: Path) -> None:
    whole, curriculum = fit(table, tmp_path / "whole")
    broken, _ = fit(table, tmp_path / "broken", break_off=STEPS + 3)
    assert broken.steps == whole.steps[: STEPS + 3]
    resumed, again = fit(table, tmp_path / "resumed", resume=tmp_path / "broken" / f"step={STEPS + 2}.ckpt")
    assert resumed.steps == whole.steps[STEPS + 2 :]
    assert curriculum.losses[1:] == again.losses


def test_a_checkpoint_is_read_by_torch_alone(table: TileTable, tmp_path: Path) -> None:
    fit(table, tmp_path, break_off=3)
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)
    (state,) = saved["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert (state["epoch"], state["iteration"], state["curriculum"]["epoch"]) == (0, 2, 0)
    mine = saved["cellmix_dali.CurriculumStep"]
    assert (mine["curriculum"]["epoch"], mine["sums"][0][1]) == (0, 2 * BATCH)


def test_a_checkpoint_without_the_callback_is_refused(table: TileTable, tmp_path: Path) -> None:
    fit(table, tmp_path / "without", method="CutMix", break_off=3)
    with pytest.raises(ArgumentError, match="a run without CurriculumStep"):
        fit(table, tmp_path / "with", resume=tmp_path / "without" / "step=2.ckpt")


def test_no_loss_is_said(table: TileTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "training_step", lambda _self, _batch: None)
    with pytest.raises(ArgumentError, match="training_step returned none"):
        fit(table, tmp_path)


def test_two_ranks_share_the_tiles_and_one_curriculum(table: TileTable, tmp_path: Path) -> None:
    """A whole run, and one that goes on from a checkpoint within an epoch, which the first rank has written."""
    table.to_parquet(tmp_path / "table.parquet")
    ranks: dict[str, list[dict[str, Any]]] = {}
    for name, resume in (("whole", "-"), ("resumed", "step=5.ckpt")):
        command = [sys.executable, str(Path(__file__).with_name("lightning_ranks.py")), str(tmp_path), name, resume]
        subprocess.run(command, check=True, timeout=240, capture_output=True)
        ranks[name] = [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in range(2)]
    first, second = ranks["whole"]
    assert first["losses"] == second["losses"]
    means = [
        np.mean([step[-1] for of in (first, second) for step in of["steps"] if step[0] == epoch])
        for epoch in range(EPOCHS)
    ]
    np.testing.assert_allclose(first["losses"], means, rtol=1e-6)
    for epoch in range(EPOCHS):
        rows = [row for of in (first, second) for step in of["steps"] if step[0] == epoch for row in step[-2]]
        assert sorted(rows) == list(range(len(table)))
    for whole, resumed in zip(ranks["whole"], ranks["resumed"], strict=True):
        assert resumed["steps"] == whole["steps"][5:]
        assert resumed["losses"] == whole["losses"][1:]
