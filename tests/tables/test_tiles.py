"""The tile table: what it takes, what it refuses, and what opening one costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.tables import TileTable

SUFFIXES = [".arrow", ".feather", ".ipc", ".parquet", ".pq"]
MARK = b"cellmix_dali.checked_rows"


def columns(rows: int = 6, **others: Any) -> pa.Table:
    """A table as another program would make it."""
    values: dict[str, Any] = {
        "slide": [f"{'abc'[row * 3 // max(rows, 1)]}.svs" for row in range(rows)],
        "level": pa.array(np.zeros(rows, np.int32)),
        "x": pa.array(np.arange(rows, dtype=np.int64) * 10),
        "y": pa.array(np.arange(rows, dtype=np.int32) * 7),
        "size": pa.array(np.full(rows, 224, np.int16)),
        **others,
    }
    return pa.table({name: value for name, value in values.items() if value is not None})


def same(a: TileTable, b: TileTable) -> None:
    assert [a.slides[number] for number in a.slide] == [b.slides[number] for number in b.slide]
    for name in ("level", "x", "y", "size"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.label is None) == (b.label is None)
    if a.label is not None and b.label is not None:
        assert a.label.dtype == b.label.dtype
        np.testing.assert_array_equal(a.label, b.label)
    assert set(a.arrow.column_names) == set(b.arrow.column_names)
    for name in set(a.arrow.column_names) - {"slide", "label"}:
        assert a.arrow[name].to_pylist() == b.arrow[name].to_pylist()


LABELS: dict[str, Any] = {
    "none": None,
    "index": pa.array([0, 1, 2, 0, 1, 2], pa.int32()),
    "shares": pa.FixedSizeListArray.from_arrays(pa.array(np.tile(np.float32([0.25, 0.75]), 6)), 2),
}


# ---------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("slide", ["string", "large_string", "dictionary", "dictionary64", "chunked"])
def test_slide_column(slide: str) -> None:
    names = columns()["slide"].combine_chunks()
    column = {
        "string": names,
        "large_string": names.cast(pa.large_string()),
        "dictionary": names.dictionary_encode(),
        "dictionary64": names.dictionary_encode().cast(pa.dictionary(pa.int64(), pa.string())),
        # Two chunks, each with its own dictionary.
        "chunked": pa.chunked_array([names[:3].dictionary_encode(), names[3:].dictionary_encode()]),
    }[slide]
    table = TileTable(columns(slide=column))
    assert table.slides == ("a.svs", "b.svs", "c.svs")
    assert table.slide.dtype == np.int32
    assert table.slide.tolist() == [0, 0, 1, 1, 2, 2]
    assert table.describe(3) == "b.svs, level 0, x 30, y 21, size 224"


def test_columns_are_views_and_lie_in_memory_once() -> None:
    values = np.arange(6, dtype=np.int64)
    table = TileTable(columns(x=pa.array(values)))
    assert np.shares_memory(table.x, values)
    assert not table.x.flags.writeable
    joined = TileTable(pa.concat_tables([columns(), columns()]))
    for name in ("slide", "level", "x", "y", "size"):
        assert joined.arrow[name].num_chunks == 1
    assert np.shares_memory(joined.x, joined.arrow["x"].chunk(0).to_numpy())


@pytest.mark.parametrize("of", [pa.uint8(), pa.uint32(), pa.uint64(), pa.int16()])
def test_coordinates_can_be_subtracted(of: pa.DataType) -> None:
    table = TileTable(columns(x=pa.array([5, 0, 1, 2, 3, 4], of)))
    assert int(table.x[1] - table.x[0]) == -5


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"x": None}, "has no column 'x' .it has: slide, level, y, size.*Needed"),
        ({"x": pa.array([1, None, 2, None, 3, 4])}, "Column 'x' of the tile table has 2 empty cells"),
        ({"x": pa.array([1, 2, -3, 4, 5, 6])}, "'x' of the tile table holds -3 in row 2: too small"),
        ({"level": pa.array([0, 0, 0, 0, 0, -1])}, "'level' of the tile table holds -1 in row 5"),
        ({"size": pa.array([1, 2, 3, 0, 5, 6])}, "'size' of the tile table holds 0 in row 3"),
        ({"y": pa.array([0.5] * 6)}, "'y' of the tile table must hold integers, it holds double"),
        ({"slide": pa.array(range(6))}, "'slide' of the tile table must hold paths .strings., it holds int64"),
        ({"slide": pa.array(["a", None] * 3)}, "'slide' of the tile table has 3 empty cells"),
        ({"slide": pa.array(["a", None] * 3).dictionary_encode()}, "'slide' of the tile table has 3 empty cells"),
        (
            {"slide": pa.DictionaryArray.from_arrays(pa.array([0, 1] * 3), pa.array(["a", None]))},
            "'slide' of the tile table .*empty",
        ),
        ({"label": pa.array([0, 1, None] * 2)}, "'label' of the tile table has 2 empty cells"),
        ({"label": pa.array(["no", "yes"] * 3)}, "'label' of the tile table holds string: it must hold class indices"),
        ({"label": pa.array([["a"]] * 6)}, "'label' of the tile table holds list"),
        ({"label": pa.array([[0.5, 0.5], [1.0]] * 3)}, "lists of 1 to 2 class shares"),
        ({"label": pa.array([[0.5, None]] * 6)}, "has 6 empty class shares"),
        ({"label": pa.array([0, 2**40] * 3)}, "label holds .*1099511627776.* fit into 32 bits"),
    ],
)
def test_tables_that_are_refused(others: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TileTable(columns(**others))


@pytest.mark.parametrize("of", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)])
def test_shares_in_any_kind_of_list(of: pa.DataType) -> None:
    shares = [[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]] * 2
    table = TileTable(columns(label=pa.array(shares, of)).slice(1, 4))
    assert table.label is not None
    assert table.label.dtype == np.float32
    assert table.label.tolist() == shares[1:5]


def test_from_columns() -> None:
    table = TileTable.from_columns("a.svs", x=[1, 2, 3], y=np.array([4.0, 5.0, 6.0]), size=256, label=[0, 1, 1])
    assert (len(table), table.slides, table.slide.tolist()) == (3, ("a.svs",), [0, 0, 0])
    assert (table.x.tolist(), table.y.tolist(), table.size.tolist()) == ([1, 2, 3], [4, 5, 6], [256] * 3)
    assert table.level.tolist() == [0, 0, 0]
    assert repr(table) == "<TileTable: 3 tiles of 1 slides, class indices>"
    table = TileTable.from_columns([Path("b"), "a", "b"], x=[1, 2, 3], y=0, size=[1, 2, 3], level=[2, 1, 0])
    assert [table.slides[number] for number in table.slide] == ["b", "a", "b"]
    assert table.label is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": [1, 2]}, r"y has shape \(2,\), there are 3 tiles"),
        ({"slide": ["a", "b"]}, "slide has 2 values, x has 3"),
        ({"x": [1.5, 2, 3]}, "x holds .*1.5.*whole numbers"),
        ({"x": [1, np.nan, 3]}, "x holds .*nan"),
        ({"size": 2**31}, "size holds .*2147483648.*fit into 32 bits"),
        ({"size": "224"}, "size holds .*224"),
        ({"label": [0.2, 0.8, 1.0]}, "label holds .*0.2"),
        ({"label": [[0.5, 0.5]] * 2}, r"label has shape \(2, 2\), there are 3 tiles"),
        ({"x": [1, -2, 3]}, "'x' of the tile table holds -2 in row 1"),
    ],
)
def test_columns_that_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TileTable.from_columns(**{"slide": "a.svs", "x": [1, 2, 3], "y": 0, "size": 224, **arguments})


# ---------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_save_and_open(suffix: str, label: str, tmp_path: Path) -> None:
    table = TileTable(columns(label=LABELS[label], patient=pa.array(["p", None] * 3), score=pa.array([0.5] * 6)))
    path = tmp_path / f"tiles{suffix}"
    table.save(path)
    opened = TileTable.open(str(path))
    same(opened, table)
    assert opened.slides == table.slides
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_parquet_whatever_the_suffix(tmp_path: Path) -> None:
    table = TileTable(columns(label=LABELS["shares"]))
    table.to_parquet(tmp_path / "tiles")
    same(TileTable.from_parquet(tmp_path / "tiles"), table)
    with pytest.raises(ArgumentError, match=r"The tile table is not there: there is no file at .*gone"):
        TileTable.from_parquet(tmp_path / "gone")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_rows(suffix: str, tmp_path: Path) -> None:
    table = TileTable(columns(rows=0, slide=pa.array([], pa.string())))
    table.save(tmp_path / f"tiles{suffix}")
    assert len(TileTable.open(tmp_path / f"tiles{suffix}")) == len(table.x) == 0
    assert len(TileTable(columns()).select([])) == 0
    assert len(TileTable(columns()).select(np.zeros(6, bool))) == 0


@pytest.mark.parametrize("label", ["index", "shares"])
def test_opening_an_arrow_file_copies_nothing(label: str, tmp_path: Path) -> None:
    rows = 100_000
    half = TileTable.from_columns(["a", "b"] * (rows // 4), x=np.arange(rows // 2), y=0, size=224)
    shares = np.full((rows, 2), 0.5) if label == "shares" else np.arange(rows) % 2
    TileTable.concat([half, half]).with_labels(shares).save(tmp_path / "tiles.arrow")
    before = pa.total_allocated_bytes()
    table = TileTable.open(tmp_path / "tiles.arrow")
    assert pa.total_allocated_bytes() - before < 10_000  # the slides' names
    assert table.label is not None
    for column in (table.slide, table.level, table.x, table.y, table.size, table.label):
        assert not owner(column).flags.owndata
    assert table.x[-1] == rows // 2 - 1


def owner(array: NDArray[Any]) -> NDArray[Any]:
    """The numpy array whose memory, or whose Arrow buffer's memory, an array shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def arrow_file(path: Path, table: pa.Table) -> Path:
    """Write an Arrow file as another program would."""
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    return path


