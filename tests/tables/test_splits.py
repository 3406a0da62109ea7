"""Who is trained on and who is tested on: patients, given splits, folds, and classes that would vanish."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import SlideList, TileRecipe, read_slide_list, tiles_of_slides
from cellmix_dali.tables.splits import TileSplit, split_tiles


def tiles(labels: Sequence[int | Sequence[int]], **columns: Sequence[str | None]) -> TileTable:
    """A table of slides s0, s1, ...: of each, the tiles with these labels, and the columns' values."""
    each = [[of] * 3 if isinstance(of, int) else list(of) for of in labels]
    slide = [number for number, of in enumerate(each) for _ in of]
    table = TileTable.from_columns(
        [f"s{number}" for number in slide],
        x=np.arange(len(slide)),
        y=0,
        size=8,
        label=[label for of in each for label in of],
    )
    arrow = table.arrow
    for name, values in columns.items():
        arrow = arrow.append_column(name, pa.array([values[number] for number in slide]))
    return TileTable(arrow)


def sides(split: TileSplit) -> tuple[set[str], set[str]]:
    return set(split.train.slides), set(split.test.slides)


@pytest.mark.parametrize("column", ["patient", "group"])
@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides(column: str, seed: int) -> None:
    patients = [f"p{number // 3}" for number in range(30)]
    split = split_tiles(tiles([number // 3 % 2 for number in range(30)], **{column: patients}), 0.3, seed=seed)
    train, test = sides(split)
    assert len(train) + len(test) == 30
    assert {patients[int(name[1:])] for name in train} & {patients[int(name[1:])] for name in test} == set()
    assert len(test) == 12  # 2 of the 5 patients of each class
    assert f"12 of 30 slides held out (s{min(int(name[1:]) for name in test)}" in split.said
    assert f"4 of 10 {column}s" in split.said
    assert split.notes == ()


def test_patients_who_share_a_slide_go_together() -> None:
    table = tiles([0, 0, 1, 1])
    patient = ["a", "a", "b", "b", "b", "c"] + ["d"] * 3 + ["e"] * 3  # b is on s0's neighbour as well as c
    shared = TileTable(table.arrow.append_column("patient", pa.array(patient)))
    for seed in range(4):
        train, test = sides(split_tiles(shared, 0.5, seed=seed))
        assert train & test == set()


def test_a_given_split_is_used_as_it_stands() -> None:
    table = tiles([0, 1, 0, 1, 0, 1], split=["train", "train", "val", "val", "TEST", "Testing"])
    split = split_tiles(table, seed=3)
    assert sides(split) == ({"s0", "s1"}, {"s4", "s5"})
    assert "by the column 'split'" in split.said
    assert split.validation is not None
    assert {split.validation.slides[number] for number in split.validation.slide} == {"s2", "s3"}
    table = tiles([0, 1, 0, 1], split=["train", "train", "val", "validation"])
    split = split_tiles(table)
    assert sides(split) == ({"s0", "s1"}, {"s2", "s3"})
    assert "val, as there is no test" in split.said
    assert split.validation is None


def test_a_fold_is_tested_on() -> None:
    table = tiles([0, 1] * 3, fold=["10", "10", "2", "2", "b", "b"])
    assert sides(split_tiles(table)) == ({"s0", "s1", "s4", "s5"}, {"s2", "s3"})
    assert sides(split_tiles(table, fold="b")) == ({"s0", "s1", "s2", "s3"}, {"s4", "s5"})
    with pytest.raises(ArgumentError, match=r"no fold '7' among the tiles: they have 2, 10, b"):
        split_tiles(table, fold="7")
    with pytest.raises(ArgumentError, match="no column 'fold'"):
        split_tiles(tiles([0, 1]), fold="2")
    both = tiles([0, 1, 0, 1], fold=["0", "0", "1", "1"], split=["train", "train", "test", "test"])
    assert sides(split_tiles(both))[1] == {"s2", "s3"}
    assert sides(split_tiles(both, fold="0"))[1] == {"s0", "s1"}


def test_a_patient_or_slide_on_both_sides_of_a_table_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"patient 'a' lies on two sides of the column 'split': 'train' in s0"):
        split_tiles(tiles([0, 1, 0], split=["train", "train", "test"], patient=["a", "b", "a"]))
    with pytest.raises(ArgumentError, match=r"patient 'a' lies on two sides of the column 'fold'"):
        split_tiles(tiles([0, 1, 0], fold=["0", "0", "1"], patient=["a", "b", "a"]))
    table = tiles([0, 1])
    torn = TileTable(table.arrow.append_column("split", pa.array(["train", "test", "train"] + ["test"] * 3)))
    with pytest.raises(ArgumentError, match="slide 's0' lies on two sides"):
        split_tiles(torn)
    with pytest.raises(ArgumentError, match="has 3 empty cells; the first is of s1"):
        split_tiles(tiles([0, 1], patient=["a", None]))
    with pytest.raises(ArgumentError, match="All tiles are of one patient"):
        split_tiles(tiles([0, 1], patient=["a", "a"]))
    with pytest.raises(ArgumentError, match=r"no tile to test on: .*split train\. Give some slides split='test'"):
        split_tiles(tiles([0, 1], split=["train", "train"]))


def test_a_class_that_vanishes_from_the_training_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"No training tile is of class y: .*Add slides of it"):
        split_tiles(tiles([0, 0, 1], split=["train", "test", "test"]), classes=["x", "y"])
    for seed in range(4):  # one slide a class: whichever is held out
        with pytest.raises(ArgumentError, match="No training tile is of class"):
            split_tiles(tiles([0, 1]), seed=seed)


def test_a_class_that_vanishes_from_the_test_is_said() -> None:
    for seed in range(4):
        split = split_tiles(tiles([0, 0, 0, 1], patient=list("abcd")), classes=["x", "y", "z"], seed=seed)
        assert "s3" in sides(split)[0]
        assert any("no test tile is of class y" in note and "add patients" in note for note in split.notes)
        assert any("no tile at all is of class z" in note for note in split.notes)


def test_a_draw_keeps_every_class_in_the_training_and_in_the_test_where_it_can() -> None:
    # Class 1 is the lesser part of two slides, which a draw by their main class knows nothing of.
    table = tiles([[0, 0, 0, 1], [0, 0, 0, 1], *[[0, 0, 0]] * 8])
    for seed in range(20):
        split = split_tiles(table, seed=seed)
        assert set(np.unique(split.train.label)) == set(np.unique(split.test.label)) == {0, 1}
        assert split.notes == ()
    table = tiles([[0, 0, 0, 1], *[[0, 0, 0]] * 4])
    for seed in range(20):
        assert set(np.unique(split_tiles(table, seed=seed).train.label)) == {0, 1}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    for name in "abcd":
        (tmp_path / f"{name}.svs").write_bytes(b"x")
    return tmp_path / "list.csv"


def test_the_columns_of_a_list_are_read(listed: Path) -> None:
    listed.write_text("slide,group,split,fold\na.svs, 007 ,Train,1\nb.svs,8,test,2\nc.svs,9,valid,3\n")
    found = read_slide_list(listed)
    assert found.patient == ("007", "8", "9")
    assert found.split == ("train", "test", "val")
    assert found.fold == ("1", "2", "3")
    listed.write_text("slide,group,patient\na.svs,control,1\nb.svs,control,2\n")
    assert read_slide_list(listed).patient == ("1", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "slide,patient,split\na.svs,p,train\nb.svs,q,test\n\nc.svs,p,test\n",
            r"patient 'p' lies on two sides of the column 'split': 'train' in .*list\.csv, line 2, and 'test' in "
            r".*list\.csv, line 5\.",
        ),
        ("slide,group,fold\na.svs,p,0\nb.svs,p,1\n", r"group 'p' lies on two sides of the column 'fold': .*line 3"),
        ("slide,patient\na.svs,p\nb.svs,\n", r"line 3: column 'patient' is empty\. .*the slide's own name"),
        ("slide,split\na.svs,train\nb.svs,tets\n", r"line 3: Unknown split 'tets'\. Did you mean 'test'"),
        ("slide,fold\na.svs,\n", "line 2: column 'fold' is empty"),
        ("slide,patients\na.svs,1\n", "Rename its column 'patients' to 'patient'"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused_with_its_lines(listed: Path, text: str, message: str) -> None:
    listed.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        read_slide_list(listed)


def test_a_list_made_in_python_is_checked_too() -> None:
    paths = (Path("a"), Path("b"))
    with pytest.raises(ArgumentError, match=r"patient 'p' lies on two sides .*in a, and 'test' in b"):
        SlideList(paths, patient=("p", "p"), split=("train", "test"))
    with pytest.raises(ArgumentError, match="Unknown split 'dev'"):
        SlideList(paths, split=("train", "dev"))
    with pytest.raises(ArgumentError, match="2 slides and 1 fold"):
        SlideList(paths, fold=("1",))


@pytest.mark.parametrize(("torn", "more"), [(1, ""), (2, " So do 1 more."), (3, " So do 2 more.")])
def test_one_patient_on_both_sides_is_named_and_the_others_counted(torn: int, more: str) -> None:
    paths = tuple(Path(f"{number}.svs") for number in range(2 * torn))
    patient = tuple(f"p{number // 2}" for number in range(2 * torn))
    with pytest.raises(ArgumentError, match="The patient 'p0' lies on two sides") as caught:
        SlideList(paths, patient=patient, split=("train", "test") * torn)
    assert f"and 'test' in 1.svs.{more} What is learned" in str(caught.value)


@pytest.mark.parametrize("count", [5, 6])
def test_five_slides_held_out_are_named(count: int) -> None:
    table = tiles([0] * 2 * count, split=["train", "test"] * count)
    said = split_tiles(table, 0.5).said
    names = [f"s{2 * number + 1}" for number in range(count)]
    assert ", ".join(names[:5]) in said
    assert (" and 1 more)" in said) == (count > 5)
    assert "s11" not in said


def test_classes_that_only_one_side_could_have() -> None:
    """Where all that is held out goes back to the training, another slide is held out in its place."""
    table = tiles([[0, 0, 1], [0, 0, 2], [0, 0, 0], [0, 0, 3]])
    for seed in range(12):
        split = split_tiles(table, 0.25, seed=seed)
        assert set(np.unique(split.train.label)) == {0, 1, 2, 3}
        assert sides(split)[1] == {"s2"}


def test_the_tile_table_carries_the_columns(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    paths = [Path(shutil.copyfile(rendered[0].path, tmp_path / f"{number}.svs")) for number in range(2)]
    slides = SlideList(
        tuple(paths), np.array([0, 1], np.int32), ("x", "y"), patient=("p", "q"), split=("train", "test")
    )
    table, _ = tiles_of_slides(slides, TileRecipe(256, tissue=0))
    table.save(tmp_path / "tiles.arrow")
    back = TileTable.open(tmp_path / "tiles.arrow")
    for name, values in (("patient", "pq"), ("split", ("train", "test"))):
        assert back.arrow[name].to_pylist() == [values[0]] * 16 + [values[1]] * 16
    assert "fold" not in back.arrow.column_names


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.1])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(ArgumentError, match="above 0 and below 1"):
        split_tiles(tiles([0, 1, 0, 1]), share)


def test_tables_that_cannot_be_divided_are_refused() -> None:
    plain = tiles([0, 1, 0, 1])
    shares = np.full((len(plain), 2), 0.5)
    bare = TileTable.from_columns("a.svs", x=[0, 1], y=0, size=8)
    for table, words in (
        (bare, "label them first"),
        (plain.with_labels(shares), "label them first"),
        (tiles([0, [0, 1]]).select(range(3)), "All tiles are of one slide: give at least two"),
        (tiles([0, 1, 0], split=["train", "test", "holdout"]), "holdout"),
        (tiles([0, 1], split=["train", "train"]), "no tile to test on"),
        (tiles([0, 1], split=["test", "test"]), "no tile to train on"),
        (tiles([0, 1], fold=["2", "2"]), "All tiles are of fold 2"),
    ):
        with pytest.raises(ArgumentError, match=words):
            split_tiles(table, 0.5)
    with pytest.raises(ArgumentError, match="fold"):
        split_tiles(plain, 0.5, fold="1")
    with pytest.raises(ArgumentError, match="There is no fold '3' among the tiles: they have 1, 2, 10"):
        split_tiles(tiles([0, 0, 0], fold=["10", "1", "2"]), 0.5, fold="3")


def test_folds_are_in_the_order_of_their_numbers() -> None:
    table = tiles([0, 0, 0, 0], fold=["10", "b", "2", "2"])
    for fold, test in ((None, {"s2", "s3"}), ("10", {"s0"}), ("b", {"s1"})):
        split = split_tiles(table, 0.5, fold=fold)
        assert sides(split)[1] == test
        assert sides(split)[0] == {"s0", "s1", "s2", "s3"} - test
