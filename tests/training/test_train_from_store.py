"""Training on slides in a store: the same as on files."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from store_server import StoreServer

from cellmix_dali.synthetic import RenderedSlide


@pytest.mark.slow
def test_a_training_on_urls_is_that_on_files(
    run: Callable[..., tuple[int, str, str]], store: StoreServer, rendered: list[RenderedSlide], tmp_path: Path
) -> None:
    lines = [("slide", "label", "fold")]
    for number in range(4):  # two of each
        path = rendered[number % 2].path
        store.objects[f"archive/in/{number}{path.suffix}"] = path.read_bytes()
        shutil.copy(path, tmp_path / f"{number}{path.suffix}")
        lines.append((f"{number}{path.suffix}", "ab"[number // 2], str(number % 2)))
    store.objects["archive/in/list.csv"] = "\n".join(map(",".join, lines)).encode()
    with (tmp_path / "list.csv").open("w") as file:
        csv.writer(file).writerows(lines)

    logs = []
    for place, out in ((tmp_path / "list.csv", "local"), ("s3://archive/in/list.csv", "stored")):
        options = ["--epochs", 1, "--tile-size", 128, "--level", 0, "--batch-size", 8, "--threshold", 2]
        code, said, err = run("train", "slides", place, *options, "--out", tmp_path / out)
        assert code == 0, said + err
        (row,) = csv.DictReader((tmp_path / out / "log.csv").open())
        logs.append({name: value for name, value in row.items() if "per_second" not in name})
    assert logs[0] == logs[1]
    assert float(logs[0]["train_loss"]) > 0
    assert any(each.path.endswith("3.tiff") for each in store.asked)
