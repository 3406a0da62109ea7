"""Paths that are not files of a name that one can write: refused at once, each costs one slide."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileTable, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import CellMixDaliError, SlideError
from cellmix_dali.pipelines import train_image_loader, unreadable_images
from cellmix_dali.shards import open_tiles
from cellmix_dali.storage.paths import home_expanded, path_problem, shown
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import SlideList, TileRecipe, read_slide_list, tiles_of_slides
from cellmix_dali.tables.coordinates import read_h5
from cellmix_dali.tiling.settings import TilingSettings
from cellmix_dali.tiling.slides import find_slides
from cellmix_dali.tissue.slide_mask import mask_from_png
from cellmix_dali.training.images import image_folders, read_folds

Make = Callable[[Path], None]
_LATIN1 = os.fsdecode(b"caf\xe9.svs")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A pipe that is opened waits for ever: then the test fails, and does not stand."""

    def stop(*_: Any) -> None:
        raise TimeoutError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


ODD: dict[str, tuple[Make, str]] = {
    "pipe": (os.mkfifo, "is a pipe, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "broken link": (lambda path: path.symlink_to("missing"), "is a link that leads nowhere (missing: No such file"),
    "circular link": (lambda path: path.symlink_to(path.name), "is a link that leads nowhere"),
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest) -> tuple[Make, str]:
    return ODD[request.param]


@pytest.mark.parametrize(
    "read",
    [
        open_slide,
        read_slide_list,
        read_geojson,
        read_folds,
        lambda path: TileTable.open(path.with_suffix(".parquet")),
        lambda path: TileTable.open(path.with_suffix(".arrow")),
    ],
    ids=["slide", "list", "annotations", "folds", "parquet", "arrow"],
)
def test_it_is_refused_at_once(read: Callable[[Path], Any], odd: tuple[Make, str], tmp_path: Path) -> None:
    make, words = odd
    for suffix in (".csv", ".parquet", ".arrow"):
        make(tmp_path / f"a{suffix}")
    with pytest.raises(CellMixDaliError) as error:
        read(tmp_path / "a.csv")
    assert words in str(error.value)
    assert str(tmp_path / "a.") in str(error.value)


def test_masks_coordinates_and_images(odd: tuple[Make, str], rendered: list[RenderedSlide], tmp_path: Path) -> None:
    make, words = odd
    path = tmp_path / "a.png"
    make(path)
    with open_slide(rendered[0].path) as slide, pytest.raises(CellMixDaliError) as error:
        mask_from_png(path, slide)
    assert words in str(error.value)
    with open_slide(rendered[0].path) as slide, pytest.raises(CellMixDaliError) as error:
        read_h5(path, slide, tile_size=256)
    assert words in str(error.value)
    assert words in unreadable_images([str(path)])[0]


def test_what_is_a_file_is_none_of_them(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    link = tmp_path / "link.svs"
    link.symlink_to(rendered[0].path)
    assert [path_problem(path) for path in (link, tmp_path, tmp_path / "missing.svs")] == [None, None, None]
    assert "zero byte" in str(path_problem("a\0b"))
    assert shown(_LATIN1) == "caf\\xe9.svs"
    assert shown("café.svs") == "café.svs"


def test_a_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, whom nothing is refused."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert "Permission denied. Check that you may read it" in str(path_problem(tmp_path / "a.svs"))


@pytest.mark.parametrize("name", [f"{'a' * 300}.svs", f"{'b/' * 2100}c.svs"], ids=["name", "path"])
def test_names_and_paths_that_are_too_long(name: str, tmp_path: Path) -> None:
    """The system says so of every look at them, also whether they are links."""
    (tmp_path / "list.csv").write_text(f"slide\n{name}\n")
    (tmp_path / "folds.csv").write_text(f"path,class,fold\n{name},a,0\n{name},b,1\n")
    readers: list[Callable[[], object]] = [
        lambda: open_slide(tmp_path / name),
        lambda: read_slide_list(tmp_path / "list.csv"),
        lambda: read_folds(tmp_path / "folds.csv"),
        lambda: read_geojson(tmp_path / name),
        lambda: TileTable.open(tmp_path / f"{name}.parquet"),
        lambda: open_tiles(tmp_path / name),
        lambda: image_folders(tmp_path / name),
        lambda: train_image_loader([str(tmp_path / name)] * 4, [0] * 4, num_classes=2, image_size=16, batch_size=2),
        lambda: find_slides([tmp_path / name], TilingSettings(tile_size=256)),
        lambda: TilingSettings(tile_size=256, annotations=str(tmp_path / name), classes=("a",)),
    ]
    for read in readers:
        with pytest.raises(CellMixDaliError):
            read()


def test_the_home_of_an_unknown_user(tmp_path: Path) -> None:
    """The name stays as it is: a file may be called so."""
    (tmp_path / "list.csv").write_text("slide\n~nobody-of-this-name/a.svs\n")
    with pytest.raises(SlideError, match=r"are not there: .*/~nobody-of-this-name/a\.svs"):
        read_slide_list(tmp_path / "list.csv")
    assert home_expanded("~/a.svs") == Path.home() / "a.svs"


# --------------------------------------------------------------------------------------------------- one slide of many


@pytest.fixture
def collection(rendered: list[RenderedSlide], tmp_path: Path) -> Path:
    """A folder with one good slide, all odd ones, and one with a name that is not UTF-8."""
    folder = tmp_path / "slides"
    folder.mkdir()
    shutil.copyfile(rendered[0].path, folder / "good.svs")
    shutil.copyfile(rendered[0].path, folder / _LATIN1)
    for name, (make, _) in ODD.items():
        make(folder / f"{name}.svs")
    return folder


@pytest.mark.parametrize("named", ["folder", "pattern", "files"])
def test_each_costs_one_slide_of_a_job(
    collection: Path, named: str, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    sources = {"folder": [collection], "pattern": [collection / "*.svs"], "files": sorted(collection.iterdir())}[named]
    options = ["--tile-size", 256, "--workers", 0, "--skip-bad-slides"]
    code, out, _ = run("tile", *sources, "--out", tmp_path / "out", *options)
    assert code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {Path(slide["slide"]).name: slide for slide in report["slides"]}
    assert {name for name, slide in found.items() if slide["status"] == "done"} == {"good.svs"}
    assert found["good.svs"]["tiles"] > 0
    for name, (_, words) in ODD.items():
        assert words in found[f"{name}.svs"]["reason"]
    assert "Its name is not UTF-8: rename the file" in found["caf\\xe9.svs"]["reason"]
    assert "5 of 6 slides failed" in out
    assert "is a pipe, not a file" in (tmp_path / "out" / "report.html").read_text()


def test_each_costs_one_slide_of_a_list(collection: Path, tmp_path: Path) -> None:
    slides = [path for path in sorted(collection.iterdir()) if path.name != _LATIN1]
    table, faults = tiles_of_slides(SlideList(tuple(slides)), TileRecipe(256, tissue=0), on_error="skip")
    assert [Path(path).name for path in table.slides] == ["good.svs"]
    assert {fault.slide.stem for fault in faults} == set(ODD)
    listed = tmp_path / "list.csv"
    listed.write_text("slide\n" + "".join(f"{path}\n" for path in slides))
    assert len(read_slide_list(listed, check_files=False)) == len(slides)
    with pytest.raises(CellMixDaliError, match=r"A slide of .*list\.csv cannot be read: .*broken link\.svs is a link"):
        read_slide_list(listed)
    assert np.unique(table.size).tolist() == [256]