def test_rows_of_our_own_files_are_not_read_to_open_them(tmp_path: Path) -> None:
    wrong = columns(x=pa.array([1, 2, -3, 4, 5, 6]))
    with pytest.raises(ArgumentError, match=r"tiles\.arrow: Column 'x' .* holds -3 in row 2"):
        TileTable.open(arrow_file(tmp_path / "tiles.arrow", wrong))
    marked = wrong.replace_schema_metadata({MARK: b"6"})
    assert TileTable.open(arrow_file(tmp_path / "marked.arrow", marked)).x[2] == -3
    # Rows that another program took out or added, it may have changed too.
    with pytest.raises(ArgumentError, match="holds -3 in row 1"):
        TileTable.open(arrow_file(tmp_path / "fewer.arrow", marked.slice(1)))
    pq.write_table(marked, tmp_path / "marked.parquet")
    with pytest.raises(ArgumentError, match="holds -3 in row 2"):
        TileTable.open(tmp_path / "marked.parquet")
    with pytest.raises(ArgumentError, match="holds -3 in row 2"):
        TileTable(marked)


def test_arrow_files_of_other_programs(tmp_path: Path) -> None:
    table = columns(label=LABELS["shares"])
    pyarrow.feather.write_feather(table, tmp_path / "packed.feather", compression="lz4")
    same(TileTable.open(tmp_path / "packed.feather"), TileTable(table))
    with pa.ipc.new_file(str(tmp_path / "batches.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=2)
    assert pa.ipc.open_file(str(tmp_path / "batches.arrow")).num_record_batches == 3
    same(TileTable.open(tmp_path / "batches.arrow"), TileTable(table))
    TileTable.open(tmp_path / "batches.arrow").save(tmp_path / "whole.arrow")
    assert pa.ipc.open_file(str(tmp_path / "whole.arrow")).num_record_batches == 1


def test_a_joined_table_is_saved_in_one_piece(tmp_path: Path) -> None:
    part = TileTable(columns(patient=pa.array(list("uvwxyz"))))
    TileTable.concat([part, part]).save(tmp_path / "tiles.arrow")
    assert pa.ipc.open_file(str(tmp_path / "tiles.arrow")).num_record_batches == 1
    same(TileTable.open(tmp_path / "tiles.arrow"), TileTable.concat([part, part]))


def test_a_table_saved_over_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "tiles.arrow"
    TileTable(columns()).save(path)
    table = TileTable.open(path)
    table.with_labels([1] * 6).save(path)
    assert table.x.tolist() == TileTable(columns()).x.tolist()  # still mapped
    label = TileTable.open(path).label
    assert label is not None
    assert label.tolist() == [1] * 6


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "tiles.parquet"
    TileTable(columns()).save(path)
    before = path.read_bytes()
    unwritable = pa.UnionArray.from_sparse(pa.array([0] * 6, pa.int8()), [pa.array(range(6))])  # not in Parquet
    with pytest.raises(pa.ArrowException):
        TileTable(columns(odd=unwritable)).save(path)
    assert path.read_bytes() == before
    (tmp_path / "folder.arrow").mkdir()
    with pytest.raises(OSError, match=r"folder\.arrow"):
        TileTable(columns()).save(tmp_path / "folder.arrow")
    assert {left.name for left in tmp_path.iterdir()} == {"tiles.parquet", "folder.arrow"}


def test_files_that_are_refused(tmp_path: Path) -> None:
    for suffix in (".arrow", ".parquet"):
        with pytest.raises(ArgumentError, match="The tile table is not there"):
            TileTable.open(tmp_path / f"gone{suffix}")
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(b"no table at all" * 10)
        with pytest.raises(ArgumentError, match=rf"broken\{suffix} cannot be read: .* It must be an? "):
            TileTable.open(broken)
        broken.write_bytes(b"")
        with pytest.raises(ArgumentError, match=rf"broken\{suffix} cannot be read"):
            TileTable.open(broken)
    with pytest.raises(ArgumentError, match=r"Unknown suffix of a tile table '.arow'. Did you mean '.arrow'"):
        TileTable.open(tmp_path / "tiles.arow")
    with pytest.raises(ArgumentError, match="Unknown suffix of a tile table ''"):
        TileTable(columns()).save(tmp_path / "tiles")
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), columns().schema) as file:
        file.write_table(columns())
    with pytest.raises(ArgumentError, match=r"random-access kind, not a stream"):
        TileTable.open(tmp_path / "stream.arrow")
    with pytest.raises(ArgumentError, match=r"other\.arrow: The tile table has no column 'slide'"):
        TileTable.open(arrow_file(tmp_path / "other.arrow", pa.table({"a": [1]})))


