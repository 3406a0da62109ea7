"""The example for PyTorch Lightning: its log and its checkpoint; for resuming see test_lightning_runs.py."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cellmix_dali.pipelines import train_loader

Load = Callable[[str], ModuleType]
BATCH = 4


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
    (state,) = saved["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert (state["epoch"], state["iteration"], state["curriculum"]["epoch"]) == (2, 0, 2)
