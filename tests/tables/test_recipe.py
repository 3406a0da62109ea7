"""Recipes of tiles: what cannot be is refused when one is made, and every way in follows it by one function."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cellmix_dali import TileRecipe, TileTable, grid_tiles, lay_tiles, open_slide, tiles_of_slides
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError
from cellmix_dali.previews import choose_tiles
from cellmix_dali.synthetic import CLASSES, RenderedSlide, write_slide
from cellmix_dali.tables import SlideList
from cellmix_dali.tables.grids import tissue_shares
from cellmix_dali.tables.recipe import SlideFiles
from cellmix_dali.tiling import TilingSettings, tile_slides


def rows(table: TileTable) -> list[str]:
    labels = [None] * len(table) if table.label is None else table.label.tolist()
    return [f"{table.describe(row)} {label}" for row, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tile_size": 0}, "tile_size=0"),
        ({"mpp": 1, "level": 0}, "give only one"),
        ({"mpp": -1}, "mpp=-1"),
        ({"mpp_override": 900}, "mpp_override=900"),
        ({"overlap": 256}, "overlap=256"),
        ({"overlap": 2.5}, "overlap=2.5"),
        ({"level": 0.5}, "level=0.5"),
        ({"level": -1}, "level=-1"),
        ({"stride": 9.5}, "stride=9.5"),
        ({"stride": 0}, "stride=0"),
        ({"stride": 64, "overlap": 8}, "say the same twice"),
        ({"edge": "cut"}, "Unknown edge"),
        ({"tissue": 50}, "tissue=50"),
        ({"tissue": None}, "tissue=None"),
        ({"tissue_method": "densty"}, "Did you mean 'density'"),
        ({"min_share": 0}, "min_share=0"),
        ({"annotations_origin": "bound"}, "Did you mean 'bounds'"),
        ({"annotations": "/nowhere"}, "annotations='/nowhere': there is no such folder"),
        ({"mask": "/nowhere"}, "mask='/nowhere': there is no such folder"),
        ({"classes": ()}, "one or more different names"),
        ({"classes": ("a", "a")}, "one or more different names"),
        ({"mask": "/", "annotations": "/"}, "both say where tissue is"),
    ],
)
def test_what_cannot_be_is_refused_at_once(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TileRecipe(**asked)


def test_a_recipe_is_a_value(tmp_path: Path) -> None:
    recipe = TileRecipe(224, mpp=1, tissue=1, annotations=str(tmp_path), classes=["a", "b"])  # type: ignore[arg-type]
    assert recipe == TileRecipe(224, mpp=1.0, tissue=1.0, annotations=tmp_path, classes=("a", "b"))
    assert (recipe.labelled, recipe.of_any_scale) == (True, False)
    numbers = TilingSettings(tile_size=np.int64(224), level=np.uint8(1), overlap=np.int16(3), tissue=np.float32(1))
    assert json.loads(json.dumps(numbers.to_json()))["level"] == 1
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert replace(recipe, mpp=None).of_any_scale
    assert not replace(recipe, classes=None).labelled
    with pytest.raises(FrozenInstanceError):
        recipe.mpp = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "grid",
    [
        {"level": 1},
        {"mpp": 0.8},
        {"mpp": 1.0, "mpp_override": 0.25},
        {"overlap": 24},
        {"stride": 300},
        {"edge": "pad"},
    ],
    ids=str,
)
def test_the_grid_is_that_of_grid_tiles(rendered: list[RenderedSlide], grid: dict[str, Any]) -> None:
    recipe = TileRecipe(200, tissue=0, **grid)
    with open_slide(rendered[0].path) as slide:
        laid, expected = lay_tiles(slide, recipe), grid_tiles(slide, 200, **grid)
        choice = recipe.choose_level(slide)
    assert rows(laid.table) == rows(expected)
    assert (laid.grid, laid.empty, laid.notes) == (len(expected), "", ())
    assert laid.tissue is laid.mask is laid.picture is None
    assert (choice.level, choice.size) == (expected.level[0], expected.size[0])


def test_the_slides_own_mpp_comes_before_the_recipes(rendered: list[RenderedSlide]) -> None:
    recipe = TileRecipe(100, mpp=1.0, mpp_override=0.25, tissue=0)
    with open_slide(rendered[0].path) as slide:
        assert recipe.choose_level(slide, 1.0).level == 0
        assert set(lay_tiles(slide, recipe, mpp=1.0).table.level) == {0}
        assert set(lay_tiles(slide, recipe).table.level) == {recipe.choose_level(slide).level} == {1}


def test_tissue_and_what_is_looked_at(rendered: list[RenderedSlide]) -> None:
    with open_slide(rendered[0].path) as slide:
        laid = lay_tiles(slide, TileRecipe(64, tissue=0.6), label=3)
        all_of_them = lay_tiles(slide, TileRecipe(64, tissue=0), look=True)
        shares = tissue_shares(slide, grid_tiles(slide, 64))
    assert laid.tissue is not None
    assert laid.mask is not None
    assert laid.picture is not None
    assert all_of_them.tissue is not None
    assert 0 < len(laid.table) < laid.grid == len(all_of_them.table) == 256
    np.testing.assert_array_equal(all_of_them.tissue, shares)
    np.testing.assert_array_equal(laid.tissue, shares[shares >= np.float32(0.6)])
    assert laid.table.label is not None
    assert set(laid.table.label) == {3}
    assert all_of_them.table.label is None


def test_labels_come_of_annotations_and_their_polygons_are_tissue_without_classes(
    rendered: list[RenderedSlide],
) -> None:
    folder = rendered[0].annotations.parent
    with open_slide(rendered[0].path) as slide:
        labelled = lay_tiles(slide, TileRecipe(128, tissue=0, annotations=folder, classes=CLASSES, min_share=0.7))
        region = lay_tiles(slide, TileRecipe(128, tissue=0.9, annotations=folder), label=1)
        grid = grid_tiles(slide, 128)
    expected = read_geojson(rendered[0].annotations).label_tiles(grid.x, grid.y, 128, 128, CLASSES, min_share=0.7)
    assert rows(labelled.table) == rows(grid.with_labels(expected).select(expected >= 0))
    assert labelled.mask is None
    assert region.mask is not None
    assert region.mask.method == "annotations"
    assert region.picture is None
    assert 0 < len(region.table) < len(grid)
    assert region.table.label is not None
    assert set(region.table.label) == {1}


def test_a_mask_says_where_tissue_is_for_tables_too(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    for slide in rendered:
        half = np.zeros((64, 64), np.uint8)
        half[:, :32] = 255
        Image.fromarray(half).save(tmp_path / f"{slide.path.stem}.png")
    table, faults = tiles_of_slides(
        SlideList(tuple(slide.path for slide in rendered)), TileRecipe(128, level=0, mask=tmp_path)
    )
    assert not faults
    assert len(table) == 2 * 8 * 4
    assert set(table.x.tolist()) == {0, 128, 256, 384}


def test_files_go_by_the_full_name_first_and_are_not_shared(tmp_path: Path) -> None:
    recipe = TileRecipe(annotations=tmp_path, classes=("a",))
    slides = [Path("x/a.svs"), Path("y/a.tiff")]
    with pytest.raises(ArgumentError, match=r"x/a\.svs and y/a\.tiff would share .*such as a\.tiff\.geojson"):
        recipe.files_of(slides)
    (tmp_path / "a.tiff.geojson").write_text("{}")
    assert [files.annotations for files in recipe.files_of(slides)] == [
        tmp_path / "a.geojson",
        tmp_path / "a.tiff.geojson",
    ]
    assert recipe.files_of(slides)[0].mask is None


def test_missing_annotations_are_told(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    recipe = TileRecipe(annotations=tmp_path, classes=CLASSES)
    with open_slide(rendered[0].path) as slide:
        with pytest.raises(ArgumentError, match=r"looked for slide-1\.svs\.geojson and slide-1\.geojson"):
            lay_tiles(slide, recipe)
        own = SlideFiles(annotations=rendered[0].annotations)
        assert len(lay_tiles(slide, recipe, files=own).table) > 0


def test_why_there_is_no_tile(tmp_path: Path) -> None:
    glass = tmp_path / "glass.svs"
    write_slide(glass, np.full((600, 600, 3), 245, np.uint8))
    far = [[0, 0], [5, 0], [5, 5], [0, 5], [0, 0]]
    drawn = {"type": "Feature", "properties": {"classification": {"name": "a"}}}
    drawn |= {"geometry": {"type": "Polygon", "coordinates": [far]}}
    (tmp_path / "glass.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    with open_slide(glass) as slide:
        bare = lay_tiles(slide, TileRecipe(200, tissue=0.3))
        unlabelled = lay_tiles(slide, TileRecipe(200, annotations=tmp_path, classes=("a",)))
    assert (len(bare.table), bare.empty) == (0, "none of its 9 tiles has 0.3 of tissue")
    assert unlabelled.empty == "none of its tiles is covered enough by the annotations"
    assert unlabelled.mask is None  # nothing is left to look for tissue in


def test_every_way_in_follows_one_recipe(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """A table for training, a tiling job and a preview have the same tiles."""
    recipe = TileRecipe(96, mpp=0.7, overlap=16, edge="pad", tissue=0.7)
    paths = [slide.path for slide in rendered]
    table, _ = tiles_of_slides(SlideList(tuple(paths)), recipe)
    tile_slides(paths, tmp_path / "job", TilingSettings.of(recipe, coords_only=True), workers=0)
    assert rows(TileTable.open(tmp_path / "job" / "tiles.parquet")) == rows(table)
    first = table.select(table.slide == 0)
    chosen = choose_tiles(paths[0], len(first), recipe)
    assert rows(chosen.table) == rows(first)
    assert (chosen.tile_size, chosen.edge, chosen.classes) == (96, "pad", None)
    labelled = TileRecipe(96, tissue=0, annotations=rendered[0].annotations.parent, classes=CLASSES)
    assert choose_tiles(paths[0], 4, labelled).classes == CLASSES
    assert choose_tiles(paths[0], 4, labelled, labels=False).classes is None
    assert set(choose_tiles(paths[0], 4, recipe, tile_size=64).table.size) == {round(64 * 0.7 / 0.5)}