# ---------------------------------------------------------------------------------------------------- new tables


def test_select_takes_rows_with_all_their_columns() -> None:
    table = TileTable(columns(label=LABELS["index"], patient=pa.array(list("uvwxyz"))))
    chosen = table.select([5, 0, 5])
    assert chosen.arrow["patient"].to_pylist() == ["z", "u", "z"]
    assert [chosen.slides[number] for number in chosen.slide] == ["c.svs", "a.svs", "c.svs"]
    assert chosen.slides == ("a.svs", "c.svs")  # b.svs is needed no more
    assert chosen.label is not None
    assert chosen.label.tolist() == [2, 0, 2]
    same(table.select(np.array([False, True] * 3)), table.select(np.array([1, 3, 5], np.uint8)))


@given(st.lists(st.integers(0, 11)), st.sampled_from(list(LABELS)))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_select_of_what_was_joined(rows: list[int], label: str) -> None:
    parts = [TileTable(columns(label=LABELS[label])).select(half) for half in ([0, 4, 5], [1, 2, 3])]
    joined = TileTable.concat([*parts, *parts])
    one_by_one = [parts[row // 3 % 2].select([row % 3]) for row in rows]
    chosen = joined.select(rows)
    assert len(chosen) == len(rows)
    assert len(chosen.slides) == len({of.slides[0] for of in one_by_one})
    if rows:
        same(chosen, TileTable.concat(one_by_one))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.ones(5, bool), r"mask of shape \(5,\) does not fit the 6 rows"),
        ([0, 6], "Rows go from 0 to 5, chosen were 0 to 6"),
        ([-1], "Rows go from 0 to 5, chosen were -1 to -1"),
        ([0.0, 1.0], "type float64: give a mask or a list of row numbers"),
        ([[0, 1]], r"rows of shape \(1, 2\)"),
    ],
)
def test_rows_that_cannot_be_selected(rows: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TileTable(columns()).select(rows)


def test_concat_keeps_columns_that_only_some_have() -> None:
    first = TileTable(columns(patient=pa.array(list("uvwxyz"))))
    second = TileTable(columns(slide=pa.array(["c.svs", "d.svs"] * 3)))
    joined = TileTable.concat([first, second])
    assert joined.arrow["patient"].to_pylist() == [*"uvwxyz", *[None] * 6]
    assert joined.slides == ("a.svs", "b.svs", "c.svs", "d.svs")
    assert joined.slide[6:].tolist() == [2, 3] * 3
    same(joined.select(range(6)), first)
    same(TileTable.concat([first]), first)


def test_tables_that_cannot_be_joined() -> None:
    table = TileTable(columns())
    with pytest.raises(ArgumentError, match="no tile tables to join"):
        TileTable.concat([])
    with pytest.raises(ArgumentError, match="1 of 3 tile tables have no labels"):
        TileTable.concat([table.with_labels([0] * 6), table, table.with_labels([0] * 6)])
    with pytest.raises(ArgumentError, match=r"do not go together: .*label"):
        TileTable.concat([table.with_labels([0] * 6), table.with_labels(np.ones((6, 1)))])


def test_with_labels_replaces_labels_alone() -> None:
    table = TileTable(columns(label=LABELS["shares"], patient=pa.array(list("uvwxyz"))))
    other = table.with_labels(np.arange(6) % 2)
    assert other.label is not None
    assert (other.label.dtype, other.label.tolist()) == (np.int32, [0, 1] * 3)
    assert other.arrow["patient"].to_pylist() == list("uvwxyz")
    assert other.slides == table.slides
    same(other.with_labels(np.tile([0.25, 0.75], (6, 1))), table)
    with pytest.raises(ArgumentError, match=r"label has shape \(5,\), there are 6 tiles"):
        table.with_labels([0] * 5)


# ---------------------------------------------------------------------------------------------------- labels


def test_labels_that_fit() -> None:
    table = TileTable(columns())
    table.with_labels([0, 1, 2, 2, 1, 0]).check_labels(3)
    table.with_labels(np.random.default_rng(0).dirichlet(np.ones(4), 6)).check_labels(4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t, "has no column 'label'"),
        (lambda t: t.with_labels([0, 1, 3, 2, -1, 0]), "Label 3 of tile 2 .b.svs, level 0.* 0 to 2. 2 tile"),
        (lambda t: t.with_labels([0, 1, 0, 2, -1, 0]), "Label -1 of tile 4"),
        (lambda t: t.with_labels(np.full((6, 2), 0.5)), "shares of 2 classes, num_classes=3"),
        (lambda t: t.with_labels(shares(4, [0.5, 0.5, 0.5])), r"class shares of tile 4 .* are \[0.5, 0.5, 0.5\]"),
        (lambda t: t.with_labels(shares(1, [1.5, -0.5, 0])), "class shares of tile 1"),
        (lambda t: t.with_labels(shares(5, [np.nan, 0.5, 0.5])), "class shares of tile 5"),
    ],
)
def test_labels_that_do_not_fit(change: Callable[[TileTable], TileTable], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        change(TileTable(columns())).check_labels(3)


def test_the_tile_of_a_wrong_label_is_named_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellmix_dali.tables.tile_table._ROWS_AT_ONCE", 2)
    with pytest.raises(ArgumentError, match=r"Label 9 of tile 5 .c\.svs"):
        TileTable(columns()).with_labels([0, 1, 2, 2, 1, 9]).check_labels(3)


def shares(row: int, odd: list[float]) -> NDArray[np.float64]:
    """Class shares of six tiles, one of them odd."""
    good = np.tile([0.2, 0.3, 0.5], (6, 1))
    good[row] = odd
    return good
