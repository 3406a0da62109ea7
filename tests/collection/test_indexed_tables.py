"""Tile tables of a collection: the same with an index, whoever looks for tissue, and nothing is looked for twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileRecipe, TileTable, train_loader
from cellmix_dali.collection import CollectionIndex, make_index
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides import opening
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import laying
from cellmix_dali.tables.slide_list import SlideList, tiles_of_slides
from cellmix_dali.training.collection import collection_data

RECIPE = TileRecipe(64, tissue=0.4)


@pytest.fixture
def listed(rendered: list[RenderedSlide], only_openslide: Path, tmp_path: Path) -> SlideList:
    """An SVS, a TIFF, one that only OpenSlide reads, and one that is none, with labels."""
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"no slide")
    slides = (rendered[0].path, only_openslide, bad, rendered[1].path)
    return SlideList(slides, np.array([0, 1, 1, 1], np.int32), ("a", "b"), np.array([0.25, 0.5, 0.25, np.nan]))


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have every look at a slide, and for tissue, fail from then on."""

    def make() -> None:
        def refused(*_: object, **__: object) -> None:
            raise AssertionError("a slide was looked at")

        monkeypatch.setattr(opening, "_look_at", refused)
        monkeypatch.setattr(laying, "look_for_tissue", refused)

    return make


def tiles(listed: SlideList, recipe: TileRecipe = RECIPE, **how: Any) -> tuple[TileTable, list[str]]:
    table, faults = tiles_of_slides(listed, recipe, on_error="skip", mixed_resolutions=True, **how)
    return table, [fault.reason for fault in faults]


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        TileRecipe(50, mpp=0.7, overlap=7, edge="pad", tissue_method="saturation"),
        TileRecipe(64, tissue=0),
        TileRecipe(64, tissue_method=lambda picture: picture[..., 1] < 200),
    ],
    ids=["plain", "resized", "all", "own"],
)
def test_the_same_tiles_with_and_without(recipe: TileRecipe, listed: SlideList, tmp_path: Path) -> None:
    table, faults = tiles(listed, recipe)
    told: list[tuple[int, int]] = []
    how = {"progress": lambda done, count: told.append((done, count)), "on_note": lambda _: None}
    for index in (tmp_path / "a.index", CollectionIndex, None):
        given = index(tmp_path / "a.index") if isinstance(index, type) else index
        found, wrong = tiles(listed, recipe, index=given, workers=None if given else 2, **how)
        assert found.arrow.equals(table.arrow)
        assert wrong == faults
        assert told[-1] == (4, 4)
        told.clear()
    assert len(table) > 20
    assert sum("bad.svs is not a slide" in fault for fault in faults) == 1


def test_a_finished_index_is_all_that_is_read(listed: SlideList, tmp_path: Path, blind: Callable[[], None]) -> None:
    table, faults = tiles(listed)
    path = tmp_path / "a.index"
    tiles(listed, index=path, workers=0)
    blind()
    for index in (path, CollectionIndex(path)):
        found, wrong = tiles(listed, index=index, workers=0)
        assert found.arrow.equals(table.arrow)
        assert wrong == faults
    with train_loader(table, num_classes=2, batch_size=8, method=None, flips=False, index=path) as loader:
        seen = sorted(row for batch in loader for row in batch["tile"].flatten().tolist())
    assert len(seen) == len(table) // 8 * 8
    with pytest.raises(AssertionError, match="looked at"):  # tissue that is found in another way is looked for
        tiles(listed, TileRecipe(64, tissue_method="saturation"), index=CollectionIndex(path))


def test_what_cannot_be_read_just_now_is_not_in_it(
    listed: SlideList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, name = opening._look_at, listed.slides[0].name

    def failing(place: Path) -> Any:
        if place.name == name:
            raise NotReadError(f"{place} cannot be read: Input/output error.")
        return real(place)

    monkeypatch.setattr(opening, "_look_at", failing)
    index = make_index(listed.slides, tmp_path / "a.index", workers=0, retry_seconds=0)
    assert listed.slides[0] not in index
    monkeypatch.undo()
    index = make_index(listed.slides, tmp_path / "a.index", workers=0)
    assert listed.slides[0] in index
    with pytest.raises(SlideError, match=r"bad\.svs is not a slide"):
        tiles_of_slides(listed, RECIPE, mixed_resolutions=True, index=index)


def test_training_data_are_the_same(rendered: list[RenderedSlide], tmp_path: Path, blind: Callable[[], None]) -> None:
    slides = tmp_path / "slides.csv"
    rows = [f"{slide.path},{'ab'[number % 2]},{side}" for side in ("train",) for number, slide in enumerate(rendered)]
    copies = [tmp_path / f"{number}.svs" for number in range(2)]
    for copy, slide in zip(copies, rendered, strict=True):
        copy.write_bytes(slide.path.read_bytes())
    rows += [f"{copy},{'ab'[number]},test" for number, copy in enumerate(copies)]
    slides.write_text("slide,label,split\n" + "\n".join(rows) + "\n")
    want = collection_data(slides, RECIPE)
    index = tmp_path / "a.index"
    first = collection_data(slides, RECIPE, index=index, workers=0)
    blind()
    again = collection_data(slides, RECIPE, index=index, workers=0, slide_cache="1MB")
    for found in (first, again):
        assert found.source.slides == want.source.slides
        assert found.sets.keys() == want.sets.keys()
        assert all(found.sets[name].arrow.equals(want.sets[name].arrow) for name in want.sets)
        assert found.source.index.path == index
    assert (again.source.slide_cache, want.source.index) == ("1MB", None)
