"""The example of attention MIL finds the tile by which a bag has its label, on patients that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np


def test_attention_mil(example: Callable[[str], ModuleType], main: Callable[..., list[str]], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["slide,label,fold,patient"]
    for number in range(36):
        label, features = number % 2, random.normal(size=(20 + number, 16)).astype(np.float32)
        if label:
            features[:6] += 6 * np.eye(16)[3]
        with h5py.File(tmp_path / f"s{number}.h5", "w") as file:
            file["features"], file["coords"] = features, np.zeros((len(features), 2), np.int64)
        lines.append(f"s{number}.svs,{('no', 'yes')[label]},{number // 2 % 3},p{number}")
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    told = main(example("attention_mil"), tmp_path, tmp_path / "slides.csv", "--epochs", 40)
    assert len(told) == 4
    assert float(told[-1].split()[2]) > 0.85
