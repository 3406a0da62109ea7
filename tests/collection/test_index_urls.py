"""Slides in stores are opened as without an index."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from cellmix_dali.collection import index as index_module, make_index
from cellmix_dali.synthetic import RenderedSlide


def test_a_url_is_opened_by_its_store(
    rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://host.example/slides/a.svs"
    index = make_index([rendered[0].path], tmp_path / "a.index", workers=0)
    opened: list[object] = []
    monkeypatch.setattr(index_module, "open_slide", opened.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index.open(url)
    assert opened == [url]
    assert index.tissue(url, "density", 1024) is None
