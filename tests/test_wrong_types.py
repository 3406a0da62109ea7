"""Values of another type than asked for, as a new user gives them: refused in words, and at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cellmix_dali import (
    SlideList,
    TileRecipe,
    TileSource,
    TileTable,
    evaluate_loader,
    open_slide,
    open_tiles,
    read_slide_list,
    tiles_of_slides,
    train_loader,
)
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError


@pytest.mark.parametrize("given", [None, 3, ["a.svs"], b"a.svs"], ids=repr)
@pytest.mark.parametrize(
    "read", [open_slide, TileTable.open, TileTable.from_parquet, read_slide_list, open_tiles, read_geojson]
)
def test_a_path(read: Callable[[object], object], given: object) -> None:
    with pytest.raises(ArgumentError, match="must be named by a path"):
        read(given)


@pytest.mark.parametrize("given", ["tiles.parquet", None, [1, 2]], ids=repr)
def test_a_table(given: object) -> None:
    makers: list[Callable[[], object]] = [
        lambda: train_loader(given, num_classes=2, batch_size=2, method=None),  # type: ignore[arg-type]
        lambda: evaluate_loader(given, batch_size=2),  # type: ignore[arg-type]
        lambda: TileSource(given, batch_size=2),  # type: ignore[arg-type]
    ]
    for make in makers:
        with pytest.raises(ArgumentError, match=r"TileTable\.open"):
            make()


def test_a_list_of_slides() -> None:
    with pytest.raises(ArgumentError, match=r"slide_list is a list: give what read_slide_list"):
        tiles_of_slides(["a.svs"], TileRecipe(224))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"recipe=224: give a TileRecipe, such as"):
        tiles_of_slides(SlideList((Path("a.svs"),)), 224)  # type: ignore[arg-type]


def test_a_list_that_is_a_folder_or_has_semicolons(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is a folder, not a table"):
        read_slide_list(tmp_path)
    (tmp_path / "list.csv").write_text("slide;label\na.svs;x\n")
    with pytest.raises(ArgumentError, match="separated by commas, these by semicolons"):
        read_slide_list(tmp_path / "list.csv")
