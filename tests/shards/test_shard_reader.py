"""Images out of shards: those that were put in, in the order asked for; what is damaged is said by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.reading import ShardReader, shards as reader_module, tile_reader
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.shards import Encoding, ShardWriter, open_tiles, tile_classes, tile_rows, write_tiles
from cellmix_dali.shards.table import CLASSES
from cellmix_dali.storage import open_file as _open_file
from cellmix_dali.synthetic import RenderedSlide

Collect = Callable[..., TileTable]


def open_shards(folder: Path) -> int:
    """How many shards of a folder this process has open."""
    found = 0
    for link in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # the listing's own
            path = link.readlink()
            found += path.parent == folder and path.suffix == ".tar"
    return found


def streams(found: list[EncodedTile | SlideError]) -> list[bytes]:
    assert all(isinstance(tile, EncodedTile) for tile in found), found
    return [tile.streams[0].tobytes() for tile in found if isinstance(tile, EncodedTile)]


@pytest.fixture
def folder(rendered: list[RenderedSlide], collect: Collect, tmp_path: Path) -> Path:
    """32 tiles of two slides in four shards."""
    collect(tmp_path, [slide.path for slide in rendered])
    return tmp_path


def place(folder: Path, row: int) -> tuple[Path, int, int]:
    """A tile's shard, and where in it."""
    table = open_tiles(folder).arrow
    return Path(table["shard"][row].as_py()), table["offset"][row].as_py(), table["bytes"][row].as_py()


def change(folder: Path, row: int, at: int, new: bytes) -> None:
    path, offset, _ = place(folder, row)
    with path.open("r+b") as file:
        file.seek(offset + at)
        assert file.read(len(new)) != new
        file.seek(offset + at)
        file.write(new)


def test_shards_give_what_the_slides_give(rendered: list[RenderedSlide], collect: Collect, tmp_path: Path) -> None:
    table = collect(tmp_path, [slide.path for slide in rendered])
    rows = np.random.default_rng(0).permutation(np.r_[np.arange(len(table)), 3, 3])
    reader = tile_reader(open_tiles(tmp_path))
    assert isinstance(reader, ShardReader)
    assert (reader.slots, reader.whole, reader.pad) == (1, True, False)
    found = reader.read(rows)
    assert streams(found) == streams(TileReader(table).read(rows))
    assert {tile.way for tile in found if isinstance(tile, EncodedTile)} == {"shard"}
    again = ShardReader(open_tiles(tmp_path), verify="hash")
    assert streams(again.read(rows)) == streams(found)
    reader.close()
    assert streams(reader.read(rows)) == streams(found)  # opens them again
    assert reader.read(rows[:0]) == []


def test_other_tables_are_read_from_the_slides(table: TileTable) -> None:
    assert isinstance(tile_reader(table), TileReader)
    assert tile_reader(table, edge="pad").pad


def test_few_files_are_open_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_open_file, "most_open", lambda: 2 + _open_file._PASSING)
    reader, rows = ShardReader(open_tiles(folder)), np.arange(32)
    assert open_shards(folder) == 0
    want = streams(reader.read(rows))
    assert open_shards(folder) == 2
    parts = [np.random.default_rng(n).permutation(rows) for n in range(16)]
    with ThreadPoolExecutor(8) as threads:
        for part, found in zip(parts, threads.map(reader.read, parts), strict=True):
            assert streams(found) == [want[row] for row in part]
    reader.close()
    assert open_shards(folder) == 0


