"""Slides by their number: opened once, and a refusal is kept as long as the file is the same."""

from __future__ import annotations

import os
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
