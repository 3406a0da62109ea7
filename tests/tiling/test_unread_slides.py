"""Slides and tiles that could not be read for a reason of the moment: told apart, and done by a job that resumes."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outage import BadSector, Outage
from PIL import Image
from slide_files import directory, picture, write_tiff
from tiling_jobs import TINY, Tree, assert_same, serial, tree

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError, NotReadError, SlideError
from cellmix_dali.tiling import TilingResult, TilingSettings, parts, tasks, tile_slides
from cellmix_dali.tiling.records import PartRecord


def job(slides: list[Path], out: Path, settings: TilingSettings = TINY, **options: Any) -> TilingResult:
    own = {"workers": 0, "retry_seconds": 0.05}
    return tile_slides(slides, out, settings, **(own | options))


def bad_tiles(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "bad_tiles.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["EMFILE", "EACCES", "ETIMEDOUT", "ESTALE", "EIO"])
def test_a_slide_that_is_not_read_is_done_by_a_job_that_resumes(
    name: str, tiny: list[Path], uninterrupted: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        Outage(patch, getattr(errno, name), tiny[1])
        result = job(tiny, out)
    assert [slide.status for slide in result.slides] == ["done", "not read", "done"]
    assert result.failed == ()
    (unread,) = result.not_read
    assert str(tiny[1]) in unread.reason
    assert "Not read" in unread.reason
    report = json.loads((out / "report.json").read_text())
    assert [report["totals"][name] for name in ("done", "failed", "not_read", "tiles")] == [2, 0, 1, 48]
    assert report["slides"][1]["status"] == "not read"
    assert "could not be read just then: --resume tries again" in (out / "report.html").read_text()
    result = job(tiny, out, resume=True)
    assert [slide.status for slide in result.slides] == ["done"] * 3
    assert_same(tree(out), uninterrupted)


@pytest.mark.parametrize("before", [0, 7, 30, 60])
def test_a_short_outage_changes_nothing(
    before: int, tiny: list[Path], uninterrupted: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        outage = Outage(patch, errno.ETIMEDOUT, tiny[0].parent, before=before, calls=2)
        result = job(tiny, out, retry_seconds=5)
    assert outage.over
    assert (result.bad_tiles, result.failed, result.not_read) == (0, (), ())
    assert_same(tree(out), uninterrupted)


@pytest.mark.parametrize("how", ["copied", "encoded"])
def test_tiles_that_are_not_read_are_told_from_damaged_ones_and_made_by_a_job_that_resumes(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TINY, shard_size=8)
    if how == "encoded":
        settings = replace(settings, format="png", tile_size=32, mpp=1.0, mpp_override=0.5)
    slides = [
        write_tiff(tmp_path / f"{number}.tiff", [directory(picture(384, 256, seed=number), pixels_per_cm=20000)])
        for number in range(2)
    ]
    content = bytearray(slides[0].read_bytes())
    first = content.index(b"\xff\xd9") - 400  # in the scan of the first tile
    content[first : first + 200] = bytes(200)
    slides[0].write_bytes(content)
    whole = tmp_path / "whole"
    job(slides, whole, settings)
    assert [tile["kind"] for tile in bad_tiles(whole)] == ["damaged"]
    out, made, make = tmp_path / "out", [], tasks.make_part

    def make_part(slide: Any, settings: Any, folder: Any, plan: Any, part: int, **how: Any) -> PartRecord:
        made.append((slide.number, part))
        return make(slide, settings, folder, plan, part, **how)

    with open_slide(slides[1]) as slide:
        place = int(slide._blocks.tables[0].offsets[9]) + 50  # in the second tile of the second part
    monkeypatch.setattr(tasks, "make_part", make_part)
    with monkeypatch.context() as patch:
        sector = BadSector(patch, slides[1], place)
        result = job(slides, out, settings)
        assert sector.met
    assert made.count((1, 1)) > 1  # tried again
    assert len(set(made)) == 6
    assert [slide.status for slide in result.slides] == ["done", "done"]
    assert (result.bad_tiles, result.unread_tiles, result.tiles) == (2, 1, 48 - 2)
    found = bad_tiles(out)
    assert [(tile["slide"], tile["kind"]) for tile in found] == [
        (str(slides[0]), "damaged"), (str(slides[1]), "not read")
    ]  # fmt: skip
    assert "Input/output error. Not read" in found[1]["reason"]
    report = json.loads((out / "report.json").read_text())
    assert report["totals"]["unread_tiles"] == 1
    assert [slide["unread_tiles"] for slide in report["slides"]] == [0, 1]
    assert "not all read" in (out / "report.html").read_text()
    made.clear()
    result = job(slides, out, settings, resume=True)
    assert made == [(1, 1)]  # nothing else was made again
    assert (result.bad_tiles, result.unread_tiles) == (1, 0)
    assert_same(tree(out), tree(whole))


def test_a_slide_of_which_no_tile_is_read(tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error, make = NotReadError("Not now."), parts._tiles

    def none_read(slide: Any, table: Any, settings: Any, *more: Any) -> Iterator[Any]:
        made = make(slide, table, settings, *more)
        yield from ((row, SlideError("Broken.") if row == 0 else error, False) for row, _, _ in made)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "_tiles", none_read)
        result = job(tiny[:1], tmp_path / "out")
    assert result.slides[0].status == "not read"
    assert "None of the 24 tiles" in result.slides[0].reason
    assert "The first: Not now." in result.slides[0].reason
    assert job(tiny[:1], tmp_path / "out", resume=True).tiles == 24


def test_after_a_wait_in_vain_others_are_tried_once(
    tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with monkeypatch.context() as patch:
        Outage(patch, errno.EACCES, *tiny)
        result = job(tiny, tmp_path / "out", retry_seconds=0.8)
    assert len(result.not_read) == 3
    assert 0.8 < time.monotonic() - began < 2 * 0.8


def test_a_job_that_resumes_keeps_slides_that_it_cannot_look_at(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    with monkeypatch.context() as patch:
        Outage(patch, errno.EACCES, tiny[1])
        result = job(tiny, out, resume=True)
    assert result.changed == ()
    assert [slide.status for slide in result.slides] == ["done"] * 3
    assert_same(tree(out), uninterrupted)


@pytest.mark.parametrize("kind", ["mask", "annotations"])
def test_a_mask_or_annotations_that_are_not_read(
    kind: str, tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    ring = [[0, 0], [384, 0], [384, 256], [0, 256], [0, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    content = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geometry, "properties": {}}]}
    for slide in tiny[:2]:
        if kind == "mask":
            Image.new("L", (96, 64), 255).save(folder / f"{slide.stem}.png")
        else:
            (folder / f"{slide.stem}.geojson").write_text(json.dumps(content))
    settings = replace(TINY, **{kind: folder})
    gone = sorted(folder.iterdir())[0]
    with monkeypatch.context() as patch:
        Outage(patch, errno.ETIMEDOUT, gone)
        result = job(tiny[:2], tmp_path / "out", settings)
    assert [slide.status for slide in result.slides] == ["not read", "done"]
    assert str(gone) in result.slides[0].reason
    result = job(tiny[:2], tmp_path / "out", settings, resume=True)
    assert [slide.status for slide in result.slides] == ["done", "done"]


def test_the_command_says_what_was_not_read(
    run: Callable[..., tuple[int, str, str]], tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["tile", *tiny, "--tile-size", 64, "--tissue", 0, "--out", tmp_path / "out", "--workers", 0]
    with monkeypatch.context() as patch:
        Outage(patch, errno.EACCES, tiny[2])
        code, out, _ = run(*command, "--retry-seconds", 0)
        assert code == 3
        assert "not read: Cannot" in out
        assert "1 of 3 slides were not read" in out
        assert "try again with --resume" in out
        assert "failed" not in out
        code, _, _ = run(*command, "--retry-seconds", 0, "--resume", "--skip-bad-slides")
        assert code == 0
    code, out, _ = run(*command, "--resume")
    assert code == 0
    assert "not read" not in out


def test_no_time(tiny: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="retry_seconds=-1"):
        job(tiny, tmp_path / "out", retry_seconds=-1)
    assert not (tmp_path / "out").exists()