def test_a_batch_of_more_shards_than_may_be_open(
    linked: Callable[[int], list[Path]], collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiles"
    collect(folder, linked(8))
    table = open_tiles(folder)
    rows = np.random.default_rng(0).permutation(len(table))
    want = streams(ShardReader(table).read(rows))
    most, plain = [], reader_module.read_usual

    def read_usual(*arguments: Any) -> Any:
        most.append(open_shards(folder))
        return plain(*arguments)

    monkeypatch.setattr(reader_module, "read_usual", read_usual)
    monkeypatch.setattr(_open_file, "most_open", lambda: 4 + _open_file._PASSING)
    reader = ShardReader(table)
    for _ in range(2):
        assert streams(reader.read(rows)) == want
    assert len(list(folder.rglob("*.tar"))) == 16
    assert max(most) == 4


def test_damage_is_said_by_name(folder: Path) -> None:
    path, offset, length = place(folder, 5)
    change(folder, 5, 0, bytes(4))  # no start of a JPEG
    change(folder, 12, length // 4, bytes(300))  # zeros in the scan
    change(folder, 20, place(folder, 20)[2] - 2, b"\x12\x34")  # no end
    reader = ShardReader(open_tiles(folder))
    found = reader.read(np.arange(32))
    bad = {row: str(tile) for row, tile in enumerate(found) if isinstance(tile, SlideError)}
    assert set(bad) == {5, 12, 20}
    assert f"{path}, byte {offset}" in bad[5]
    assert "level 0, x 256, y 256, size 256" in bad[5]
    assert "no JPEG or PNG starts here (bytes 00 00 00 00)" in bad[5]
    assert "run of zeros" in bad[12]
    assert "has no end" in bad[20]


def test_a_flipped_bit_is_seen_with_verify(folder: Path) -> None:
    path, offset, length = place(folder, 9)
    raw = path.read_bytes()
    at = next(at for at in range(length // 2, length) if 0 < raw[offset + at] < 0x7F)
    change(folder, 9, at, bytes([raw[offset + at] ^ 1]))
    rows = np.array([8, 9])
    (good, bad) = ShardReader(open_tiles(folder), verify="hash").read(rows)
    assert isinstance(good, EncodedTile)
    assert isinstance(bad, SlideError)
    assert "SHA-256" in str(bad)
    assert all(isinstance(tile, EncodedTile) for tile in ShardReader(open_tiles(folder)).read(rows))


def test_a_shard_that_is_cut_short(folder: Path) -> None:
    path, offset, length = place(folder, 7)
    os.truncate(path, offset + length - 1)
    found = ShardReader(open_tiles(folder)).read(np.arange(32))
    bad = [row for row, tile in enumerate(found) if isinstance(tile, SlideError)]
    assert bad == [7, 8, 9]
    assert f"only {length - 1} of a tile's {length} bytes are there ({path}" in str(found[7])
    assert "only 0 of" in str(found[9])


def test_shards_that_are_missing(folder: Path) -> None:
    path = place(folder, 31)[0]
    reader = ShardReader(open_tiles(folder))
    path.unlink()
    found = reader.read(np.arange(32))
    assert [isinstance(tile, SlideError) for tile in found] == [row >= 26 for row in range(32)]
    assert "No such file" in str(found[31])
    with pytest.raises(SlideError, match=f"There is no shard at {path}"):
        ShardReader(open_tiles(folder))
    part = open_tiles(folder).select(np.arange(26))  # which needs it not
    assert len(streams(ShardReader(part).read(np.arange(26)))) == 26


def test_png(real: Callable[[str], Path], tmp_path: Path) -> None:
    path = real("CMU-1-Small-Region.svs")
    with open_slide(path) as slide, ShardWriter(tmp_path, "a") as writer:
        table = grid_tiles(slide, 500)
        tiles = [slide.read_region(0, int(x), int(y), 500, 500) for x, y in zip(table.x, table.y, strict=True)]
        images = [Encoding("png").encode(tile) for tile in tiles]
        for image in images:
            writer.add(image, "png")
    rows = tile_rows(path, x=table.x, y=table.y, size=500, level=0, tile_size=500, written=writer.close())
    write_tiles(tmp_path, [rows])
    every = np.arange(len(table))
    assert streams(ShardReader(open_tiles(tmp_path)).read(every)) == images
    change(tmp_path, 0, len(images[0]) // 2, bytes(2))
    change(tmp_path, 1, 18, b"\x77")  # the width
    change(tmp_path, 2, len(images[2]) - 8, bytes(8))
    found = ShardReader(open_tiles(tmp_path)).read(every)
    assert [isinstance(tile, SlideError) for tile in found] == [True] * 3 + [False] * (len(table) - 3)
    assert "checksum of the PNG chunk" in str(found[0])
    assert "checksum of the PNG chunk at byte 8" in str(found[1])
    write_tiles(tmp_path, [rows.set_column(5, rows.schema.field(5), [np.full(len(rows), 499, np.int32)])])
    (wrong,) = ShardReader(open_tiles(tmp_path)).read(every[5:6])
    assert "500 x 500 pixels of 8 bits, expected RGB of 499" in str(wrong)


def test_tiles_of_slides_and_of_shards_do_not_mix(rendered: list[RenderedSlide], folder: Path) -> None:
    with open_slide(rendered[0].path) as slide:
        both = TileTable.concat([open_tiles(folder), grid_tiles(slide, 256)])
    with pytest.raises(ArgumentError, match="16 of 48 tiles are in no shard"):
        tile_reader(both)


def test_collections_join(rendered: list[RenderedSlide], collect: Collect, tmp_path: Path) -> None:
    for number, slide in enumerate(rendered):
        collect(tmp_path / str(number), [slide.path])
    parts = [open_tiles(tmp_path / str(number)) for number in range(2)]
    joined = ShardReader(TileTable.concat(parts)).read(np.arange(32))
    apart = [tile for part in parts for tile in ShardReader(part).read(np.arange(16))]
    assert streams(joined) == streams(apart)


def test_a_wrong_edge_is_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="edge 'wrap'"):
        tile_reader(open_tiles(folder), edge="wrap")


def test_tables_that_do_not_say_where_tiles_lie_are_refused(folder: Path, table: TileTable) -> None:
    arrow = open_tiles(folder).arrow

    def of(name: str, column: Any) -> TileTable:
        return TileTable(arrow.set_column(arrow.column_names.index(name), name, column))

    count = len(arrow)
    for wrong, words in (
        (table, "are not in shards: open those with open_tiles"),
        (TileTable(arrow.drop_columns(["offset"])), "has no column 'offset'"),
        (TileTable(arrow.drop_columns(["bytes"])), "has no column 'bytes'"),
        (of("offset", pa.array([None] + [0] * (count - 1), pa.int64())), "'offset' of the tile table must hold whole"),
        (of("bytes", pa.array([1.5] * count)), "'bytes' of the tile table must hold whole numbers"),
        (of("offset", pa.array([0] * (count - 1) + [-1])), "'offset' of the tile table holds -1: too small"),
        (of("shard", pa.array(["a.tar"] * count)), "a shard a.tar of an unknown folder"),
    ):
        with pytest.raises(ArgumentError, match=words):
            ShardReader(wrong)
    whole = streams(ShardReader(TileTable(arrow)).read(np.arange(count)))
    plain = of("shard", arrow["shard"].cast(pa.string()))  # not a dictionary
    assert streams(ShardReader(plain).read(np.arange(count))) == whole


def test_what_may_be_verified_and_decoded(folder: Path) -> None:
    table = open_tiles(folder)
    with pytest.raises(ArgumentError, match="verify"):
        ShardReader(table, verify="all")
    bare = TileTable(table.arrow.drop_columns(["sha256"]))
    with pytest.raises(ArgumentError, match="verify='hash' needs the column 'sha256'"):
        ShardReader(bare, verify="hash")
    ShardReader(bare, verify="scan").close()
    reader = ShardReader(table, verify="hash")
    reader.only(reader.kinds)
    with pytest.raises(ArgumentError, match=r"are all read directly, but .* must not be\. Decode them on the CPU"):
        reader.only(sorted(reader.kinds)[1:])


def test_names_of_classes_that_cannot_be_read(folder: Path) -> None:
    arrow = open_tiles(folder).arrow
    for stated, names in ((b'["a", "b"]', ("a", "b")), (b"[]", ()), (b"[1]", None), (b'{"a": 1}', None), (b"[", None)):
        said = TileTable(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), CLASSES: stated}))
        if names is None:
            with pytest.raises(ArgumentError, match="names of classes that cannot be read"):
                tile_classes(said)
        else:
            assert tile_classes(said) == names
