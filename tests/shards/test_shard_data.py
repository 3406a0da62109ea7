"""What `cellmix-dali train tiles` trains and tests on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.cli import main
from cellmix_dali.errors import ArgumentError
from cellmix_dali.shards import tile_rows, write_tiles
from cellmix_dali.training import Division, shard_data

Collect = Callable[..., TileTable]


def made(
    folder: Path,
    slides: int = 1,
    *,
    tissue: ArrayLike | None = None,
    label: Callable[[int], ArrayLike] | None = None,
    step: int = 64,
    tile_size: Sequence[int] = (64,),
    classes: Sequence[str] | None = None,
) -> Path:
    """A table of 5 x 4 tiles per slide, coordinates alone."""
    x, y = (step * place.ravel() for place in np.meshgrid(np.arange(5), np.arange(4)))
    parts = [
        tile_rows(
            f"slide-{number}.svs",
            x=x,
            y=y,
            size=64,
            level=0,
            tile_size=tile_size[number % len(tile_size)],
            tissue=tissue,
            label=None if label is None else np.broadcast_to(label(number), 20),
        )
        for number in range(slides)
    ]
    write_tiles(folder, parts, classes=classes)
    return folder


def test_labels_and_whole_slides(tmp_path: Path) -> None:
    data = shard_data(
        made(tmp_path, 10, label=lambda number: number % 2, classes=["benign", "tumour"]), division=Division(0.4)
    )
    assert data.classes == ("benign", "tumour")
    assert data.task == "2 classes: benign, tumour"
    assert "4 of 10 slides held out" in data.split
    assert set(data.train.slides) & set(data.test.slides) == set()
    assert (len(data.train), len(data.test)) == (120, 80)
    for part in (data.train, data.test):
        assert part.label is not None
        assert [int(path[6:-4]) % 2 for path in (part.slides[number] for number in part.slide)] == part.label.tolist()
    assert (data.source.size, data.source.edge) == (64, "skip")
    other = shard_data(tmp_path, division=Division(0.4, seed=1))
    assert other.test.slides != data.test.slides
    assert shard_data(tmp_path, division=Division(0.4)).test.slides == data.test.slides


def test_labels_without_names(tmp_path: Path) -> None:
    data = shard_data(made(tmp_path, 6, label=lambda number: number % 3))
    assert data.classes == ("0", "1", "2")


def test_a_single_slide_is_split_by_place(tmp_path: Path) -> None:
    data = shard_data(made(tmp_path, tissue=np.arange(20) / 20, step=40))  # windows overlap by 24 px
    assert set(data.train.slides) == set(data.test.slides)
    assert (data.train.x + data.train.size).max() <= data.test.x.min()
    assert len(data.test) >= 4
    assert "right side" in data.split


@pytest.mark.parametrize(
    ("tissue", "want", "words"),
    [
        (np.tile([0.1, 0.2, 0.4, 0.8], 5), [0, 0, 1, 1], "more tissue than the median tile (30.0%)"),
        (np.tile([0.1, 1.0, 1.0, 1.0], 5), [0, 1, 1, 1], "as much tissue as the median tile (100.0%)"),
    ],
)
def test_tissue_stands_in_for_labels(tmp_path: Path, tissue: ArrayLike, want: list[int], words: str) -> None:
    data = shard_data(made(tmp_path, 2, tissue=tissue))
    for part in (data.train, data.test):
        assert part.label is not None
        assert part.label.tolist() == want * 5
    assert len(data.classes) == 2
    assert "no labels" in data.task
    assert words in data.task


def test_what_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no labels, and all have the same share of tissue \(70%\)"):
        shard_data(made(tmp_path, 2, tissue=np.full(20, 0.7)))
    with pytest.raises(ArgumentError, match="neither labels nor shares of tissue"):
        shard_data(made(tmp_path, 2))
    with pytest.raises(ArgumentError, match=r"No training tile is of class [01]: all its tiles are held out"):
        shard_data(made(tmp_path, 2, label=lambda number: number))
    with pytest.raises(ArgumentError, match=r"are of 64 to 128 pixels: give --tile-size"):
        shard_data(made(tmp_path, 4, label=lambda number: number // 2, tile_size=(64, 128)))
    assert shard_data(tmp_path, tile_size=32).source.size == 32
    with pytest.raises(ArgumentError, match="Label 3 of tile 60"):
        shard_data(made(tmp_path, 4, label=lambda number: number, classes=["a", "b", "c"]))
    with pytest.raises(ArgumentError, match="There is no tile table"):
        shard_data(tmp_path / "missing")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cellmix-dali", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command(
    real: Callable[[str], Path],
    collect: Collect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    collect(tmp_path / "tiles", [real("CMU-1-Small-Region.svs")])
    code = run(monkeypatch, "train", "tiles", tmp_path / "tiles", "--epochs", 1, "--out", tmp_path / "out")
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "whether a tile shows more tissue than the median tile" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["samples"]["size"] == 240
    assert report["tiles"]["read"]["shard"] > 0
    assert report["tiles"]["read"]["direct"] == report["tiles"]["read"]["openslide"] == 0
    assert len(report["epochs"]) == 1
    assert 0 <= report["final"]["test"]["accuracy"] <= 1
    saved = TileTable.open(tmp_path / "out" / "tiles.parquet")
    assert len(saved) == report["samples"]["train"] + report["samples"]["test"]


def test_the_command_on_damaged_shards_ends_with_its_report(
    real: Callable[[str], Path],
    collect: Collect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    collect(tmp_path / "tiles", [real("CMU-1-Small-Region.svs")], label=np.arange(108) % 2)
    for number, shard in enumerate(sorted((tmp_path / "tiles").glob("*.tar"))):
        if number % 3:  # of all shards but every third no tile can be read
            shard.write_bytes(bytes(shard.stat().st_size))
    code = run(monkeypatch, "train", "tiles", tmp_path / "tiles", "--epochs", 1, "--out", tmp_path / "out")
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "bad tiles were replaced" in out
    assert ("no mixed.png" in out) != (tmp_path / "out" / "mixed.png").exists()
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["tiles"]["bad"]) > 20


def test_the_command_with_another_tile_size(
    real: Callable[[str], Path], collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(tmp_path / "tiles", [real("CMU-1-Small-Region.svs")], label=np.arange(108) % 2)
    out = tmp_path / "out"
    assert run(monkeypatch, "train", "tiles", tmp_path / "tiles", "--epochs", 1, "--tile-size", 64, "--out", out) == 0
    assert json.loads((out / "report.json").read_text())["samples"]["size"] == 64


def test_the_command_on_coordinates_alone(
    real: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(real("CMU-1-Small-Region.svs")) as slide:
        table = grid_tiles(slide, 240, edge="pad")  # 120 tiles, some over the edge, resized to 60 pixels
        tissue = np.arange(len(table)) / len(table)
        columns = {"x": table.x, "y": table.y, "size": table.size, "level": 0, "tile_size": 60, "tissue": tissue}
        write_tiles(tmp_path, [tile_rows(slide.path, **columns)], edge="pad")
    out = tmp_path / "out"
    assert run(monkeypatch, "train", "tiles", tmp_path, "--epochs", 1, "--patch-size", 30, "--out", out) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["samples"]["size"] == 60
    assert report["tiles"]["read"]["direct"] > 0
    assert report["tiles"]["bad"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["folder", "--mpp", "1"], "No such option: --mpp"),
        (["folder"], "There is no tile table at folder"),
    ],
)
def test_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(monkeypatch, "train", "tiles", *arguments) == 2
    assert words in capsys.readouterr().err
