"""Bags: whose tiles they hold, and how many, however they are put together."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cellmix_dali import TileTable
from cellmix_dali.embedding import FeatureBags, TileBags, bag_loader
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import read_table
from cellmix_dali.tables import SlideList, read_slide_list

COUNTS = {"a": 5, "b": 3, "c": 8, "d": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features that say whose they are: (number of the slide, row)."""
    for number, (name, count) in enumerate(COUNTS.items()):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["features"] = np.array([(number, row) for row in range(count)], np.float32).reshape(-1, 2)
            file["coords"] = np.arange(2 * count).reshape(-1, 2)
    return tmp_path


@pytest.fixture
def listed(tmp_path: Path) -> SlideList:
    rows = "x/a.svs,one,p\nx/b.svs,two,q\nx/c.svs,one,p\nx/d.svs,two,r\nx/e.svs,two,r\n"
    (tmp_path / "list.csv").write_text(f"slide,label,patient\n{rows}")
    return read_slide_list(tmp_path / "list.csv", check_files=False)


def test_padded_bags(folder: Path, listed: SlideList) -> None:
    (batch,) = list(bag_loader(FeatureBags(folder), listed, batch_size=4))
    assert batch["bag"] == ["a", "b", "c"]  # the others have no tiles
    assert batch["label"].tolist() == [0, 1, 0]
    assert batch["tiles"].tolist() == [5, 3, 8]
    assert batch["features"].shape == (3, 8, 2)
    assert batch["mask"].sum(dim=1).tolist() == [5, 3, 8]
    assert batch["features"][1, :3].tolist() == [[1, 0], [1, 1], [1, 2]]
    assert not batch["features"][~batch["mask"]].any()
    assert batch["coords"][0, 4].tolist() == [8, 9]


def test_features_are_read_again_where_they_do_not_fit_into_memory(folder: Path, listed: SlideList) -> None:
    for kept, there in ((0, False), (1 << 20, True)):
        bags = FeatureBags(folder, kept_bytes=kept)
        loader = bag_loader(bags, listed)
        with h5py.File(folder / "a.h5", "a") as file:
            file["features"][0] = 9 + kept
        assert (next(iter(loader))["features"][0, 0, 0].item() == 9 + kept) is not there


def test_packed_bags_of_patients(folder: Path, listed: SlideList) -> None:
    (batch,) = list(bag_loader(FeatureBags(folder), listed, group="patient", form="packed", batch_size=9))
    assert batch["bag"] == ["p", "q"]
    assert batch["label"].tolist() == [0, 1]
    assert batch["offsets"].tolist() == [0, 13, 16]
    assert batch["features"][:, 0].tolist() == [0] * 5 + [2] * 8 + [1] * 3


def test_tiles_are_drawn_by_the_key_alone(folder: Path, listed: SlideList) -> None:
    def drawn(seed: int, epoch: int, only: list[str] | None = None) -> dict[str, list[list[float]]]:
        loader = bag_loader(FeatureBags(folder), listed, most_tiles=4, seed=seed, shuffle=True, only=only)
        loader.epoch = epoch
        return {batch["bag"][0]: batch["features"][0].tolist() for batch in loader}

    first = drawn(1, 0)
    assert first == drawn(1, 0)
    assert first != drawn(1, 1) != drawn(2, 1)
    assert {name: len(tiles) for name, tiles in first.items()} == {"a": 4, "b": 3, "c": 4}
    assert all(len({tuple(tile) for tile in tiles}) == len(tiles) for tiles in first.values())
    loader = bag_loader(FeatureBags(folder), listed, shuffle=True)
    orders = {tuple(batch["bag"][0] for batch in loader) for _ in range(8)}
    assert len(orders) > 1
    assert loader.epoch == 8
    assert set(drawn(1, 0, ["a", "c"])) == {"a", "c"}


def test_bags_of_pixels(tiles: TileTable) -> None:
    batches = list(bag_loader(TileBags(tiles), most_tiles=6))
    assert len(batches) == 3 == len(bag_loader(TileBags(tiles)))
    own = tiles.select(tiles.slide == 1)
    row = own.positions.tolist().index(batches[1]["coords"][0, 2].tolist())
    assert batches[1]["features"].shape == (1, 6, 3, 64, 64)
    assert batches[1]["label"].tolist() == [-1]
    wanted = torch.from_numpy(read_table(own.select([row]))[0]).permute(2, 0, 1)
    assert torch.equal(batches[1]["features"][0, 2], wanted)


def test_bags_that_are_refused(folder: Path, listed: SlideList, tmp_path: Path) -> None:
    bags = FeatureBags(folder)
    plain = SlideList(listed.slides, listed.labels, listed.classes)
    mixed = SlideList(listed.slides, np.array([0, 0, 1, 0, 0], np.int32), listed.classes, patient=listed.patient)
    for options, words in (
        ({"group": "patient"}, "without slides"),
        ({"slides": plain, "group": "patient"}, "no column 'patient'"),
        ({"slides": mixed, "group": "patient"}, "several labels"),
        ({"slides": SlideList((Path("z.svs"),))}, "No bag is left"),
        ({"only": ["z"]}, "no bags z"),
        ({"form": "list"}, "form"),
        ({"most_tiles": 0}, "most_tiles=0"),
        ({"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(ArgumentError, match=words):
            bag_loader(bags, **options)  # type: ignore[arg-type]
    (tmp_path / "none").mkdir()
    with pytest.raises(ArgumentError, match="no features"):
        FeatureBags(tmp_path / "none")
