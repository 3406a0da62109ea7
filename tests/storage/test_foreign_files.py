"""Files of other people: whatever is wrong with one costs an error of the family, within 5 s and 1 GB."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from limits import Ending, limited

from cellmix_dali import Curriculum, TileTable, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.jobs.journal import journal_line, journal_lines
from cellmix_dali.previews.loss_record import read_losses
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.shards import open_tiles
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import read_slide_list
from cellmix_dali.tables.coordinates import read_h5
from cellmix_dali.tables.labels import with_label_column
from cellmix_dali.tiling import TilingSettings, tile_slides
from cellmix_dali.tissue.slide_mask import mask_from_geojson, mask_from_png
from cellmix_dali.training.images import read_folds

Reader = Callable[[Path], Any]


@pytest.fixture
def readers(rendered: list[RenderedSlide], table: TileTable) -> dict[str, Reader]:
    """Every public way in for a file that others have written."""

    def of_slide(call: Callable[..., Any]) -> Reader:
        def read(path: Path) -> Any:
            with open_slide(rendered[0].path) as slide:
                return call(path, slide)

        return read

    def state(path: Path) -> None:
        Curriculum(epochs=3, tile_size=256).load_state_dict(json.loads(path.read_text()))

    return {
        "slide list": read_slide_list,
        "labels": lambda path: with_label_column(table, path),
        "losses": read_losses,
        "folds": read_folds,
        "annotations": read_geojson,
        "mask of annotations": of_slide(mask_from_geojson),
        "mask": of_slide(mask_from_png),
        "coordinates": of_slide(read_h5),
        "tile table": TileTable.open,
        "Parquet": TileTable.from_parquet,
        "finished tiles": open_tiles,
        "slide": open_slide,
        "curriculum": state,
    }


CSV = ("slide list", "labels", "losses", "folds")
PARQUET = ("slide list", "labels")


def refused(ending: Ending, *words: str) -> None:
    assert ending.kind == "error", ending
    for word in words:
        assert word in ending.text, ending


@pytest.mark.parametrize("name", [*CSV, "annotations", "mask of annotations", "mask", "coordinates", "tile table", "Parquet", "finished tiles", "slide"])  # fmt: skip  # noqa: E501
def test_what_is_no_file(readers: dict[str, Reader], tmp_path: Path, name: str) -> None:
    suffix = {"tile table": ".arrow", "finished tiles": ".parquet"}.get(name, ".csv")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    for path in (Path(f"{tmp_path}/with\0zero{suffix}"), tmp_path / f"pipe{suffix}", tmp_path / f"gone{suffix}"):
        refused(limited(readers[name], path))
    refused(limited(readers[name], tmp_path / f"empty{suffix}"))
    if name != "finished tiles":
        refused(limited(readers[name], tmp_path))


@pytest.mark.parametrize("name", CSV)
def test_csv_in_latin_1_or_with_a_header_twice(readers: dict[str, Reader], tmp_path: Path, name: str) -> None:
    columns = {
        "slide list": ("slide", "label"),
        "labels": ("slide", "x", "y", "label"),
        "losses": ("loss", "epoch"),
        "folds": ("path", "class", "fold"),
    }[name]
    path = tmp_path / "table.csv"
    path.write_bytes(",".join(columns).encode() + b"\n" + b",".join([b"caf\xe9"] * len(columns)) + b"\n")
    refused(limited(readers[name], path), "table.csv")
    doubled = [*columns, columns[-1]]
    path.write_text(",".join(doubled) + "\n" + ",".join(["1"] * len(doubled)) + "\n")
    refused(limited(readers[name], path), columns[-1], "Leave one")


@pytest.mark.parametrize("name", ["annotations", "mask of annotations"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"type":"Feature","geometry":' * 50_000, "nested too deep"),
        ("[1, 2]", "not GeoJSON features"),
        ('"text"', "not GeoJSON features"),
        ("caf\xe9".encode("latin-1").decode("latin-1"), "not JSON"),
        ('{"type":"FeatureCollection","features":{"a":1}}', "not GeoJSON features"),
    ],
)
def test_geojson_of_another_shape(readers: dict[str, Reader], tmp_path: Path, name: str, content: str, words: str) -> None:  # fmt: skip  # noqa: E501
    path = tmp_path / "slide.geojson"
    path.write_bytes(content.encode("latin-1"))
    refused(limited(readers[name], path), words)


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": "text"},
        {"type": "Polygon", "coordinates": [[1, 2], [3]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]},
        {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0]]]]},
        {"type": "Polygon", "coordinates": {"a": 1}},
    ],
)
def test_outlines_of_another_shape(tmp_path: Path, geometry: dict[str, Any]) -> None:
    feature = {"type": "Feature", "properties": {"classification": {"name": "a"}}, "geometry": geometry}
    path = tmp_path / "slide.geojson"
    path.write_text(json.dumps(feature))
    refused(limited(read_geojson, path), "outline")


def test_coordinates_that_say_they_are_huge(readers: dict[str, Reader], odd: Callable[[str], Path]) -> None:
    refused(limited(readers["coordinates"], odd("coords-14GiB.h5")), "more than any slide has")


def coords(path: Path, make: Callable[[h5py.File], h5py.Dataset]) -> Path:
    with h5py.File(path, "w") as file:
        make(file).attrs.update({"patch_size": 256, "patch_level": 0})
    return path


def test_coordinates_in_other_files(readers: dict[str, Reader], tmp_path: Path) -> None:
    corners = np.array([[0, 0], [256, 0]], np.int64)
    own = coords(tmp_path / "own.h5", lambda file: file.create_dataset("coords", data=corners))
    assert limited(readers["coordinates"], own).kind == "value"

    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["coords"] = h5py.ExternalLink("own.h5", "/coords")
    refused(limited(readers["coordinates"], tmp_path / "link.h5"), "another file", "own.h5")

    (tmp_path / "raw.bin").write_bytes(corners.tobytes())
    outside = coords(
        tmp_path / "external.h5",
        lambda file: file.create_dataset(
            "coords", shape=(2, 2), dtype="i8", external=[(str(tmp_path / "raw.bin"), 0, 32)]
        ),
    )
    refused(limited(readers["coordinates"], outside), "lie in other files")

    layout = h5py.VirtualLayout(shape=(2, 2), dtype="i8")
    layout[:] = h5py.VirtualSource(str(own), "coords", shape=(2, 2))
    virtual = coords(tmp_path / "virtual.h5", lambda file: file.create_virtual_dataset("coords", layout))
    refused(limited(readers["coordinates"], virtual), "lie in other files")


def test_an_arrow_file_that_was_cut_short(odd: Callable[[str], Path], table: TileTable, tmp_path: Path) -> None:
    refused(limited(TileTable.open, odd("table-cut-short.arrow")), "table-cut-short.arrow")
    whole = tmp_path / "whole.arrow"
    table.save(whole)
    assert len(TileTable.open(whole)) == len(table)
    content = whole.read_bytes()
    for cut in range(8, len(content), len(content) // 23):
        (tmp_path / "cut.arrow").write_bytes(content[:cut])
        refused(limited(_use, tmp_path / "cut.arrow"))


def _use(path: Path) -> Any:
    """Open a table and touch all of it."""
    table = TileTable.open(path)
    return [np.asarray(getattr(table, name)).sum() for name in ("x", "y", "level", "size", "slide")]


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_that_says_it_is_huge(
    readers: dict[str, Reader], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes can say any number of equal rows: they are counted before they are made."""
    path, rows = tmp_path / "list.parquet", 3000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a.svs"]))
    numbers = pa.array(np.zeros(rows, np.int64))
    pq.write_table(pa.table({"slide": text, "label": text, "x": numbers, "y": numbers}), path)
    monkeypatch.setattr("cellmix_dali.tables.columns._MOST_ROWS", rows - 1)
    refused(limited(readers[name], path), "it says that it has 3000 rows, and 2999 are the most")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '"text"', '{"settings": []}', '{"epoch": "a", "settings": {}}', '{"settings": {"epochs": [1]}}'],
)
def test_states_of_another_shape(readers: dict[str, Reader], tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    refused(limited(readers["curriculum"], path), "state")


@pytest.mark.parametrize(
    ("part", "was", "changed", "words"),
    [
        ("manifest.json", '"shard_size": 4', '"shard_size": 5', "checksum"),
        ("slides.jsonl", '"copied":4', '"copied":5', r"slides\.jsonl holds 0 of 1 slides; .*checksum"),
    ],
)
def test_records_of_a_finished_tiling_job_that_were_changed(
    rendered: list[RenderedSlide], tmp_path: Path, part: str, was: str, changed: str, words: str
) -> None:
    """A number that the disk has changed: what it says is not believed."""
    settings, slides = TilingSettings(tile_size=256, tissue=0, shard_size=4), [rendered[0].path]
    out = tmp_path / "out"
    tile_slides(slides, out, settings, workers=0)
    text = (out / part).read_text()
    assert was in text
    (out / part).write_text(text.replace(was, changed, 1))
    with pytest.raises(ArgumentError, match=words):
        tile_slides(slides, out, settings, workers=0, resume=True)


def test_a_record_of_an_unfinished_tiling_job_that_was_changed(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """Of its journal one record is damaged, so that this work is done again."""
    settings, slides = TilingSettings(tile_size=256, tissue=0, shard_size=4), [rendered[0].path]
    out = tmp_path / "out"
    tile_slides(slides, out, settings, workers=0)
    table = open_tiles(out)
    manifest, whole = (out / "manifest.json").read_bytes(), (out / "slides.jsonl").read_bytes()
    unfinished = {**json.loads(manifest), "finished": False}
    del unfinished["sum"]
    (out / "manifest.json").write_bytes(journal_line(unfinished))
    (slide,) = journal_lines(out / "slides.jsonl")
    plan, parts = slide.pop("plan"), slide.pop("parts")
    del slide["status"]
    (out / "slides.jsonl").write_bytes(journal_line(slide))
    lines = [journal_line({"kind": "plan", "seconds": 1.0, **plan})]
    lines += [journal_line({"kind": "part", "seconds": 1.0, **part}) for part in parts]
    assert b'"copied":4' in lines[2]
    lines[2] = lines[2].replace(b'"copied":4', b'"copied":3')
    (out / "journal.jsonl").write_bytes(b"".join(lines))
    result = tile_slides(slides, out, settings, workers=0, resume=True)
    assert result.slides[0].tiles_copied == 16
    assert ((out / "manifest.json").read_bytes(), (out / "slides.jsonl").read_bytes()) == (manifest, whole)
    assert len(open_tiles(out)) == len(table)


# ------------------------------------------------------------------------------------------------- what fuzzing found


def test_a_name_of_a_column_that_is_no_text(readers: dict[str, Reader], tmp_path: Path) -> None:
    for name in CSV:
        for first in (b"\xec", b"lo\xff", *([] if name == "folds" else [b"a\0b"])):
            (tmp_path / "table.csv").write_bytes(
                first + b",loss,slide,x,y,label,path,class,fold\n" + b"1," * 8 + b"1\n"
            )
            ending = limited(readers[name], tmp_path / "table.csv")
            refused(ending, "table.csv")


def test_a_slide_with_a_zero_byte_in_its_name(readers: dict[str, Reader], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"slide,x,y,label\na\0b.svs,0,0,a\n")
    refused(limited(readers["labels"], tmp_path / "labels.csv"), "zero byte")


def test_a_tile_table_whose_slides_are_no_text(tmp_path: Path) -> None:
    names = pa.array([b"caf\xe9.svs", b"b.svs"], pa.binary()).view(pa.string())
    slide = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4, np.int32)), names)
    columns = {name: np.zeros(4, np.int64) for name in ("level", "x", "y")} | {"size": np.full(4, 256)}
    pq.write_table(pa.table({"slide": slide, **columns}), tmp_path / "tiles.parquet")
    refused(limited(TileTable.open, tmp_path / "tiles.parquet"), "tiles.parquet", "UTF-8")
    refused(limited(TileTable.from_parquet, tmp_path / "tiles.parquet"), "UTF-8")


