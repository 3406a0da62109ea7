"""Where annotations and masks begin: at a slide's bounds, as QuPath exports them, or at its first pixel."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cellmix_dali import open_slide
from cellmix_dali.annotations.frame import frame_of
from cellmix_dali.annotations.geojson import Annotations
from cellmix_dali.annotations.origin import annotations_of, beyond_the_tissue
from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides import Slide
from cellmix_dali.slides.levels import Box
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import SlideList, TileRecipe, tiles_of_slides
from cellmix_dali.tiling import TilingSettings, tile_slides
from cellmix_dali.tissue.overview import overview_picture
from cellmix_dali.tissue.slide_mask import TissueMask, mask_from_geojson, mask_from_png

ODD = Path(__file__).resolve().parents[3] / "shared" / "odd"
BOUNDS = Box(2000, 1500, 2900, 3700)


@pytest.fixture
def scn(tmp_path: Path) -> Path:
    """A slide of 8000 x 7000 px with bounds of 2900 x 3700 px at (2000, 1500)."""
    if not ODD.is_dir():
        pytest.skip(f"the odd slides are not at {ODD}")
    return Path(shutil.copyfile(ODD / "leica.scn", tmp_path / "a.scn"))


@pytest.fixture
def slide(scn: Path) -> Iterator[Slide]:
    with open_slide(scn) as opened:
        assert opened.bounds == BOUNDS
        yield opened


def square(x: float, y: float, side: float, name: str = "tumour") -> dict[str, Any]:
    corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "properties": {"classification": {"name": name}},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }


def write(folder: Path, *features: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def labelled(
    scn: Path, folder: Path, notes: Callable[[str], None] | None = None, **how: Any
) -> set[tuple[int, int, int]]:
    """Tiles of 500 px and their labels."""
    table, _ = tiles_of_slides(
        SlideList((scn,)),
        TileRecipe(500, tissue=0, annotations=folder, classes=("stroma", "tumour"), **how),
        on_note=notes,
    )
    assert table.label is not None
    return set(zip(table.x.tolist(), table.y.tolist(), table.label.tolist(), strict=True))


def test_frames(slide: Slide) -> None:
    assert frame_of(slide, "bounds") == BOUNDS
    assert frame_of(slide, "level0") == Box(0, 0, 8000, 7000)
    with pytest.raises(ArgumentError, match="Did you mean 'bounds'"):
        frame_of(slide, "bound")  # type: ignore[arg-type]


def test_labels_lie_where_qupath_drew_them(scn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    write(folder, square(2000, 2500, 500), square(2000, 1500, 500, "stroma"))
    with pytest.warns(UserWarning, match=r"begin at the bounds \(2000, 1500\)"):
        assert labelled(scn, folder) == {(4000, 4000, 1), (4000, 3000, 0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert labelled(scn, folder, annotations_origin="level0") == {(2000, 2500, 1), (2000, 1500, 0)}


def test_a_slide_without_bounds_is_as_before(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    path = Path(shutil.copyfile(rendered[0].path, tmp_path / "a.svs"))
    folder = tmp_path / "drawn"
    write(folder, square(500, 0, 500))
    notes: list[str] = []
    found = [labelled(path, folder, notes.append, annotations_origin=origin) for origin in ("bounds", "level0")]
    assert found == [{(500, 0, 1)}] * 2
    assert notes == []


def test_polygons_outside_the_slide_are_told(slide: Slide, tmp_path: Path) -> None:
    path = write(tmp_path / "drawn", square(5500, 0, 1000))  # half of it lies beyond 8000
    assert "outside the slide" not in annotations_of(path, slide)[1]
    path = write(tmp_path / "drawn", square(5600, 0, 1000))
    assert "warning: 60% of the area annotated in a.geojson lies outside the slide" in annotations_of(path, slide)[1]
    assert "try annotations_origin=level0" in annotations_of(path, slide)[1]
    assert annotations_of(path, slide, origin="level0")[1] == ""


@pytest.mark.parametrize(("on_tissue", "told"), [((1, 0), False), ((1, 0, 0), True), ((1, 1), False), ((), False)])
def test_labels_beyond_the_tissue_are_told(slide: Slide, on_tissue: tuple[int, ...], told: bool) -> None:
    found = beyond_the_tissue(slide, "bounds", np.array(on_tissue, bool))
    assert bool(found) == told
    if told:
        assert found.startswith("warning: 67% of the 3 tiles that the annotations label are not on tissue")


def test_a_list_of_slides_tells_it(scn: Path, tmp_path: Path) -> None:
    """One of three labelled tiles is on tissue, that at (4000, 4500)."""
    folder = tmp_path / "drawn"
    write(folder, square(4000, 4500, 500), square(3000, 3000, 500), square(2000, 2500, 500))
    notes: list[str] = []
    how: Any = {"annotations": folder, "annotations_origin": "level0", "classes": ("tumour",)}
    table, _ = tiles_of_slides(SlideList((scn,)), TileRecipe(500, tissue=0.9, **how), on_note=notes.append)
    assert (table.x.tolist(), table.y.tolist()) == ([4000], [4500])
    (note,) = notes
    assert note.startswith(f"{scn}: warning: 67% of the 3 tiles")
    assert note.endswith("try annotations_origin=bounds")


def test_moving_keeps_holes_and_names() -> None:
    from shapely import Polygon

    ring = Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(2, 2), (4, 2), (4, 4), (2, 4)]])
    moved = Annotations((ring,), ("a",)).moved(5, 7)
    assert moved.names == ("a",)
    assert moved.polygons[0].bounds == (5, 7, 15, 17)
    assert moved.polygons[0].area == 96
    assert moved.polygons[0].interiors[0].bounds == (7, 9, 9, 11)
    assert Annotations((), ()).moved(1, 2) == Annotations((), ())


def test_a_mask_shows_the_bounds(slide: Slide, tmp_path: Path) -> None:
    """Its upper left quarter is tissue; a mask of the whole slide needs the other origin."""
    pixels = np.zeros((370, 290), np.uint8)
    pixels[:185, :145] = 255
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    mask = mask_from_png(path, slide)
    assert (mask.scale, mask.origin) == ((10.0, 10.0), (2000.0, 1500.0))
    shares = mask.shares([2000, 2950, 3450, 0, 1900], [1500, 1500, 1500, 0, 1500], 500, 500)
    np.testing.assert_allclose(shares, [1, 1, 0, 0, 0.8], atol=1e-6)
    with pytest.raises(ArgumentError, match=r"290 x 370 pixels and .*: a mask shows the whole slide"):
        mask_from_png(path, slide, origin="level0")
    Image.fromarray(np.full((700, 800), 255, np.uint8)).save(path)
    with pytest.raises(ArgumentError, match=r"shows the slide's bounds \(2900 x 3700 pixels\).*'level0'"):
        mask_from_png(path, slide)
    assert mask_from_png(path, slide, origin="level0").origin == (0, 0)


def test_a_mask_drawn_in_qupath(slide: Slide, tmp_path: Path) -> None:
    path = write(tmp_path / "drawn", square(500, 1000, 500))
    for origin, x, y in (("bounds", 2500, 2500), ("level0", 500, 1000)):
        mask = mask_from_geojson(path, slide, origin=origin)  # type: ignore[arg-type]
        shares = mask.shares([x, x - 500], y, 500, 500)
        np.testing.assert_allclose(shares, [1, 0], atol=0.02)


def test_the_overview_draws_a_mask_where_it_lies() -> None:
    """The outline of a mask at an origin, against the same tissue in a mask of the whole slide."""
    whole = np.zeros((50, 80), bool)
    whole[20:40, 30:60] = True
    part = whole[15:45, 25:70]
    masks = [TissueMask(whole, (100.0, 100.0), "picture"), TissueMask(part, (100.0, 100.0), "picture", (2500, 1500))]
    thumbnail = np.full((500, 800, 3), 255, np.uint8)
    pictures = [
        overview_picture(
            thumbnail, slide_size=(8000, 5000), x=[], y=[], size=[], mask=mask, title="a", details="b", mpp=None
        )
        for mask in masks
    ]
    assert pictures[0] == pictures[1]


def test_a_job_says_which_origin_it_took(scn: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder, out = tmp_path / "drawn", tmp_path / "out"
    write(folder, square(500, 1000, 500))
    options = ["--tile-size", 500, "--tissue", 0, "--workers", 0, "--classes", "tumour", "--annotations", folder]
    code, told, _ = run("tile", scn, "--out", out, *options)
    assert code == 0
    assert "annotations begin at the bounds (2000, 1500)" in " ".join(told.split())
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["annotations_origin"] == "bounds"
    assert "begin at the bounds" in report["slides"][0]["reason"]
    code, _, err = run("tile", scn, "--out", out, *options, "--annotations-origin", "level0", "--resume")
    assert code != 0
    assert "annotations_origin" in err


@pytest.mark.parametrize(("origin", "place"), [("bounds", (4000, 4000)), ("level0", (2000, 2500))])
def test_a_job_takes_polygons_for_tissue(scn: Path, origin: Any, place: tuple[int, int], tmp_path: Path) -> None:
    from cellmix_dali.shards import open_tiles

    folder = tmp_path / "drawn"
    write(folder, square(2000, 2500, 500))
    settings = TilingSettings(tile_size=500, tissue=0.9, annotations=folder, annotations_origin=origin)
    tile_slides([scn], tmp_path / "out", settings, workers=0)
    table = open_tiles(tmp_path / "out")
    assert list(zip(table.x.tolist(), table.y.tolist(), strict=True)) == [place]
