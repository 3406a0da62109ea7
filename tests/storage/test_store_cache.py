"""Where what is kept of objects lies, as a caller or an option of a command says it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store_server import StoreServer

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.storage import set_store_cache
from cellmix_dali.synthetic import RenderedSlide

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set goes with the test."""
    for name in ("CELLMIX_DALI_STORE_CACHE", "CELLMIX_DALI_STORE_CACHE_SIZE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def kept(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_it_is_kept_where_it_is_said(store: StoreServer, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    store.objects["archive/slide.svs"] = rendered[0].path.read_bytes()
    set_store_cache(tmp_path / "here", "1GB")
    assert os.environ["CELLMIX_DALI_STORE_CACHE_SIZE"] == "1000000000"
    with open_slide("s3://archive/slide.svs") as slide:
        slide.read_region(0, 0, 0, 256, 256)
    assert kept(tmp_path / "here") > 10_000
    assert not (tmp_path / "kept").exists()  # what the environment said before
    set_store_cache()
    assert os.environ["CELLMIX_DALI_STORE_CACHE"] == str(tmp_path / "here")


def test_a_command_takes_it(run: Run, store: StoreServer, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    store.objects["archive/slide.svs"] = rendered[0].path.read_bytes()
    code, told, err = run("inspect", "s3://archive/slide.svs", "--cache", tmp_path / "here", "--cache-size", "2GiB")
    assert code == 0, err
    assert "s3://archive/slide.svs" in told.replace("\n", "")
    assert kept(tmp_path / "here")
    assert os.environ["CELLMIX_DALI_STORE_CACHE_SIZE"] == str(2 * 2**30)


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--cache", "s3://bucket/x"), "results go to folders of this machine"), (("--cache-size", "much"), "512MB")],
)
def test_what_cannot_be_is_refused(run: Run, given: tuple[str, ...], said: str) -> None:
    code, _, err = run("inspect", "a.svs", *given)
    assert code == 2
    assert said in err


def test_nothing_is_set_where_one_cannot_be(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(ArgumentError, match="size of the cache"):
        set_store_cache(tmp_path, -1)
    assert dict(os.environ) == before