def test_a_shard_with_a_zero_byte_in_its_name(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    tile_slides([rendered[0].path], tmp_path, TilingSettings(tile_size=256, tissue=0), workers=0)
    table = pq.read_table(tmp_path / "tiles.parquet")
    for name, words in ((b"shards/a\0b.tar", "zero byte"), (b"shards/\xe9.tar", "UTF-8")):
        names = pa.array([name], pa.binary()).view(pa.string())
        shard = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int32)), names)
        changed = table.set_column(table.column_names.index("shard"), "shard", shard)
        pq.write_table(changed, tmp_path / "changed.parquet")
        refused(limited(open_tiles, tmp_path / "changed.parquet"), words)


def test_a_tile_table_that_names_no_such_slide(table: TileTable, tmp_path: Path) -> None:
    """Of a table that was checked before it was written not every row is looked at again."""
    table.save(tmp_path / "tiles.arrow")
    content = bytearray((tmp_path / "tiles.arrow").read_bytes())
    numbers = np.asarray(table.slide, np.int32).tobytes()
    at = content.find(numbers)
    assert at > 0
    content[at : at + 4] = (77).to_bytes(4, "little")
    (tmp_path / "tiles.arrow").write_bytes(content)

    def use(path: Path) -> Any:
        damaged = TileTable.open(path)
        assert "77" in damaged.describe(0)
        (tile, *_) = TileReader(damaged, lenient=True).read(np.array([0]))
        raise tile if isinstance(tile, SlideError) else AssertionError

    refused(limited(use, tmp_path / "tiles.arrow"), "slide number 77", "damaged")


def test_a_block_that_says_it_is_larger_than_its_file(odd: Callable[[str], Path], tmp_path: Path) -> None:
    """OpenSlide would ask GLib for the memory, and GLib end the process."""
    import tifffile

    path = tmp_path / "leica.scn"
    path.write_bytes(odd("leica.scn").read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        assert isinstance(page, tifffile.TiffPage)
        tag = page.tags["TileByteCounts"]
        at, kind = tag.valueoffset, {"SHORT": 2, "LONG": 4, "LONG8": 8}[tag.dtype.name]
    content = bytearray(path.read_bytes())
    content[at : at + kind] = b"\xff" * (kind - 1) + b"\x7f"
    path.write_bytes(content)

    def use(slide: Path) -> Any:
        with open_slide(slide) as opened:
            return opened.thumbnail(64).shape

    refused(limited(use, path), "truncated or damaged")
