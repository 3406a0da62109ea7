"""gs:// and az:// from end to end: slides, lists, folders, results in one request and in parts, and refused logins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_server import StoreServer

from cellmix_dali import open_slide, open_tiles
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.storage import stores
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tiling import TilingSettings, tile_slides

SETTINGS = TilingSettings(256, tissue=0.0, format="png")


@pytest.fixture(params=["gs", "az"])
def archive(request: pytest.FixtureRequest, store: StoreServer, rendered: list[RenderedSlide]) -> str:
    for slide in rendered:
        store.objects[f"archive/slides/{slide.path.name}"] = slide.path.read_bytes()
    names = [f"slides/{slide.path.name}" for slide in rendered]
    store.objects["archive/list.csv"] = "\n".join(["slide", *names]).encode()
    return f"{request.param}://archive"


def test_pixels_are_those_of_the_file(archive: str, rendered: list[RenderedSlide]) -> None:
    for slide in rendered:
        with open_slide(f"{archive}/slides/{slide.path.name}") as stored, open_slide(slide.path) as local:
            np.testing.assert_array_equal(stored.read_region(0, 40, 50, 300, 70), local.read_region(0, 40, 50, 300, 70))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["list.csv", "slides/"])
def test_slides_are_tiled_into_the_store(
    given: str,
    archive: str,
    store: StoreServer,
    rendered: list[RenderedSlide],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "_ONE_REQUEST", 50_000)
    monkeypatch.setattr(stores, "_PART_BYTES", 5 << 20)
    slides = [f"{archive}/slides/{slide.path.name}" for slide in rendered]
    local = tile_slides(slides, tmp_path / "local", SETTINGS, workers=0)
    result = tile_slides(f"{archive}/{given}", f"{archive}/out", SETTINGS, workers=0)
    assert result.tiles == local.tiles > 0
    for shard in (tmp_path / "local" / "shards").glob("*.tar"):
        assert shard.stat().st_size > 50_000
        assert store.objects[f"archive/out/shards/{shard.name}"] == shard.read_bytes()
    assert {Path(name).name for name in open_tiles(f"{archive}/out").slides} == {slide.path.name for slide in rendered}
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another machine"))
    assert not tile_slides(f"{archive}/{given}", f"{archive}/out", SETTINGS, workers=0, resume=True).changed


def test_what_is_refused_is_said(archive: str, store: StoreServer) -> None:
    with pytest.raises(SlideError, match=rf"There is no slide at {archive}/none\.svs"):
        open_slide(f"{archive}/none.svs")
    store.fault = lambda _, __: "403"
    login = "GOOGLE_APPLICATION_CREDENTIALS" if archive.startswith("gs") else "AZURE_STORAGE_ACCOUNT_NAME"
    with pytest.raises(NotReadError, match=f"403 Forbidden.*{login}") as caught:
        open_slide(f"{archive}/slides/other.svs")
    assert "nobody-sees" not in str(caught.value)
