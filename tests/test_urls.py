"""What paths stand for URLs, and what is said of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellmix_dali import _urls


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files that stand for objects."""
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "kept"))
    return _urls.objects_folder()


@pytest.mark.parametrize(
    ("inside", "url"),
    [
        ("s3/bucket/a slide.svs", "s3://bucket/a slide.svs"),
        ("gs/bucket", "gs://bucket"),
        ("s3", None),  # no bucket
        ("s3/", None),
        ("", None),
        ("other/bucket/a.svs", None),  # a folder of a person's
        ("other", None),
    ],
)
def test_a_path_stands_for_a_url_where_scheme_and_name_are_there(folder: Path, inside: str, url: str | None) -> None:
    path = f"{folder}/{inside}"
    assert _urls.url_of(path) == url
    assert _urls.place_name(path) == (url or path)


@pytest.mark.parametrize("path", ["/elsewhere/s3/bucket/a.svs", "s3/bucket/a.svs", b"s3/bucket"])
def test_other_paths_stand_for_themselves(path: str) -> None:
    assert _urls.url_of(path) is None
    assert _urls.place_name(path) == os.fspath(path)


def test_text_names_the_urls(folder: Path) -> None:
    text = f"{folder}/s3/bucket/a.svs and {folder}/other/b.svs"
    assert _urls.with_urls(text) == f"s3://bucket/a.svs and {folder}/other/b.svs"
    assert _urls.with_urls("nothing of it") == "nothing of it"
