"""Small comparisons on rendered images, for several test modules and for the processes that they start."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cellmix_dali.comparison import ComparedImages, Comparison, ComparisonSettings, parse_curricula, parse_methods
from cellmix_dali.comparison.arms import Arm
from cellmix_dali.comparison.runs import run_seed
from cellmix_dali.training import TrainingSettings

FOLDS = ("0", "1", "2")


def write_images(folder: Path) -> Path:
    """Noise, reddish or bluish: 48 images of two classes in three folds."""
    random = np.random.default_rng(3)
    rows = [["path", "class", "group", "fold"]]
    for number in range(48):
        name, fold = ("blue", "red")[number % 2], FOLDS[number // 2 % 3]
        noise = random.integers(0, 200, (40, 36 + number % 5, 3))
        noise[..., 0 if name == "red" else 2] += 25
        file = folder / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.astype(np.uint8)).save(file)
        rows.append([f"{name}/{number}.png", name, f"p{number}", fold])
    with (folder / "folds.csv").open("w", newline="") as file_of_folds:
        csv.writer(file_of_folds).writerows(rows)
    return folder


def small(folder: Path, kind: type[ComparisonSettings] = ComparisonSettings, **changes: Any) -> ComparisonSettings:
    """Settings for runs of a second."""
    of_data = {"folds", "only", "class_column", "skip_bad_images", "size"}
    data: dict[str, Any] = {"images": folder, "folds": folder / "folds.csv", "size": 32}
    data |= {name: changes.pop(name) for name in of_data & set(changes)}
    given: dict[str, Any] = {
        "data": ComparedImages(**data),
        "methods": parse_methods("CutMix,CellMix-Group"),
        "curricula": parse_curricula("loss_hold"),
        "seeds": 1,
        "learning_rate": (3e-3,),
        "epochs": 2,
        "batch_size": 4,
    }
    return kind(**(given | changes))


def figures(comparison: Comparison) -> dict[tuple[object, ...], dict[str, Any]]:
    """All that the records say, but for the time that the runs took."""
    return {
        (record.arm, record.fold, record.seed, *record.candidate.items()): {
            name: value for name, value in asdict(record).items() if name != "seconds"
        }
        for record in comparison.records
    }


def run_files(out: Path) -> dict[str, bytes]:
    """The content of every run's file."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("runs/*/*.json"))}


def without_seconds(value: Any) -> Any:
    """JSON values without the times that runs took."""
    if isinstance(value, Mapping):
        return {name: without_seconds(each) for name, each in value.items() if "second" not in name}
    return [without_seconds(each) for each in value] if isinstance(value, list) else value


def report_of(out: Path) -> Any:
    """The report of a comparison, without the times."""
    return without_seconds(json.loads((out / "report.json").read_text()))


@dataclass(frozen=True, kw_only=True)
class DeadlySettings(ComparisonSettings):
    """The process that begins a run of CutMix dies: with seed 0 once, with seed 1 always."""

    marker: Path

    def of_run(self, arm: Arm, chosen: Mapping[str, float], seed: int = 0) -> TrainingSettings:
        """Die, but not while the settings are checked, with no seed of a run."""
        always = seed == run_seed(1, "0")
        if arm.method == "CutMix" and (always or (seed == run_seed(0, "0") and not self.marker.exists())):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().of_run(arm, chosen, seed)
