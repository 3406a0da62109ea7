"""The table of a collection: one schema, the same bytes each time, a folder that may be moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.reading import ShardReader
from cellmix_dali.shards import (
    TILES_FILE,
    ShardWriter,
    image_sizes,
    is_sharded,
    open_tiles,
    tile_classes,
    tile_edge,
    tile_rows,
    tile_schema,
    with_split_columns,
    write_tiles,
)


def rows(slide: str, count: int, *, label: bool = True, folder: Path | None = None, **changes: object) -> pa.Table:
    """Rows of one slide; written to shards of empty images where there is a folder."""
    written = None
    if folder is not None:
        with ShardWriter(folder, Path(slide).stem, max_tiles=3) as writer:
            for number in range(count):
                writer.add(b"%s %d" % (slide.encode(), number), "jpg")
        written = writer.close()
    columns: dict[str, object] = {
        "x": np.arange(count) * 512,
        "y": 7,
        "size": 512,
        "level": 0,
        "tile_size": 256,
        "mpp": 0.5,
        "tissue": np.linspace(0, 1, count),
        "label": np.arange(count) % 2 if label else None,
        "written": written,
    }
    return tile_rows(slide, **(columns | changes))  # type: ignore[arg-type]


def test_the_columns(tmp_path: Path) -> None:
    table = rows("a.svs", 5, folder=tmp_path)
    assert table.schema == tile_schema(labelled=True, sharded=True)
    assert table.column_names == [
        *("slide", "level", "x", "y", "size", "tile_size", "mpp", "tissue", "label"),
        *("shard", "offset", "bytes", "sha256"),
    ]
    assert table["slide"].to_pylist() == ["a.svs"] * 5
    assert table["y"].to_pylist() == [7] * 5
    assert table["shard"].to_pylist() == ["a-00000.tar"] * 3 + ["a-00001.tar"] * 2
    plain = rows("a.svs", 5, label=False, mpp=None, tissue=None)
    assert plain.schema == tile_schema(labelled=False, sharded=False)
    assert plain["mpp"].null_count == plain["tissue"].null_count == 5


def test_what_a_list_says_of_a_slide_goes_with_its_tiles(tmp_path: Path) -> None:
    """All that there is, some of it, and in any order of the columns."""
    for said in ({"patient": "p1", "split": "train", "fold": "2"}, {"fold": "2"}, {}):
        parts = [with_split_columns(rows("a.svs", 3), said), with_split_columns(rows("b.svs", 2), dict(said))]
        turned = parts[1].select(parts[1].column_names[::-1])
        found = pq.read_table(write_tiles(tmp_path, [parts[0], turned]))
        assert found["slide"].to_pylist() == ["a.svs"] * 3 + ["b.svs"] * 2
        assert {name: found[name].to_pylist() for name in said} == {name: [value] * 5 for name, value in said.items()}
        assert {"patient", "split", "fold"} & {*found.column_names} == {*said}
        open_tiles(tmp_path)
    with pytest.raises(ArgumentError, match="do not go together"):
        write_tiles(tmp_path, [with_split_columns(rows("a.svs", 3), {"fold": "2"}), rows("b.svs", 2)])


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = rows("b.svs", 7, folder=tmp_path), rows("a.svs", 4, folder=tmp_path)
    for name in "xyz":
        (tmp_path / name).mkdir()
    write_tiles(tmp_path / "x", [one, other], classes=["no", "yes"])
    write_tiles(tmp_path / "y", [one.slice(0, 2), one.slice(2), other], classes=["no", "yes"])
    joined = pa.concat_tables([other.slice(0, 0), one, other])  # with dictionaries in another order
    write_tiles(tmp_path / "z", [joined], classes=["no", "yes"])
    x, y, z = ((tmp_path / name / TILES_FILE).read_bytes() for name in "xyz")
    assert x == y == z
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [TILES_FILE]
    table = pq.read_table(tmp_path / "x" / TILES_FILE)
    assert table["slide"].to_pylist() == ["b.svs"] * 7 + ["a.svs"] * 4
    assert table["shard"].to_pylist() == [
        *["b-00000.tar"] * 3, *["b-00001.tar"] * 3, "b-00002.tar", *["a-00000.tar"] * 3, "a-00001.tar",
    ]  # fmt: skip


def test_opening_and_moving(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    parts = [rows(slide, 4, folder=folder) for slide in ("a.svs", "b.svs")]
    write_tiles(folder, parts, classes=["no", "yes"], edge="pad")
    folder = Path(shutil.move(folder, tmp_path / "moved"))
    for path in (folder, folder / TILES_FILE):
        table = open_tiles(path)
        assert table.slides == ("a.svs", "b.svs")
        assert table.label is not None
        assert table.label.tolist() == [0, 1, 0, 1] * 2
        assert table.arrow["shard"][0].as_py() == str(folder / "a-00000.tar")
        assert (tile_classes(table), tile_edge(table)) == (("no", "yes"), "pad")
        assert is_sharded(table)
        assert image_sizes(table).tolist() == [256] * 8
        assert table.size.tolist() == [512] * 8
    chosen = table.select([7, 2]).with_labels([5, 6])
    assert is_sharded(chosen)
    assert chosen.arrow["shard"].to_pylist() == [str(folder / name) for name in ("b-00001.tar", "a-00000.tar")]
    assert tile_classes(chosen) == ("no", "yes")


def test_coordinates_alone(tmp_path: Path) -> None:
    write_tiles(tmp_path, [rows("a.svs", 4)])
    table = open_tiles(tmp_path)
    assert not is_sharded(table)
    assert image_sizes(table).tolist() == [512] * 4
    assert table.arrow["tile_size"].to_pylist() == [256] * 4
    assert (tile_classes(table), tile_edge(table)) == (None, "skip")
    with pytest.raises(ArgumentError, match="not in shards"):
        ShardReader(table)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no tile table at .*tiles.parquet: give the folder .* --resume"):
        open_tiles(tmp_path)
    other = TileTable.from_columns("a.svs", x=[0], y=[0], size=8)
    other.save(tmp_path / TILES_FILE)
    with pytest.raises(ArgumentError, match="has no column 'tile_size'"):
        open_tiles(tmp_path)
    (tmp_path / TILES_FILE).write_bytes(b"PAR1 garbage")
    with pytest.raises(ArgumentError, match="cannot be read"):
        open_tiles(tmp_path)
    write_tiles(tmp_path, [rows("a.svs", 4, folder=tmp_path)])
    table = pq.read_table(tmp_path / TILES_FILE)
    pq.write_table(table.drop_columns(["offset"]), tmp_path / TILES_FILE)
    with pytest.raises(ArgumentError, match="has no column 'offset'"):
        open_tiles(tmp_path)
    outside = pa.array(["../a.tar"] * 4).dictionary_encode()
    pq.write_table(table.set_column(table.column_names.index("shard"), "shard", outside), tmp_path / TILES_FILE)
    with pytest.raises(ArgumentError, match=r"outside its folder: '\.\./a.tar'"):
        open_tiles(tmp_path)


def test_a_table_that_does_not_know_its_folder_is_refused(tmp_path: Path) -> None:
    write_tiles(tmp_path, [rows("a.svs", 4, folder=tmp_path)])
    with pytest.raises(ArgumentError, match="use open_tiles"):
        ShardReader(TileTable.open(tmp_path / TILES_FILE))


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"tissue has shape \(3,\), there are 4 tiles"):
        rows("a.svs", 4, tissue=np.zeros(3))
    with pytest.raises(ArgumentError, match="do not fit the tile table"):
        tile_rows("a.svs", x=[0, 1], y=0, size=8, level=0, tile_size=8, label=[0, 2**40])
    written = rows("a.svs", 3, folder=tmp_path).select(["shard", "offset", "bytes", "sha256"])
    with pytest.raises(ArgumentError, match="3 tiles were written, there are 4 windows"):
        rows("a.svs", 4, written=written)
    with pytest.raises(ArgumentError, match="Label all of them, or none"):
        write_tiles(tmp_path, [rows("a.svs", 2), rows("b.svs", 2, label=False)])
    with pytest.raises(ArgumentError, match="There are no tiles"):
        write_tiles(tmp_path, [])
