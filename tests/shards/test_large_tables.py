"""Tables of finished tiles that are larger than a process wants to hold: written in pieces, read in part, mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.shards import mapping, open_tiles, tile_classes, tile_rows, write_tiles, writing
from cellmix_dali.tables import TileTable

WRITTEN = ("shard", "offset", "bytes", "sha256")


def rows(number: int, count: int) -> pa.Table:
    """Rows of one slide, with names of shards of their own."""
    numbers = np.arange(count) + 1000 * number
    names = [f"shards/{number}-{part}.tar" for part in "ab"]
    shards = pa.DictionaryArray.from_arrays(np.arange(count, dtype=np.int32) % 2, names)
    written = pa.table(
        {"shard": shards, "offset": numbers, "bytes": numbers + 1, "sha256": pa.array([f"{n:064x}" for n in numbers])}
    )
    x = 256 * numbers
    return tile_rows(
        f"/slides/{number}.svs", x=x, y=x + 1, size=256, level=number % 2, tile_size=256, label=number, written=written
    )


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_ROW_GROUP", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiles(tmp_path, (rows(number, 5) for number in range(6)), classes=list("abcdef"))
    return tmp_path


def test_rows_come_in_groups_of_one_length_and_are_asked_for_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote: list[int] = []
    write = pq.ParquetWriter.write_table

    def noted(writer: pq.ParquetWriter, table: pa.Table, *options: object, **more: object) -> None:
        wrote.append(len(table))
        write(writer, table, *options, **more)

    def asked() -> Iterator[pa.Table]:
        for number in range(6):
            assert sum(wrote) >= 5 * number - 8  # no more than one group waits
            yield rows(number, 5)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", noted)
    path = write_tiles(tmp_path, asked())
    assert wrote == [8, 8, 8, 6]
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    assert [len(group) for group in groups] == wrote
    # A group has the names of its own rows alone.
    slides = [group["slide"].combine_chunks().dictionary.to_pylist() for group in groups]
    assert [len(names) for names in slides] == [2, 3, 2, 2]
    (tmp_path / "other").mkdir()
    first = rows(0, 5)
    divided = write_tiles(tmp_path / "other", [first.slice(0, 3), first.slice(3), *(rows(n, 5) for n in range(1, 6))])
    assert divided.read_bytes() == path.read_bytes()


def test_a_table_of_many_groups_is_read_as_it_was_written(folder: Path) -> None:
    table = open_tiles(folder)
    assert table.slides == tuple(f"/slides/{number}.svs" for number in range(6))
    np.testing.assert_array_equal(table.slide, np.repeat(np.arange(6), 5))
    want = pa.concat_tables([rows(number, 5) for number in range(6)])
    for name in ("x", "y", "level", "offset", "bytes", "sha256", "label"):
        assert table.arrow[name].to_pylist() == want[name].to_pylist()
    assert table.arrow["shard"].to_pylist() == [f"{folder}/{name}" for name in want["shard"].to_pylist()]


def test_columns_on_demand(folder: Path) -> None:
    whole, least = open_tiles(folder), open_tiles(folder, columns=())
    assert set(whole.arrow.column_names) - set(least.arrow.column_names) == {"sha256", "tissue", "mpp"}
    for name in least.arrow.column_names:
        assert least.arrow[name].to_pylist() == whole.arrow[name].to_pylist()
    assert "sha256" in open_tiles(folder, columns=["sha256"]).arrow.column_names
    assert least.arrow.nbytes < 0.6 * whole.arrow.nbytes
    assert TileTable.open(folder / "tiles.parquet", columns=["slide", "level", "x", "y", "size"]).label is None
    with pytest.raises(ArgumentError, match="has no column 'x'"):
        TileTable.open(folder / "tiles.parquet", columns=["slide", "level", "y", "size"])


def test_a_table_is_mapped_and_made_once(folder: Path) -> None:
    want = open_tiles(folder)
    before = pa.total_allocated_bytes()
    first = open_tiles(folder, mapped=True)
    made = (folder / "tiles.arrow").stat().st_mtime_ns
    again = open_tiles(folder, mapped=True, columns=["mpp"])
    assert (folder / "tiles.arrow").stat().st_mtime_ns == made
    assert set(want.arrow.column_names) - set(first.arrow.column_names) == {"sha256"}
    assert "mpp" in again.arrow.column_names
    assert "tissue" not in again.arrow.column_names
    for name in first.arrow.column_names:
        assert first.arrow[name].to_pylist() == want.arrow[name].to_pylist()
    assert (first.slides, tile_classes(first)) == (want.slides, tuple("abcdef"))
    del want
    # But for the shards' absolute paths and one copy of text, columns lie in the file.
    assert pa.total_allocated_bytes() - before < 4096

    write_tiles(folder, [rows(7, 4)])  # another table: the file beside it is of the former one
    os.utime(folder / "tiles.parquet", ns=(1, made + 10**9))
    assert len(open_tiles(folder, mapped=True)) == len(open_tiles(folder)) == 4


def test_the_mapped_file_is_made_piece_by_piece(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of columns of any type, with empty cells that begin and end within a byte of their bits."""
    monkeypatch.setattr(mapping, "_ROWS", 8)
    table = pq.read_table(folder / "tiles.parquet")
    cells = np.arange(30)
    own = {
        "mpp": pa.array(np.where(cells % 7, 0.5 * cells, 0.0), mask=cells % 7 == 0),
        "tissue": pa.nulls(30, pa.float32()),
        "patient": pa.array([None if cell in (3, 29) else f"p{cell % 4}" for cell in cells]).dictionary_encode(),
        "note": pa.array([f"text {cell}" for cell in cells]),
        "good": pa.array(cells % 2 == 0),
        "shares": pa.array([[0.5, cell] for cell in cells.tolist()], pa.list_(pa.float32())),
        "small": pa.array(cells, pa.uint8()),
    }
    for name, column in own.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(name, column)
    pq.write_table(table, folder / "tiles.parquet", row_group_size=11)
    whole: list[str] = []
    read = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda file, names, **of: (whole.extend(names), read(file, names, **of))[1]
    )
    found = open_tiles(folder, mapped=True).arrow
    assert whole == ["note", "good", "shares"]  # the others are never in memory as a whole
    assert set(found.column_names) == set(table.column_names) - {"sha256"}
    for name in set(found.column_names) - {"shard"}:
        assert found[name].to_pylist() == table[name].to_pylist()
        assert (found[name].type, found[name].num_chunks) == (table[name].type, 1)
        found[name].validate(full=True)
    assert sorted(path.name for path in folder.iterdir()) == ["tiles.arrow", "tiles.parquet"]


def test_where_it_cannot_be_made_that_is_said(folder: Path) -> None:
    (folder / "tiles.arrow").mkdir()
    with pytest.raises(ArgumentError):
        open_tiles(folder, mapped=True)


def test_rows_that_do_not_go_together_leave_no_file(tmp_path: Path) -> None:
    other = rows(1, 5).drop_columns(["label"])
    with pytest.raises(ArgumentError, match=r"do not go together.*Label all of them, or none"):
        write_tiles(tmp_path, [rows(0, 20), other])
    assert list(tmp_path.iterdir()) == []
