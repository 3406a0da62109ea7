"""Patients, splits and folds of a slide list on their way through `tile` to `train`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiling_jobs import TINY, serial

from cellmix_dali.errors import ArgumentError
from cellmix_dali.shards import open_tiles
from cellmix_dali.tables import TileRecipe
from cellmix_dali.tiling import TilingSettings
from cellmix_dali.training import Division, collection_data, shard_data

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def four(tiny: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four slides: copies of the tiny ones."""
    folder = tmp_path_factory.mktemp("four")
    paths = [folder / f"{name}.tiff" for name in "abcd"]
    for number, path in enumerate(paths):
        path.write_bytes(tiny[number % 3].read_bytes())
    return paths


def write_list(folder: Path, slides: list[Path], header: str, rows: list[str]) -> Path:
    path = folder / "list.csv"
    lines = [f"{slide},{row}" for slide, row in zip(slides, rows, strict=True)]
    path.write_text("\n".join([f"slide,label,{header}", *lines]) + "\n")
    return path


@pytest.mark.parametrize("coords_only", [False, True], ids=["shards", "coordinates"])
def test_the_tile_table_has_the_columns_and_training_keeps_to_them(
    four: list[Path], tmp_path: Path, coords_only: bool
) -> None:
    path = write_list(tmp_path, four, "patient,split", ["x,p,train", "y,p,train", "x,q,test", "y,r,test"])
    settings = TilingSettings(tile_size=64, tissue=0, coords_only=coords_only)
    assert not serial(path, tmp_path / "out", settings).failed
    table = open_tiles(tmp_path / "out")
    assert table.arrow["patient"].to_pylist() == [name for name in "ppqr" for _ in range(24)]
    assert table.arrow["split"].to_pylist() == ["train"] * 48 + ["test"] * 48
    assert "fold" not in table.arrow.column_names
    data = shard_data(tmp_path / "out", division=Division(seed=5))
    assert set(data.train.slides) == {str(four[0]), str(four[1])}
    assert set(data.test.slides) == {str(four[2]), str(four[3])}
    assert "by the column 'split'" in data.split


def test_a_fold_of_finished_tiles_is_chosen(four: list[Path], tmp_path: Path) -> None:
    path = write_list(tmp_path, four, "fold", ["x,1", "y,1", "x,2", "y,2"])
    assert not serial(path, tmp_path / "out", TINY).failed
    assert set(shard_data(tmp_path / "out").test.slides) == {str(four[0]), str(four[1])}
    assert set(shard_data(tmp_path / "out", division=Division(fold="2")).test.slides) == {str(four[2]), str(four[3])}
    with pytest.raises(ArgumentError, match="no fold '3'"):
        shard_data(tmp_path / "out", division=Division(fold="3"))


def test_another_patient_is_another_job(four: list[Path], tmp_path: Path) -> None:
    path = write_list(tmp_path, four, "patient", ["x,p", "y,q", "x,r", "y,s"])
    serial(path, tmp_path / "out", TINY)
    serial(path, tmp_path / "out", TINY, resume=True)
    write_list(tmp_path, four, "patient", ["x,p", "y,q", "x,r", "y,p"])
    with pytest.raises(ArgumentError, match=r'd\.tiff: patient was "s", is "p"'):
        serial(path, tmp_path / "out", TINY, resume=True)


@pytest.mark.parametrize("seed", range(3))
def test_slides_of_one_patient_are_trained_or_tested_on(four: list[Path], tmp_path: Path, seed: int) -> None:
    path = write_list(tmp_path, four, "patient", ["x,p", "y,p", "x,q", "y,q"])
    data = collection_data(path, TileRecipe(64, tissue=0), division=Division(0.5, seed=seed))
    pairs = [{str(four[0]), str(four[1])}, {str(four[2]), str(four[3])}]
    assert set(data.train.slides) in pairs
    assert set(data.test.slides) in pairs
    assert set(data.train.slides) != set(data.test.slides)
    assert "1 of 2 patients" in data.split


def test_train_says_what_it_tests_on_and_what_it_cannot_tell(run: Run, four: list[Path], tmp_path: Path) -> None:
    path = write_list(tmp_path, four, "patient,fold", ["x,p,0", "y,p,0", "x,q,0", "x,r,1"])
    given = ("train", "slides", path, "--tile-size", 64, "--tissue", 0, "--epochs", 1, "--p", 0, "--batch-size", 8)
    code, out, err = run(*given, "--fold", 1, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "no test tile is of class y" in out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "fold 1 of 0, 1" in report["split"]
    assert report["samples"]["train"] == 72
    assert any("no test tile is of class y" in note for note in report["notes"])
    code, _, err = run(*given, "--out", tmp_path / "first")  # fold 0 has all slides of y
    assert code == 2
    assert "No training tile is of class y" in err
    write_list(tmp_path, four, "patient,fold", ["x,p,0", "y,p,0", "x,q,0", "x,p,1"])
    code, _, err = run(*given, "--out", tmp_path / "torn")
    assert code == 2
    assert "line 2" in err
    assert "line 5" in err
    write_list(tmp_path, four, "patient", ["x,p", "y,p", "x,q", "x,r"])
    code, _, err = run(*given, "--fold", 1, "--out", tmp_path / "none")
    assert code == 2
    assert "no column 'fold'" in err
