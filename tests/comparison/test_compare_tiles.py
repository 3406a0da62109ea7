"""Comparisons on slides and on finished tiles: by the folds of the list of slides, with the same figures from both."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileRecipe, TileTable
from cellmix_dali.comparison import ComparedSlides, ComparedTiles, ComparisonSettings, compare
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.errors import ArgumentError
from cellmix_dali.synthetic import render_slides

RECIPE = TileRecipe(128, level=0, tissue=0)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six slides of two classes in three folds."""
    folder = tmp_path_factory.mktemp("listed")
    slides = render_slides(folder, count=6, side=512, seed=2)
    with (folder / "slides.csv").open("w", newline="") as file:
        rows = [[slide.path, "ab"[number % 2], number // 2] for number, slide in enumerate(slides)]
        csv.writer(file).writerows([["slide", "label", "fold"], *rows])
    return folder / "slides.csv"


def comparable(record: RunRecord) -> dict[str, Any]:
    """A record without what is of the moment."""
    return {name: value for name, value in record.to_json().items() if name not in ("seconds", "epochs")}


def names(table: TileTable | None) -> set[str]:
    assert table is not None
    return {Path(table.slides[number]).name for number in np.unique(table.slide)}


def test_every_fold_is_tested_on_once(listed: Path) -> None:
    data = ComparedSlides(place=listed, recipe=RECIPE).divided(None)
    assert list(data) == ["0", "1", "2"]
    tested = [names(each.test) for each in data.values()]
    chosen = [names(each.validation) for each in data.values()]
    assert chosen == [tested[1], tested[2], tested[0]]
    assert [len(each) for each in tested] == [2, 2, 2]
    for each in data.values():
        assert not names(each.train) & (names(each.test) | names(each.validation))


@pytest.mark.slow
def test_a_comparison_on_slides_goes_on(listed: Path, tmp_path: Path) -> None:
    settings = ComparisonSettings(
        data=ComparedSlides(place=listed, recipe=RECIPE),
        methods=("none", "CellMix-Group"),
        test_folds=("0",),
        learning_rate=(3e-3,),
        seeds=1,
        epochs=1,
        batch_size=8,
    )
    done = compare(settings, tmp_path, workers=0)
    assert ([record.arm for record in done.records], done.failed) == (["none", "CellMix-Group"], {})
    kept = {path: path.read_bytes() for path in tmp_path.glob("runs/*/*.json")}
    again = compare(settings, tmp_path, workers=0)
    assert again.records == done.records
    assert {path: path.read_bytes() for path in tmp_path.glob("runs/*/*.json")} == kept
    # With an index, which workers read, too, they are the same runs.
    indexed = replace(settings.data, index=tmp_path / "of" / "collection.index", workers=0)
    by_index = compare(replace(settings, data=indexed), tmp_path / "by index", workers=1)
    assert [comparable(record) for record in by_index.records] == [comparable(record) for record in done.records]
    assert indexed.index.exists()
    other = ComparisonSettings(
        **vars(settings) | {"data": ComparedSlides(place=listed, recipe=TileRecipe(64, tissue=0))}
    )
    with pytest.raises(ArgumentError, match="image_size was 128, is 64"):
        compare(other, tmp_path, workers=0)


def test_lists_without_folds_are_refused(listed: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    with listed.open(newline="") as file:
        rows = [row[:2] for row in csv.reader(file)]
    with bare.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ArgumentError, match="has 0 folds"):
        ComparedSlides(place=bare, recipe=RECIPE).divided(None)
    with pytest.raises(ArgumentError, match="Unknown fold '7'"):
        ComparedSlides(place=listed, recipe=RECIPE).divided(["7"])


def test_finished_tiles_are_divided_as_their_slides(listed: Path, tmp_path: Path) -> None:
    from cellmix_dali.cli import app

    arguments = [str(listed), "--tile-size", "128", "--tissue", "0", "--out", str(tmp_path / "tiles"), "--workers", "1"]
    app(["tile", *arguments], standalone_mode=False)
    tiles = ComparedTiles(place=tmp_path / "tiles").divided(None)
    slides = ComparedSlides(place=listed, recipe=RECIPE).divided(None)
    for fold, data in tiles.items():
        assert data.counts == slides[fold].counts
        assert names(data.test) == names(slides[fold].test)
    digests = [ComparedTiles(place=tmp_path / "tiles").digest(each) for each in (tiles, dict(reversed(tiles.items())))]
    assert digests[0] == digests[1]
