"""The tiling job end to end, in this process: what is in the shards and in the table, and what a user may ask for."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiling_jobs import SMALL, assert_same, serial, tree

from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines import read_table
from cellmix_dali.shards import open_tiles, tile_classes, tile_edge
from cellmix_dali.tables.grids import grid_tiles, tissue_shares
from cellmix_dali.tiling import JobState, TilingSettings, tile_slides


def images(table: TileTable) -> list[bytes]:
    """The encoded image of each tile, as the table says where it lies."""
    found = []
    arrow = table.arrow
    for shard, offset, length in zip(*(arrow[name].to_pylist() for name in ("shard", "offset", "bytes")), strict=True):
        with Path(shard).open("rb") as file:
            file.seek(offset)
            found.append(file.read(length))
    return found


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_blocks_are_copied_as_they_are(slides: list[Path], tmp_path: Path) -> None:
    result = serial(slides, tmp_path / "out")
    table = open_tiles(tmp_path / "out")
    assert len(table) == result.tiles > 20
    assert table.slides == tuple(map(str, slides))
    wanted = []
    for path in slides:
        with open_slide(path) as slide:
            grid = grid_tiles(slide, 256)
            shares = tissue_shares(slide, grid)
            for row in np.flatnonzero(shares >= 0.2).tolist():
                x, y = int(grid.x[row]), int(grid.y[row])
                wanted.append((str(path), x, y, slide.block(0, x // 256, y // 256), shares[row]))
    assert images(table) == [block for *_, block, _ in wanted]
    assert table.arrow["tissue"].to_pylist() == pytest.approx([share for *_, share in wanted])
    assert [(table.slides[s], x, y) for s, x, y in zip(table.slide, table.x, table.y, strict=True)] == [
        (slide, x, y) for slide, x, y, *_ in wanted
    ]
    assert set(table.arrow["mpp"].to_pylist()) == {0.5}
    assert all(slide.tiles_encoded == 0 and slide.tiles_copied == slide.tiles for slide in result.slides)


def test_shards_are_tar_files_with_an_index(slides: list[Path], tmp_path: Path) -> None:
    serial(slides[:1], tmp_path / "out")
    table = open_tiles(tmp_path / "out")
    shards = sorted((tmp_path / "out" / "shards").glob("*.tar"))
    assert len(shards) == -(-len(table) // SMALL.shard_size)
    assert {str(shard) for shard in shards} == set(table.arrow["shard"].to_pylist())
    count = 0
    for shard in shards:
        with tarfile.open(shard) as tar:
            about = [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]  # type: ignore[arg-type]
        assert shard.with_suffix(".idx").read_text().startswith(f"v1.2 {len(about)}\n")
        for each in about:
            assert (each["x"], each["y"]) == (table.x[count], table.y[count])
            assert each["slide"] == str(slides[0])
            count += 1
    assert count == len(table)


@pytest.mark.parametrize(
    "asked",
    [
        {"tile_size": 256, "mpp": 0.7, "edge": "pad"},
        {"tile_size": 200, "overlap": 40},
        {"tile_size": 128, "level": 1, "edge": "pad"},
        {"tile_size": 224, "magnification": 10},
        {"tile_size": 256},
    ],
    ids=["mpp-pad", "overlap", "level", "magnification", "blocks"],
)
def test_pixels_are_those_of_the_slide(slides: list[Path], tmp_path: Path, asked: dict[str, Any]) -> None:
    if "magnification" in asked:
        slides = slides[::2]  # the generic TIFF does not say its objective power
    settings = TilingSettings(tissue=0.0, format="png", shard_size=7, **asked)
    # The pyramids are in steps of 4 and of 2, so that level 1 is not of one scale.
    result = serial(slides, tmp_path / "out", settings, mixed_resolutions="level" in asked)
    assert not result.failed
    table = open_tiles(tmp_path / "out")
    assert tile_edge(table) == settings.edge
    row = 0
    for path in slides:
        with open_slide(path) as slide:
            names = {n: v for n, v in asked.items() if n != "tile_size"}
            grid = grid_tiles(slide, settings.tile_size, **names)
            right = read_table(grid, settings.tile_size, edge=settings.edge)
        for one in right:
            (data,) = images(table.select([row]))
            np.testing.assert_array_equal(pixels(data), one)
            row += 1
    assert row == len(table) == result.tiles
    if "mpp" in asked:
        assert table.arrow["mpp"].to_pylist() == pytest.approx([0.7] * len(table), rel=0.02)
    assert all(slide.tiles_copied == 0 for slide in result.slides)


def test_jpeg_quality_and_subsampling(slides: list[Path], tmp_path: Path) -> None:
    sizes = {}
    for quality, subsampling in ((90, "4:4:4"), (90, "4:2:0"), (40, "4:2:0")):
        settings = TilingSettings(format="jpeg", quality=quality, subsampling=subsampling)  # type: ignore[arg-type]
        out = tmp_path / f"{quality}{subsampling[2]}{subsampling[4]}"
        serial(slides[:1], out, settings)
        table = open_tiles(out)
        data = images(table)
        sizes[quality, subsampling] = sum(map(len, data))
        layers = {"4:4:4": (1, 1), "4:2:0": (2, 2)}[subsampling]
        with Image.open(io.BytesIO(data[0])) as image:
            assert image.layer[0][1:3] == layers  # type: ignore[attr-defined]
        right = read_table(table.select([0]), 256)[0]
        assert np.abs(pixels(data[0]).astype(int) - right).mean() < 12
    assert sizes[90, "4:4:4"] > sizes[90, "4:2:0"] > sizes[40, "4:2:0"]


def test_aligned_to_blocks(slides: list[Path], tmp_path: Path) -> None:
    for size in (128, 256, 512):
        result = serial(slides[:1], tmp_path / str(size), TilingSettings(tile_size=size, align="blocks", tissue=0))
        assert (result.failed, result.tiles) == ((), (1024 // size) ** 2)
        assert (result.slides[0].tiles_copied > 0) == (size == 256)
    result = serial(slides[:1], tmp_path / "out", TilingSettings(tile_size=224, align="blocks"))
    assert result.tiles == 0
    assert "256 x 256" in result.failed[0].reason
    assert "tile_size=256" in result.failed[0].reason
    with pytest.raises(ArgumentError, match="overlap=8"):
        TilingSettings(align="blocks", overlap=8)


def test_a_list_with_labels_and_mpp(slides: list[Path], tmp_path: Path) -> None:
    rows = ["slide,label,mpp", f"{slides[0]},tumour,", f"{slides[1]},benign,0.25", f"{tmp_path / 'gone.svs'},benign,"]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    result = serial(tmp_path / "list.csv", tmp_path / "out", TilingSettings(mpp=0.5, tissue=0.2))
    table = open_tiles(tmp_path / "out")
    assert tile_classes(table) == ("benign", "tumour")
    assert table.label is not None
    assert set(zip(table.slide.tolist(), table.label.tolist(), table.level.tolist(), strict=True)) == {
        (0, 1, 0),
        (1, 0, 1),  # its first level has 0.25 microns per pixel, says the list, so the second one has 0.5
    }
    assert [slide.status for slide in result.slides] == ["done", "done", "failed"]
    assert "gone.svs" in result.failed[0].reason


def test_labels_by_annotations(slides: list[Path], tmp_path: Path) -> None:
    settings = TilingSettings(
        tile_size=128, tissue=0, annotations=slides[0].parent, classes=("stroma", "tumour"), min_share=0.9
    )
    result = serial(slides, tmp_path / "out", settings)
    table = open_tiles(tmp_path / "out")
    assert tile_classes(table) == ("stroma", "tumour")
    assert table.label is not None
    assert set(table.label.tolist()) == {0, 1}
    assert 0 < len(table) == result.tiles < 3 * 64
    missing = tmp_path / "some"
    missing.mkdir()
    shutil.copy(slides[1].with_suffix(".geojson"), missing)
    few = TilingSettings(tile_size=128, annotations=missing, classes=("stroma", "tumour"))
    result = serial(slides[:2], tmp_path / "few", few)
    assert [slide.status for slide in result.slides] == ["failed", "done"]
    assert "slide-1.geojson" in result.failed[0].reason


def test_coordinates_alone(slides: list[Path], tmp_path: Path) -> None:
    settings = TilingSettings(tile_size=200, tissue=0.2, coords_only=True)
    result = serial(slides, tmp_path / "out", settings)
    table = open_tiles(tmp_path / "out")
    assert len(table) == result.tiles > 0
    assert "shard" not in table.arrow.column_names
    assert not list((tmp_path / "out" / "shards").iterdir())
    assert read_table(table.select([0]), 200).shape == (1, 200, 200, 3)
    whole = serial(slides, tmp_path / "whole", TilingSettings(tile_size=200, tissue=0.2))
    assert whole.tiles == result.tiles
    finished = open_tiles(tmp_path / "whole").arrow.select(table.arrow.column_names)
    assert finished.to_pylist() == table.arrow.to_pylist()


def test_slides_of_one_name_do_not_meet(slides: list[Path], tmp_path: Path) -> None:
    for number, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        shutil.copy(slides[number], tmp_path / folder / f"slide{slides[number].suffix}")
    result = serial([str(tmp_path / "?" / "*")], tmp_path / "out")
    assert [Path(slide.slide).parent.name for slide in result.slides] == ["a", "b", "c"]
    names = [name for slide in result.slides for name in slide.shards]
    assert len(set(names)) == len(names) == len(list((tmp_path / "out" / "shards").glob("*.tar")))
    alone = serial(slides, tmp_path / "alone")
    assert [slide.tiles for slide in result.slides] == [slide.tiles for slide in alone.slides]
    both, own = images(open_tiles(tmp_path / "out")), images(open_tiles(tmp_path / "alone"))
    assert both == own


def test_folders_patterns_and_repeats(slides: list[Path], tmp_path: Path) -> None:
    folder = slides[0].parent
    result = serial([folder, slides[1], f"{folder}/*.svs"], tmp_path / "out", TilingSettings(coords_only=True))
    assert [Path(slide.slide).name for slide in result.slides] == [slide.name for slide in slides]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "nothing to tile"),
        (["/nowhere/slide.svs"], "no slide at /nowhere/slide.svs"),
        (["/nowhere/*.svs"], "No file fits"),
        (["{empty}"], "There is no slide in the folder"),
        (["{empty}/list.csv", "{slide}"], "stands alone"),
    ],
)
def test_nothing_to_tile(slides: list[Path], tmp_path: Path, sources: list[str], words: str) -> None:
    (tmp_path / "empty").mkdir()
    given = [source.format(empty=tmp_path / "empty", slide=slides[0]) for source in sources]
    with pytest.raises((ArgumentError, SlideError), match=words):
        serial(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tile_size": 0}, "tile_size"),
        ({"mpp": 0.5, "level": 1}, "give only one"),
        ({"overlap": 256}, "overlap=256"),
        ({"edge": "padd"}, "Did you mean 'pad'"),
        ({"align": "block"}, "Did you mean 'blocks'"),
        ({"tissue": 1.5}, "tissue=1.5"),
        ({"format": "jpg"}, "Did you mean 'jpeg'"),
        ({"quality": 0}, "quality=0"),
        ({"subsampling": "4:1:1"}, "4:1:1"),
        ({"shard_size": 0}, "shard_size"),
        ({"device": "cuda"}, "device"),
        ({"mask": Path("/nowhere")}, "/nowhere"),
        ({"classes": ("a", "a"), "annotations": Path("/")}, "different names"),
        ({"mask": Path("/"), "annotations": Path("/")}, "both say where tissue is"),
    ],
)
def test_settings_that_cannot_be(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TilingSettings(**asked)


def test_a_bad_slide_among_good_ones(slides: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"II*\0no slide" * 100)
    result = serial([slides[0], bad, slides[1]], tmp_path / "out")
    assert [slide.status for slide in result.slides] == ["done", "failed", "done"]
    assert "bad.svs" in result.failed[0].reason
    assert open_tiles(tmp_path / "out").slides == (str(slides[0]), str(slides[1]))
    lines = (tmp_path / "out" / "slides.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done", "failed", "done"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["slides"] == 3
    # The copy was bad; with a good one, only it is tiled.
    shutil.copy(slides[2], bad)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    result = serial([slides[0], bad, slides[1]], tmp_path / "out", resume=True)
    assert not result.failed
    assert len(open_tiles(tmp_path / "out").slides) == 3
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time
    serial([slides[0], bad, slides[1]], tmp_path / "anew")
    assert_same(tree(tmp_path / "out"), tree(tmp_path / "anew"))


def test_a_slide_without_tissue_is_no_failure(slides: list[Path], tmp_path: Path) -> None:
    result = serial(slides[:1], tmp_path / "out", TilingSettings(tissue=1.0, tile_size=1024))
    assert not result.failed
    assert (result.tiles, result.slides[0].reason) == (0, "none of its 1 tiles has 1 of tissue")


@pytest.mark.parametrize("kind", ["zeroed_middle_of_block", "no_end_of_image"])
def test_a_damaged_block_costs_its_tiles_alone(tmp_path: Path, kind: str) -> None:
    from damage_kinds import KINDS, layout_of, write_rendered

    (damage,) = (each.damage for each in KINDS if each.name == kind)
    path = next(path for path in write_rendered(tmp_path) if path.name == "ycbcr.tiff")
    layout = layout_of(path)
    good = path.read_bytes()
    serial([path], tmp_path / "good", TilingSettings(tile_size=64, tissue=0))
    broken = damage(bytearray(good), layout)
    assert broken is not None
    path.write_bytes(broken)
    for asked in ({}, {"format": "png"}, {"tile_size": 32}):
        settings = TilingSettings(**{"tile_size": 64, "tissue": 0, **asked})  # type: ignore[arg-type]
        out = tmp_path / f"out{len(asked)}{settings.format}"
        result = serial([path], out, settings)
        lost = (64 // settings.tile_size) ** 2
        assert (result.bad_tiles, result.failed) == (lost, ())
        assert result.tiles == (300 // settings.tile_size) * (200 // settings.tile_size) - lost
        lines = [json.loads(line) for line in (out / "bad_tiles.jsonl").read_text().splitlines()]
        assert len(lines) == lost
        for line in lines:  # the block in column 2, row 1
            assert (line["slide"], line["x"] // 64, line["y"] // 64) == (str(path), 2, 1)
            assert line["reason"]
        table = open_tiles(out)
        if settings.tile_size == 64 and settings.format == "auto":
            whole = open_tiles(tmp_path / "good")
            kept = (whole.x != 128) | (whole.y != 64)
            assert images(table) == images(whole.select(kept))


def test_a_slide_of_damaged_blocks_fails(tmp_path: Path) -> None:
    from slide_files import directory, picture, write_tiff

    path = write_tiff(tmp_path / "bad.tiff", [directory(picture(200, 100), encode=lambda _: b"\xff\xd8 no picture")])
    result = serial([path], tmp_path / "out", TilingSettings(tile_size=64, tissue=0))
    assert len(result.failed) == 1
    assert "bad.tiff" in result.failed[0].reason


def test_blank_blocks_look_as_the_format_says(tmp_path: Path) -> None:
    from slide_files import directory, picture, write_tiff

    path = write_tiff(tmp_path / "blank.tiff", [directory(picture(192, 128, seed=2), blank=[(1, 0)])])
    result = serial([path], tmp_path / "out", TilingSettings(tile_size=64, tissue=0))
    assert (result.tiles, result.bad_tiles) == (6, 0)
    assert (result.slides[0].tiles_copied, result.slides[0].tiles_encoded) == (5, 1)
    assert (pixels(images(open_tiles(tmp_path / "out"))[1]) == 255).all()


def test_real_slides(real: Callable[[str], Path], tmp_path: Path) -> None:
    names = ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jp2.tiff", "gcp-camelyon-multiframe-jpeg.dcm"]
    paths = [real(name) for name in names]
    asked = TilingSettings(tile_size=240, level=0)
    result = serial([*paths, real("histolab-broken.svs")], tmp_path / "out", asked, mixed_resolutions=True)
    assert [slide.status for slide in result.slides][:2] == ["done", "done"]
    assert result.slides[3].status == "failed"
    svs, jp2 = result.slides[:2]
    assert svs.tiles_copied == svs.tiles > 20
    assert jp2.tiles_encoded == jp2.tiles > 20  # JPEG 2000 is not copied
    table = open_tiles(tmp_path / "out")
    with open_slide(paths[0]) as slide:
        data = images(table.select([0]))[0]
        right = slide.read_region(0, int(table.x[0]), int(table.y[0]), 240, 240)
    np.testing.assert_array_equal(pixels(data), right)


def test_progress(slides: list[Path], tmp_path: Path) -> None:
    states: list[JobState] = []
    result = tile_slides(slides, tmp_path / "out", SMALL, workers=0, progress=states.append)
    assert [state.last.slide for state in states if state.last] == [str(path) for path in slides]
    assert (states[-1].slides_done, states[-1].tiles_done, states[-1].tiles) == (3, result.tiles, result.tiles)
    assert states[-1].seconds_left == 0
    assert states[-1].tiles_per_second > 0
    for one, other in pairwise(states):
        assert one.tiles_done <= other.tiles_done
        assert one.slides_done <= other.slides_done
