"""Commands whose slides and results are in a store, as docs/stores.md shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from store_server import StoreServer

from cellmix_dali.collection import CollectionIndex
from cellmix_dali.synthetic import RenderedSlide

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def slides(store: StoreServer, rendered: list[RenderedSlide]) -> list[str]:
    for slide in rendered:
        store.objects[f"archive/{slide.path.name}"] = slide.path.read_bytes()
    return [f"s3://archive/{slide.path.name}" for slide in rendered]


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_bucket_is_indexed_and_tiled_by_its_index(
    scheme: str, run: Run, slides: list[str], store: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = f"{scheme}://archive/all.index"
    for machine in ("one", "another"):
        monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / machine))
        code, text, errors = run("index", f"{scheme}://archive/", "--out", index, "--mpp", "0.5", "--tile-size", "256")
        assert code == 0, errors
        assert f"2 of 2 slides indexed; written to {index}" in " ".join(text.split())
    assert sorted(CollectionIndex(index)) == sorted(of.replace("s3:", f"{scheme}:") for of in slides)
    folder, out = f"{scheme}://archive/", f"{scheme}://archive/below/tiles"
    settings = ("--mpp", "0.5", "--tile-size", "256", "--workers", "0")
    code, text, errors = run("tile", folder, "--index", index, "--out", out, *settings)
    assert code == 0, errors
    assert f"written to {out}" in " ".join(text.split())
    assert "archive/below/tiles/report.html" in store.objects
    code, _, errors = run("tile", folder, "--index", index, "--out", tmp_path / "local", *settings)
    assert code == 0, errors
    for shard in (tmp_path / "local" / "shards").glob("*.tar"):
        assert store.objects[f"archive/below/tiles/shards/{shard.name}"] == shard.read_bytes()


def test_results_that_are_not_sent_are_refused_before_anything_is_done(run: Run, slides: list[str]) -> None:
    for command in (("stain", slides[0]), ("train", "slides", slides[0]), ("compare", "slides", slides[0])):
        code, _, errors = run(*command, "--out", "s3://archive/results")
        assert code == 2
        assert "cannot be written to s3://archive/results" in " ".join(errors.split())
