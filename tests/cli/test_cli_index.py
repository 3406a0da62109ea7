"""`cellmix-dali index`: an index of slides, and what comes of those that cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cellmix_dali.collection import CollectionIndex
from cellmix_dali.synthetic import RenderedSlide

Run = Callable[..., tuple[int, str, str]]


def test_an_index_is_made_and_brought_up_to_date(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.index"
    asked = ("--out", out, "--tissue-method", "saturation", "--mpp", "1", "--thumbnail", "100")
    code, text, _ = run("index", rendered[0].path, *asked)
    assert code == 0
    assert "1 of 1 slides indexed" in text
    code, text, _ = run("index", *(slide.path for slide in rendered), *asked)
    assert code == 0
    assert re.search(r"2 of 2 slides: .*2 of 2 slides indexed", " ".join(text.split()))
    index = CollectionIndex(out)
    assert len(index) == 2
    assert (index.settings["tissue_method"], index.settings["mpp"]) == ("saturation", 1.0)
    assert index.tissue(rendered[0].path, "saturation", 1024) is not None
    thumbnail = index.thumbnail(rendered[0].path)
    assert thumbnail is not None
    assert max(thumbnail.shape) == 100


@pytest.mark.parametrize(("more", "code"), [((), 3), (("--skip-bad-slides",), 0)])
def test_slides_that_cannot_be_opened(
    more: tuple[str, ...], code: int, run: Run, rendered: list[RenderedSlide], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"no slide")
    for _ in range(2):  # said again by a run that looks at nothing
        ended, text, _ = run("index", rendered[0].path, bad, "--out", tmp_path / "a.index", "--no-tissue", *more)
        assert ended == code
        assert "bad.svs is not a slide" in " ".join(text.split())
        assert "1 of 2 slides indexed" in text


def test_what_cannot_be_an_index(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    code, _, errors = run("index", rendered[0].path, "--out", tmp_path)
    assert code == 2
    assert "is a folder: name a file" in " ".join(errors.split())
    other = tmp_path / "other"
    other.write_bytes(b"something else that nobody should lose" * 3)
    code, _, errors = run("index", rendered[0].path, "--out", other)
    assert code == 2
    assert "The index" in errors
    assert other.read_bytes().startswith(b"something")
