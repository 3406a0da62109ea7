"""Lists of slides, tile tables of collections, and labels of tiles from files."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellmix_dali import TileRecipe, TileTable, grid_tiles, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.synthetic import CLASSES, write_slide
from cellmix_dali.tables.grids import tissue_shares
from cellmix_dali.tables.slide_list import SlideList, read_slide_list, tiles_of_slides, with_label_column


@pytest.fixture
def folder(tmp_path):
    """A folder with files that stand for slides."""
    (tmp_path / "in").mkdir()
    for name in ("a.svs", "b.svs", "in/c.svs"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.fixture
def written(folder):
    """Write a list and read it."""

    def run(text, **how):
        (folder / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_slide_list(folder / "list.csv", **how)

    return run


def test_paths_start_at_the_list(written, folder):
    found = written(f"slide\na.svs\n{folder / 'b.svs'}\nin/c.svs\n")
    assert found.slides == (folder / "a.svs", folder / "b.svs", folder / "in/c.svs")
    assert (found.labels, found.classes, found.mpp) == (None, None, None)
    assert len(found) == 3


def test_labels_and_mpp(written):
    found = written("mpp,label,patient,slide\n,tumour,7,a.svs\n0.25,stroma,8,b.svs\n 0.5 , tumour ,9, in/c.svs\n")
    assert found.classes == ("stroma", "tumour")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.labels.dtype == np.int32
    assert math.isnan(found.mpp[0])
    assert found.mpp[1:].tolist() == [0.25, 0.5]


def test_order_of_classes(written):
    text = "slide,label\na.svs,tumour\nb.svs,stroma\n"
    assert written(text, classes=["tumour", "fat", "stroma"]).labels.tolist() == [0, 2]
    with pytest.raises(ArgumentError, match=r"line 3: Unknown class 'stroma'\. Did you mean 'stromal'"):
        written(text, classes=["tumour", "stromal"])
    with pytest.raises(ArgumentError, match="different class names"):
        written(text, classes=["tumour", "tumour"])


def test_whole_numbers_are_indices(written):
    found = written("slide,label\na.svs,2\nb.svs,0\n")
    assert found.labels.tolist() == [2, 0]
    assert found.classes == ("0", "1", "2")
    assert written("slide,label\na.svs,2\nb.svs,0\n", classes=["x", "y", "z"]).labels.tolist() == [2, 0]
    assert written("slide,label\na.svs,3\nb.svs,5\n", classes=["5", "3"]).labels.tolist() == [1, 0]
    with pytest.raises(ArgumentError, match="line 2: Unknown class '2'"):
        written("slide,label\na.svs,2\nb.svs,0\n", classes=["x", "y"])
    with pytest.raises(ArgumentError, match=r"line 3: 20260101 .*not a class index"):
        written("slide,label\na.svs,0\nb.svs,20260101\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slides,label\na.svs,1\n", r"no column 'slide' \(it has: 'slides', 'label'\)\. Rename its column 'slides'"),
        ("path\na.svs\n", "no column 'slide'"),
        ("slide;label\na.svs;1\n", "separated by commas"),
        ("slide,Label\na.svs,1\n", "Rename its column 'Label' to 'label'"),
        ("slide, mpp\na.svs,1\n", "Rename its column ' mpp' to 'mpp'"),
        ("slide\n", "no rows"),
        ("", "cannot be read"),
        (b"slide\n\xff\xfe.svs\n", "cannot be read"),
        ("slide,label\na.svs,1\nb.svs\n", "cannot be read: .*Expected 2 columns, got 1"),
        ("slide,label\na.svs,x\n\nb.svs,\n", "line 4: column 'label' is empty"),
        ("slide,label\na.svs,1\n,1\n", "line 3: column 'slide' is empty"),
        ("slide,mpp\na.svs,0.5\nb.svs,half\n", "line 3: mpp is 'half'"),
        ("slide,mpp\na.svs,0.00499\n", "line 2: mpp is '0.00499'"),
        ("slide,mpp\na.svs,nan\n", "line 2: mpp is 'nan'"),
        ("slide\na.svs\nb.svs\nin/../a.svs\n", r"line 4: .*already in .*list\.csv, line 2"),
    ],
)
def test_what_cannot_be_used_is_named(written, text, message):
    with pytest.raises(ArgumentError, match=message):
        written(text)


def test_slides_that_are_not_there(written, folder):
    names = [f"gone-{number}.svs" for number in range(7)]
    text = "\n".join(["slide", "a.svs", *names])
    with pytest.raises(SlideError, match="7 of the 8 slides") as caught:
        written(text)
    assert all(str(folder / name) in str(caught.value) for name in names[:5])
    assert names[5] not in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert len(written(text, check_files=False)) == 8
    with pytest.raises(ArgumentError, match="no file at"):
        read_slide_list(folder / "other.csv")


@pytest.mark.parametrize("count", [1, 5, 6])
def test_as_many_missing_slides_are_named_as_fit(written, folder, count):
    names = [f"gone-{number}.svs" for number in range(count)]
    with pytest.raises(SlideError, match=f"{count} of the {count + 1} slides") as caught:
        written("\n".join(["slide", "a.svs", *names]))
    more = " and 1 more" if count == 6 else ""
    assert f"are not there: {', '.join(str(folder / name) for name in names[:5])}{more}. Correct" in str(caught.value)


def test_a_list_that_does_not_fit_itself():
    with pytest.raises(ArgumentError, match="2 slides and 1 mpp"):
        SlideList((Path("a"), Path("b")), mpp=np.array([0.5]))
    with pytest.raises(ArgumentError, match="there are 2 classes"):
        SlideList((Path("a"),), np.array([2], np.int32), ("x", "y"))


@pytest.fixture
def collection(rendered):
    return SlideList(tuple(slide.path for slide in rendered), np.array([1, 0], np.int32), ("x", "y"))


def test_tiles_of_a_collection(collection, rendered):
    calls = []
    table, faults = tiles_of_slides(
        collection, TileRecipe(128, mpp=0.5, tissue=0.3), progress=lambda *at: calls.append(at)
    )
    assert faults == []
    assert calls == [(1, 2), (2, 2)]
    expected, labels = [], []
    for slide, label in zip(rendered, (1, 0), strict=True):
        with open_slide(slide.path) as opened:
            grid = grid_tiles(opened, 128)
            expected.append(grid.select(tissue_shares(opened, grid) >= 0.3))
            labels += [label] * len(expected[-1])
    whole = TileTable.concat(expected)
    assert 0 < len(whole) < 128
    assert [table.describe(row) for row in range(len(table))] == [whole.describe(row) for row in range(len(whole))]
    assert table.label.tolist() == labels
    every, _ = tiles_of_slides(collection, TileRecipe(128, mpp=0.5, tissue=0, overlap=64))
    assert len(every) == 2 * 15 * 15


def test_annotations_are_met_in_pixels_of_level_0(collection, rendered):
    fine, _ = tiles_of_slides(
        collection,
        TileRecipe(256, tissue=0, annotations=rendered[0].annotations.parent, classes=CLASSES, min_share=0.6),
    )
    # At 1 mpp one slide is read at level 1, the other at level 0 and shrunk: the same places, the same labels.
    coarse, _ = tiles_of_slides(
        collection,
        TileRecipe(128, mpp=1.0, tissue=0, annotations=rendered[0].annotations.parent, classes=CLASSES, min_share=0.6),
    )
    assert set(zip(coarse.slide.tolist(), coarse.level.tolist(), coarse.size.tolist(), strict=True)) == {
        (0, 0, 256),
        (1, 1, 128),
    }
    scale = 256 // coarse.size
    assert (coarse.x * scale).tolist() == fine.x.tolist()
    assert (coarse.y * scale).tolist() == fine.y.tolist()
    assert coarse.label.tolist() == fine.label.tolist()
    assert set(fine.label) == {0, 1}
    labels = []
    for slide in rendered:
        with open_slide(slide.path) as opened:
            grid = grid_tiles(opened, 256)
        of = read_geojson(slide.annotations).label_tiles(grid.x, grid.y, 256, 256, CLASSES, min_share=0.6)
        labels += of[of >= 0].tolist()
    assert fine.label.tolist() == labels
    assert len(fine) < 32


def test_annotations_need_classes_and_their_own_files(collection, rendered, tmp_path):
    folder = rendered[0].annotations.parent
    bare = SlideList(collection.slides)
    with pytest.raises(ArgumentError, match="has no labels: give annotations, or the same classes to read_slide_list"):
        tiles_of_slides(bare, TileRecipe(256, classes=CLASSES))
    with pytest.raises(ArgumentError, match=r"has the classes \['x', 'y'\]"):
        tiles_of_slides(collection, TileRecipe(256, classes=("y", "x")))
    shutil.copy(rendered[1].annotations, tmp_path / f"{rendered[1].path.name}.geojson")
    with pytest.raises(ArgumentError, match=rf"no annotations for {rendered[0].path} in {tmp_path}"):
        tiles_of_slides(bare, TileRecipe(256, annotations=tmp_path, classes=CLASSES))
    table, faults = tiles_of_slides(
        bare, TileRecipe(256, tissue=0, annotations=tmp_path, classes=CLASSES), on_error="skip"
    )
    assert table.slides == (str(rendered[1].path),)
    assert [fault.slide for fault in faults] == [rendered[0].path]
    with pytest.raises(ArgumentError, match=r"slide-1\.geojson: Unknown annotation class 'tumor'.*'tumour'"):
        tiles_of_slides(bare, TileRecipe(256, annotations=folder, classes=["tumor"]))
    twin = tmp_path / rendered[0].path.name
    shutil.copy(rendered[0].path, twin)
    with pytest.raises(ArgumentError, match=r"slide-1\.svs and .* would share .*slide-1\.geojson"):
        tiles_of_slides(SlideList((rendered[0].path, twin)), TileRecipe(256, annotations=folder, classes=CLASSES))


def test_a_bad_slide_is_left_out_or_stops(collection, tmp_path):
    broken = tmp_path / "broken.svs"
    broken.write_bytes(collection.slides[0].read_bytes()[:5000])
    slides = SlideList((tmp_path / "gone.svs", collection.slides[0], broken))
    with pytest.raises(SlideError, match="gone"):
        tiles_of_slides(slides, TileRecipe(256))
    table, faults = tiles_of_slides(slides, TileRecipe(256, tissue=0), on_error="skip")
    assert table.slides == (str(collection.slides[0]),)
    assert [fault.slide for fault in faults] == [tmp_path / "gone.svs", broken]
    assert all(str(fault.slide) in fault.reason for fault in faults)
    with pytest.raises(ArgumentError, match=r"None of the 2 slides gives a tile\. There is no slide at"):
        tiles_of_slides(SlideList((slides.slides[0], broken)), TileRecipe(256), on_error="skip")
    for count in (1, 3, 4):
        gone = tuple(tmp_path / f"gone-{number}.svs" for number in range(count))
        with pytest.raises(ArgumentError, match=f"None of the {count} slides gives a tile") as caught:
            tiles_of_slides(SlideList(gone), TileRecipe(256), on_error="skip")
        assert [str(path) in str(caught.value) for path in gone] == [True, True, True, False][:count]


def test_progress_is_told_slide_by_slide(collection, tmp_path):
    slides = SlideList((tmp_path / "gone.svs", *collection.slides))
    told = []
    recipe = TileRecipe(256, tissue=0)
    tiles_of_slides(slides, recipe, on_error="skip", progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_slide_without_tissue_is_told_but_is_no_error(collection, tmp_path):
    glass = tmp_path / "glass.svs"
    write_slide(glass, np.full((600, 600, 3), 245, np.uint8))
    table, faults = tiles_of_slides(SlideList((glass, collection.slides[0])), TileRecipe(256, tissue=0.3))
    assert table.slides == (str(collection.slides[0]),)
    assert [fault.slide for fault in faults] == [glass]
    assert "0.3 of tissue" in faults[0].reason


def test_whose_mpp_counts(collection):
    slides = SlideList(collection.slides, mpp=np.array([np.nan, 1.0]))
    table, _ = tiles_of_slides(slides, TileRecipe(100, mpp=1.0, mpp_override=0.25, tissue=0))
    assert set(zip(table.slide.tolist(), table.level.tolist(), table.size.tolist(), strict=True)) == {
        (0, 1, 100),  # the override: 0.25 at level 0, 1.0 at level 1 of a pyramid in steps of 4
        (1, 0, 100),  # the list's own value
    }
    with pytest.raises(ArgumentError, match=r"slide-1\.svs has mpp 0\.5, coarser than the wanted 0\.3"):
        tiles_of_slides(collection, TileRecipe(100, mpp=0.3))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"on_error": "ignore"}, "Unknown on_error"),
        ({"tissue": 50}, "tissue=50"),
        ({"mpp": 1, "level": 0}, "give only one"),
        ({"overlap": 256}, "overlap=256"),
        ({"edge": "cut"}, "Unknown edge"),
        ({"level": -1}, "level=-1"),
        ({"mpp": 0.0}, "mpp=0"),
        ({"magnification": -20}, "magnification=-20"),
        ({"mpp_override": 0.001}, "mpp_override=0.001"),
        ({"min_share": 1.01}, "min_share=1.01"),
        ({"tissue": -0.01}, "tissue=-0.01"),
        ({"tissue_method": "x"}, "Unknown tissue method|There is no"),
    ],
)
def test_bad_arguments_are_never_the_slides_fault(collection, how, message):
    of_recipe = {name: value for name, value in how.items() if name != "on_error"}
    with pytest.raises(ArgumentError, match=message) as caught:
        tiles_of_slides(collection, TileRecipe(256, **of_recipe), on_error=how.get("on_error", "skip"))
    assert "None of the" not in str(caught.value)
    with pytest.raises(ArgumentError, match="list of slides is empty"):
        tiles_of_slides(SlideList(()), TileRecipe(256))


def csv_of(table, path, label, *, level=True, rows=None):
    names = ["slide", "x", "y", "label"] + ["level"] * level
    lines = [",".join(names)]
    for row in range(len(table)) if rows is None else rows:
        cells = [table.slides[table.slide[row]], table.x[row], table.y[row], label(row)] + [table.level[row]] * level
        lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_of_tiles_are_joined_whatever_the_order(table, tmp_path):
    rows = np.random.default_rng(0).permutation(len(table))
    path = csv_of(table, tmp_path / "labels.csv", lambda row: "abc"[row % 3], rows=rows)
    labelled = with_label_column(table, path)
    assert labelled.label.tolist() == [row % 3 for row in range(len(table))]
    assert labelled.x.tolist() == table.x.tolist()
    assert with_label_column(table, path, classes=["c", "b", "a"]).label.tolist() == [
        2 - row % 3 for row in range(len(table))
    ]


def test_tiles_that_the_file_does_not_name(table, tmp_path):
    path = csv_of(table, tmp_path / "labels.csv", lambda row: row, rows=range(5, 20))
    with pytest.raises(ArgumentError, match=r"17 of the 32 tiles .* the first is row 0: .*unmatched='drop'"):
        with_label_column(table, path)
    kept = with_label_column(table, path, unmatched="drop")
    assert kept.label.tolist() == list(range(5, 20))
    assert kept.describe(0) == table.describe(5)
    # Rows for tiles that are not in the table do no harm.
    assert with_label_column(table.select(np.arange(7, 9)), path).label.tolist() == [7, 8]
    none = csv_of(table, tmp_path / "none.csv", lambda row: row, rows=range(5))
    for unmatched in ("raise", "drop"):
        with pytest.raises(ArgumentError, match="None of the 27 tiles"):
            with_label_column(table.select(np.arange(5, 32)), none, unmatched=unmatched)


def test_slides_by_bare_name_and_by_relative_path(table, tmp_path):
    first = Path(table.slides[0])
    for name in (first.name, os.path.relpath(first, tmp_path)):
        (tmp_path / "labels.csv").write_text(f"slide,x,y,label\n{name},256,0,4\nother.svs,256,0,9\nthird.svs,256,0,8\n")
        labelled = with_label_column(table, tmp_path / "labels.csv", unmatched="drop")
        assert labelled.label.tolist() == [4]
        assert labelled.describe(0) == table.describe(1)


def test_levels_are_told_apart(rendered, tmp_path):
    with open_slide(rendered[0].path) as slide:
        both = TileTable.concat([grid_tiles(slide, 256), grid_tiles(slide, 256, level=1)])
    path = csv_of(both, tmp_path / "labels.csv", lambda row: row)
    assert with_label_column(both, path).label.tolist() == list(range(len(both)))
    path = csv_of(both, tmp_path / "labels.csv", lambda row: row, level=False, rows=range(16))
    with pytest.raises(ArgumentError, match=r"no column 'level'.*several tiles at .*slide-1\.svs, x 0, y 0"):
        with_label_column(both, path)
    assert with_label_column(both.select(np.arange(16)), path).label.tolist() == list(range(16))


def test_label_files_that_cannot_be_used(table, tmp_path):
    path = csv_of(table, tmp_path / "labels.csv", lambda _: 0, rows=[*range(32), 3])
    with pytest.raises(ArgumentError, match=r"names a tile twice: .*slide-1\.svs, level 0, x 768, y 0"):
        with_label_column(table, path)
    path.write_text("slide,x,y,label\na.svs,left,0,1\n")
    with pytest.raises(ArgumentError, match=r"cannot be read: .*Row #2: .*'left'"):
        with_label_column(table, path)
    path.write_text("slide,x,y,label\na.svs,,0,1\n")
    with pytest.raises(ArgumentError, match="line 2: column 'x' is empty"):
        with_label_column(table, path)
    path.write_text("slide,x,y,labels\na.svs,0,0,1\n")
    with pytest.raises(ArgumentError, match="Rename its column 'labels' to 'label'"):
        with_label_column(table, path)
    with pytest.raises(ArgumentError, match="Unknown unmatched"):
        with_label_column(table, path, unmatched="skip")


def parquet(table, path, label):
    slides = [table.slides[number] for number in table.slide]
    pq.write_table(pa.table({"slide": slides, "level": table.level, "x": table.x, "y": table.y, "label": label}), path)
    return path


def test_labels_from_parquet_hard_and_soft(table, tmp_path):
    path = tmp_path / "labels.parquet"
    hard = with_label_column(table, parquet(table, path, pa.array(np.arange(32, dtype=np.int16))))
    assert hard.label.tolist() == list(range(32))
    names = with_label_column(table, parquet(table, path, pa.array(["b", "a"] * 16)))
    assert names.label.tolist() == [1, 0] * 16
    shares = np.random.default_rng(1).dirichlet([1, 1, 1], 32)
    soft = with_label_column(table, parquet(table, path, pa.array(shares.tolist())))
    assert np.abs(soft.label - shares).max() < 1e-6
    shares[9] = 0.5
    with pytest.raises(ArgumentError, match=r"row 9: .*add up to 1"):
        with_label_column(table, parquet(table, path, pa.array(shares.tolist())))
    with pytest.raises(ArgumentError, match=r"\[3\] shares, and there are 2 classes"):
        with_label_column(table, path, classes=["a", "b"])
    with pytest.raises(ArgumentError, match="holds double"):
        with_label_column(table, parquet(table, path, pa.array(np.arange(32.0))))
    path.write_bytes(b"no parquet")
    with pytest.raises(ArgumentError, match="cannot be read"):
        with_label_column(table, path)
