"""Slides by their number: opened once, and a refusal is kept as long as the file is the same."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest

from cellmix_dali.errors import SlideError
from cellmix_dali.slides import pool as _open_slides
from cellmix_dali.slides.pool import OpenSlides
from cellmix_dali.synthetic import RenderedSlide


def test_a_slide_is_opened_once(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = _open_slides.open_slide
    monkeypatch.setattr(_open_slides, "open_slide", lambda path: (opened.append(str(path)), real(path))[1])
    slides = OpenSlides([str(slide.path) for slide in rendered])
    assert slides[1] is slides[1]
    assert slides[0] is not slides[1]
    assert opened == [str(rendered[1].path), str(rendered[0].path)]
    slides.close()


def test_a_refusal_is_kept_until_the_file_changes(
    rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a broken slide takes long, so it is not tried for every tile; a slide that was mended is read."""
    path = tmp_path / "slide.svs"
    path.write_bytes(b"no slide")
    opened: list[str] = []
    real = _open_slides.open_slide
    monkeypatch.setattr(_open_slides, "open_slide", lambda path: (opened.append(str(path)), real(path))[1])
    slides = OpenSlides([str(path)])
    for _ in range(3):
        with pytest.raises(SlideError):
            slides[0]
    assert len(opened) == 1
    path.write_bytes(b"no slide either")
    with pytest.raises(SlideError):
        slides[0]
    assert len(opened) == 2
    path.write_bytes(rendered[0].path.read_bytes())
    os.utime(path, ns=(1, 1))
    assert slides[0].levels
    assert len(opened) == 3
    slides.close()


@pytest.mark.parametrize("number", [-1, 1, 77])
def test_a_number_that_no_slide_has(number: int) -> None:
    with pytest.raises(SlideError, match=f"says slide number {number}, and names 1 slides"):
        OpenSlides(["slide.svs"])[number]


def test_slides_that_do_not_fit_are_dropped_and_opened_again(
    rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = _open_slides.open_slide
    monkeypatch.setattr(_open_slides, "open_slide", lambda path: (opened.append(Path(path).name), real(path))[1])
    copy = tmp_path / "copy.svs"
    copy.write_bytes(rendered[0].path.read_bytes())
    paths = [*(str(slide.path) for slide in rendered[:2]), str(copy)]
    sizes = [real(path).nbytes for path in paths]
    slides = OpenSlides(paths, cache=sizes[0] + sizes[1])
    first, notes = slides.with_notes(0)
    notes["of"] = "the first"
    assert slides[1] is not first
    assert slides.with_notes(0) == (first, {"of": "the first"})
    assert slides.nbytes == sizes[0] + sizes[1]
    kept = weakref.ref(slides[1])
    assert slides[0] is first  # so 1 was used longest ago
    assert slides[2].levels
    assert kept() is None
    assert len(slides) <= 2
    assert slides.nbytes <= sizes[0] + sizes[1]
    assert slides[1].levels
    assert opened == [Path(paths[number]).name for number in (0, 1, 2, 1)]
    assert slides.with_notes(0)[1] == {}  # notes go with their slide
    slides.close()
    assert slides.nbytes == 0


def test_one_slide_is_kept_whatever_it_takes(rendered: list[RenderedSlide]) -> None:
    slides = OpenSlides([str(slide.path) for slide in rendered[:2]], cache=0)
    for number in (0, 0, 1, 1, 0):
        assert slides[number] is slides[number]
        assert len(slides) == 1


def test_opening_over_and_over_is_told_once(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_open_slides, "_MANY_AGAIN", 2)
    slides = OpenSlides([str(slide.path) for slide in rendered[:2]], cache="1kB")
    with pytest.warns(UserWarning, match=r"opened again 2 times.*slide_cache=1000 .*cellmix-dali index") as told:
        opened = [slides[number % 2] for number in range(8)]
    assert all(slide.levels for slide in opened)
    assert len(told) == 1


def test_a_block_takes_eight_bytes(rendered: list[RenderedSlide]) -> None:
    with _open_slides.open_slide(rendered[0].path) as slide:
        blocks = sum(of.columns * of.rows for of in slide.levels if of.columns and of.rows)
        assert sum(of.nbytes for of in slide._blocks.tables if of is not None) == 8 * blocks
        assert slide.nbytes > 8 * blocks
