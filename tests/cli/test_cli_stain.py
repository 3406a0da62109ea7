"""`cellmix-dali stain`: what a user types, reads and gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cellmix_dali.collection import CollectionIndex
from cellmix_dali.stain import StainTable
from cellmix_dali.stain.methods import Macenko
from cellmix_dali.synthetic import RenderedSlide, render_slides

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stain(run: Run) -> Run:
    """Run `cellmix-dali stain` in this process."""
    return lambda *arguments: run("stain", *arguments, "--workers", 0)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[RenderedSlide]:
    return render_slides(tmp_path_factory.mktemp("slides"), count=2, side=512, seed=4)


def test_all_good(stain: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    out, folder = tmp_path / "new" / "stains.parquet", slides[0].path.parent
    asked = ("--parameter", "alpha=2", "--parameter", "beta=0.2", "--tiles", 3, "--pixels", 6000, "--seed", 3)
    code, said, err = stain(folder, "--out", out, *asked)
    assert (code, err) == (0, "")
    assert f"2 of 2 slides: {slides[1].path.name}, 6,000 pixels" in said
    assert f"2 of 2 slides fitted by macenko; written to {out}" in said.replace("\n", "")
    table = StainTable.open(out)
    assert table.method == Macenko(alpha=2, beta=0.2)
    assert (table.settings["tiles"], table.settings["seed"]) == (3, 3)
    assert stain(folder, "--out", out, *asked, "--resume")[0] == 0
    code, _, err = stain(folder, "--out", out, *asked)
    assert code == 2
    assert "--resume" in err
    index = tmp_path / "collection.index"
    other = "--method", "reinhard", "--overwrite", "--mpp", 2, "--tissue", 0.05, "--index", index
    assert stain(folder, "--out", out, *other)[0] == 0
    assert set(CollectionIndex(index)) == {str(slide.path) for slide in slides}
    again = StainTable.open(out)
    assert again.method_name == "reinhard"
    assert [row.mpp for row in again.rows] == pytest.approx([2, 2])
    assert again.settings["tissue"] == 0.05


def test_some_bad(stain: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.svs", tmp_path / "stains.parquet"
    bad.write_bytes(b"no slide")
    code, said, _ = stain(bad, slides[0].path, "--out", out, "--tiles", 2)
    assert code == 3
    assert said.count("bad.svs is not a slide") == 1
    assert "1 of 2 slides fitted" in said
    drawn = tmp_path / "drawn.png"
    code, said, _ = stain(
        *(bad, slides[0].path, "--out", out, "--tiles", 2, "--resume", "--skip-bad-slides", "--picture", drawn)
    )
    assert code == 0
    assert f"drawn to {drawn}" in said.replace("\n", "")
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert stain(bad, "--out", tmp_path / "none.parquet", "--skip-bad-slides")[0] == 3


def test_a_list_says_the_mpp(stain: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    listed = tmp_path / "slides.csv"
    listed.write_text(f"slide,mpp\n{slides[0].path},0.25\n{slides[1].path},\n")
    assert stain(listed, "--out", tmp_path / "a.parquet", "--mpp", 1, "--tiles", 2)[0] == 0
    code, _, err = stain(listed, "--out", tmp_path / "b.parquet", "--tiles", 2)
    assert code == 2
    assert "--mpp 0.5" in err
    assert stain(listed, "--out", tmp_path / "b.parquet", "--tiles", 2, "--mixed-resolutions")[0] == 0
    assert [row.mpp for row in StainTable.open(tmp_path / "b.parquet").rows] == pytest.approx([0.25, 0.5])


def test_annotations_say_where_tissue_is(stain: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    """Tissue is what a polygon covers: here a corner of 100 x 60 pixels, which one tile has."""
    outline = [[[0, 0], [100, 0], [100, 60], [0, 60], [0, 0]]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": outline}}
    (tmp_path / "slide-1.geojson").write_text(json.dumps([feature]))
    out = tmp_path / "stains.parquet"
    asked = ("--annotations", tmp_path, "--annotations-origin", "level0", "--method", "reinhard", "--tissue", 0.01)
    assert stain(slides[0].path, "--out", out, *asked)[0] == 0
    (row,) = StainTable.open(out).rows
    assert 0.8 * 6000 < row.pixels < 1.2 * 6000
    assert StainTable.open(out).settings["annotations_origin"] == "level0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "makenko"), "Did you mean 'macenko'"),
        (("--parameter", "alpha"), "give NAME=VALUE"),
        (("--parameter", "=2"), "give NAME=VALUE"),
        (("--parameter", "alpha=x"), "alpha='x'"),
        (("--parameter", "gamma=1"), "parameter of macenko 'gamma'"),
        (("--pixels", "10"), "pixels=10"),
        (("--resume", "--overwrite"), "not both"),
        (("--picture", "tiles.txt"), "kind of picture"),
    ],
)
def test_wrong_use(
    stain: Run, slides: list[RenderedSlide], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = stain(slides[0].path, "--out", tmp_path / "stains.parquet", *arguments)
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stains", "nothing.parquet"), "there is no file at"),
        (("--stain-target", "a.png"), "without stains"),
    ],
)
def test_tiling_takes_a_table_of_stains(
    run: Run, slides: list[RenderedSlide], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = run("tile", slides[0].path, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert words in err
