"""What a training on tiles reports where a figure is undefined: null in the report, "undefined" in words, never 0."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from cellmix_dali import TileTable
from cellmix_dali.cli._training import train_and_tell
from cellmix_dali.training import TileSamples, TrainingData, TrainingSettings


def test_a_test_of_one_class(table: TileTable, tmp_path: Path) -> None:
    labels = table.with_labels(np.arange(len(table)) % 2)
    test = labels.select(np.flatnonzero(np.arange(len(table)) % 2 == 1)[:8])
    data = TrainingData(TileSamples(256), labels, None, test, ("a", "b"), "none", "none")
    console = Console(file=io.StringIO(), width=200)
    train_and_tell(data, TrainingSettings(epochs=1, batch_size=8, engine="native"), tmp_path, console)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "balanced accuracy undefined, macro F1 undefined, AUROC undefined" in told
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: f"no JSON: {name}")
    for entry in (report["final"]["test"],):
        assert entry["auroc"] is None
        assert entry["balanced_accuracy"] is None
        assert 0 <= entry["accuracy"] <= 1
