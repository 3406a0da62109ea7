"""The example for PyTorch Lightning: the log, and a run that is broken off and resumed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from cellmix_dali import Curriculum, TileTable
from cellmix_dali.pipelines import train_loader

Load = Callable[[str], ModuleType]
EPOCHS, BATCH = 3, 4


class Recorder(Callback):
    """What every step was trained on; optionally breaks the run off after a number of steps."""

    def __init__(self, last_step: int | None = None) -> None:
        self.last_step, self.steps = last_step, []

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:  # noqa: ARG002
        applied = [int(batch[name][0]) for name in ("epoch", "iteration", "patch_size", "triggered")]
        self.steps.append((trainer.current_epoch, *applied, batch["tile"].flatten().tolist(), outputs["loss"].item()))
        if self.last_step is not None and trainer.global_step >= self.last_step:
            raise InterruptedError


def fit(module: ModuleType, table: TileTable, folder: Path, last_step: int | None, resume: Path | None) -> list[Any]:
    """Train; give the steps."""
    seed_everything(0)
    curriculum = Curriculum(epochs=EPOCHS, tile_size=256, threshold=5.0)
    recorder = Recorder(last_step)
    saving = ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    ending = ModelCheckpoint(dirpath=folder, filename="end-{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    with train_loader(table, num_classes=2, batch_size=BATCH, curriculum=curriculum, p=0.5) as batches:
        loader = module.Resumable(batches)
        trainer = Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            callbacks=[recorder, module.CurriculumStep(loader, curriculum), saving, ending],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module.Classifier(), loader, ckpt_path=resume)
        except InterruptedError:
            assert last_step is not None
    return recorder.steps


def test_a_resumed_run_goes_on_with_the_same_batches(example: Load, folder: Path, tmp_path: Path) -> None:
    module = example("train_lightning")
    table = TileTable.concat([module.labelled_tiles(folder / name) for name in ("slide-1.svs", "slide-2.tiff")])
    whole = fit(module, table, tmp_path / "whole", None, None)
    steps = len(table) // BATCH
    assert steps >= 3
    assert [step[:3] for step in whole] == [
        (epoch, epoch, number) for epoch in range(EPOCHS) for number in range(steps)
    ]
    assert [step[3] for step in whole[::steps]] == [128, 64, 32]

    broken = fit(module, table, tmp_path / "broken", steps + 2, None)
    assert broken == whole[: steps + 2]
    # At an epoch's end, after its last batch, and within an epoch.
    for checkpoint, done in (("end-epoch=0", steps), (f"step={steps}", steps), (f"step={steps + 1}", steps + 1)):
        resumed = fit(module, table, tmp_path / "resumed", None, tmp_path / "broken" / f"{checkpoint}.ckpt")
        assert resumed == whole[done:], checkpoint


def test_it_logs_the_curriculum(
    example: Load, main: Callable[..., list[str]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = example("train_lightning")
    monkeypatch.setattr(
        module, "train_loader", lambda *args, **options: train_loader(*args, **options | {"batch_size": BATCH})
    )
    main(module, folder, "--epochs", 2)
    with (tmp_path / "lightning-run" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["patch_size"]]
    assert [int(row["epoch"]) for row in trained] == [0, 1]
    assert float(trained[0]["patch_size"]) == 128
    assert float(trained[0]["fix_ratio"]) == pytest.approx(0.9)
    assert all(0 < float(row["loss"]) < 2 for row in trained)
    assert len([row for row in rows if row["accuracy"]]) == 2
    saved = torch.load(tmp_path / "lightning-run" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    state = saved["callbacks"]["CurriculumStep"]["loader"]
    assert (state["epoch"], state["iteration"], state["curriculum"]["epoch"]) == (2, 0, 2)
