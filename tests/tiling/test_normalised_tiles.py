"""Tiles whose stains are normalised: by the reference's arithmetic, none copied, and only by one table and target."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from slide_files import directory, picture, write_tiff
from tiling_jobs import serial

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.shards import open_tiles, tile_stains
from cellmix_dali.stain import SlideStain, StainSettings, StainTable
from cellmix_dali.stain.fits import LabFit
from cellmix_dali.tiling import TilingSettings
from cellmix_dali.tiling.stains import change_of, scale_note


@pytest.fixture
def coloured(tmp_path: Path) -> list[Path]:
    """Two slides of 128 x 192 px and of other colours."""
    return [
        write_tiff(tmp_path / f"slide-{seed}.tiff", [directory(picture(128, 192, seed=seed), pixels_per_cm=20000)])
        for seed in range(2)
    ]


@pytest.fixture
def stains(coloured: list[Path], tmp_path: Path) -> Path:
    fits = LabFit([50, 5, -5], [20, 20, 25]), LabFit([60, -5, 10], [10, 12, 14])
    rows = [SlideStain(str(path), fit, mpp=of) for path, fit, of in zip(coloured, fits, (0.5, 0.25), strict=True)]
    StainTable(rows, StainSettings(method="reinhard").to_json()).save(tmp_path / "stains.parquet")
    return tmp_path / "stains.parquet"


def images(folder: Path) -> list[NDArray[np.uint8]]:
    """The images of a job's tiles, in the order of its table."""
    arrow = open_tiles(folder).arrow
    found = []
    for shard, offset, length in zip(*(arrow[name].to_pylist() for name in ("shard", "offset", "bytes")), strict=True):
        stream = Path(shard).read_bytes()[offset : offset + length]
        found.append(np.asarray(Image.open(io.BytesIO(stream))))
    return found


def settings(stains: Path | None, **asked: object) -> TilingSettings:
    return TilingSettings(**{"tile_size": 64, "tissue": 0, "stains": stains, **asked})  # type: ignore[arg-type]


def test_pixels_are_those_of_the_reference(coloured: list[Path], stains: Path, tmp_path: Path) -> None:
    to = str(coloured[1])
    result = serial(coloured, tmp_path / "out", settings(stains, format="png", stain_target=to))
    assert not result.failed
    assert [slide.tiles_copied for slide in result.slides] == [0, 0]
    told = "its stain was fitted at 0.25 µm per pixel, its tiles are at 0.5 µm per pixel"
    assert [slide.reason for slide in result.slides] == ["", told]
    table = open_tiles(tmp_path / "out")
    assert tile_stains(table) == f"reinhard, to {to}"
    changes = StainTable.open(stains).changes(table.slides, to)
    seen = set()
    for row, image in enumerate(images(tmp_path / "out")):
        number = int(table.slide[row])
        with open_slide(table.slides[number]) as slide:
            pixels = slide.read_region(0, int(table.x[row]), int(table.y[row]), 64, 64)
        np.testing.assert_array_equal(image, changes[number].apply(pixels))
        seen.add((number, bool((image != pixels).any())))
    assert seen == {(0, True), (1, False)}


def test_jpeg_blocks_are_not_copied_then(coloured: list[Path], stains: Path, tmp_path: Path) -> None:
    plain = serial(coloured[:1], tmp_path / "plain", settings(None))
    changed = serial(coloured[:1], tmp_path / "changed", settings(stains))
    assert (plain.slides[0].tiles_copied, changed.slides[0].tiles_copied) == (6, 0)
    assert tile_stains(open_tiles(tmp_path / "plain")) is None
    ours, theirs = (np.stack(images(tmp_path / name)).astype(int) for name in ("changed", "plain"))
    assert np.abs(ours - theirs).mean() > 3


def test_a_slide_without_a_fit_fails_and_no_other(coloured: list[Path], stains: Path, tmp_path: Path) -> None:
    table = StainTable.open(stains)
    rows = [table.rows[0], SlideStain(str(coloured[1]), fault="it has no tissue.", fault_kind="damaged")]
    StainTable(rows, table.settings).save(stains)
    result = serial(coloured, tmp_path / "out", settings(stains))
    assert [slide.status for slide in result.slides] == ["done", "failed"]
    assert "has no fitted stain in" in result.slides[1].reason
    assert "it has no tissue" in result.slides[1].reason
    StainTable(rows[:1], table.settings).save(stains)
    for ask in (change_of, lambda *of: scale_note(*of, 0.5)):
        with pytest.raises(ArgumentError, match="The table of stains has no slide"):
            ask(stains, "median", coloured[1])
    assert "at an unknown resolution" in scale_note(stains, "median", coloured[0], None)
    assert not scale_note(stains, "median", coloured[0], 0.51)


def test_a_job_goes_on_with_the_same_stains_alone(coloured: list[Path], stains: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", StainTable.open(stains)
    serial(coloured[:1], out, settings(stains))
    serial(coloured[:1], out, settings(stains), resume=True)
    with pytest.raises(ArgumentError, match="stain_target was"):
        serial(coloured[:1], out, settings(stains, stain_target=str(coloured[1])), resume=True)
    with pytest.raises(ArgumentError, match="stains was"):
        serial(coloured[:1], out, settings(None), resume=True)
    other = SlideStain(str(coloured[0]), LabFit([51, 5, -5], [20, 20, 25]))
    StainTable([other, table.rows[1]], table.settings).save(stains)
    with pytest.raises(ArgumentError, match=r"stain_fits was .*rows"):
        serial(coloured[:1], out, settings(stains), resume=True)


def test_settings_that_are_refused(stains: Path, tmp_path: Path) -> None:
    for asked, words in (
        ({"stains": tmp_path / "nothing.parquet"}, "there is no file"),
        ({"stains": stains, "coords_only": True}, "coordinates have no colours"),
        ({"stains": stains, "stain_target": "nothing.png"}, "there is no file"),
        ({"stain_target": "a.png"}, "without stains"),
        ({"stains": 3}, "must be named by a path"),
    ):
        with pytest.raises(ArgumentError, match=words):
            TilingSettings(**asked)  # type: ignore[arg-type]
    assert not [name for name in TilingSettings().to_json() if name.startswith("stain")]
