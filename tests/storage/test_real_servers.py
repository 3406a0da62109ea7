"""S3 as a server of other people speaks it, moto's, and what may happen on the way there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from fault_proxy import FaultProxy

from cellmix_dali import open_slide, open_tiles, read_tiles
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.storage import stores
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tiling import TilingSettings, tile_slides


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server whose bucket "archive" is empty."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        urlopen(Request(f"http://127.0.0.1:{port}/archive", method="PUT")).close()
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def proxy(server: int, read_from: Callable[[str], None]) -> Iterator[FaultProxy]:
    """What stands before the server; s3:// goes through it."""
    found = FaultProxy(server)
    read_from(found.address)
    yield found
    found.close()


@pytest.fixture
def archive(proxy: FaultProxy, rendered: list[RenderedSlide]) -> str:
    """A bucket with the rendered slides and a list of them."""
    from obstore.store import S3Store

    assert proxy.latency == 0
    bucket = S3Store("archive", client_options={"allow_http": True})
    for slide in rendered:
        bucket.put(f"in a folder/{slide.path.name}", slide.path.read_bytes())
    lines = [f"in a folder/{slide.path.name},{number}" for number, slide in enumerate(rendered)]
    bucket.put("list.csv", "\n".join(["slide,label", *lines]).encode())
    return "s3://archive"


def test_pixels_are_those_of_the_file(archive: str, rendered: list[RenderedSlide]) -> None:
    for slide in rendered:
        with open_slide(f"{archive}/in a folder/{slide.path.name}") as stored, open_slide(slide.path) as local:
            assert stored.levels == local.levels
            for level in range(len(local.levels)):
                place = level, 40, 50, 90, 70
                np.testing.assert_array_equal(stored.read_region(*place), local.read_region(*place))
            np.testing.assert_array_equal(
                read_tiles(stored, [(0, 0), (300, 100)], 256), read_tiles(local, [(0, 0), (300, 100)], 256)
            )


@pytest.mark.parametrize("fault", ["429", "503", "cut", "truncate"])
def test_faults_on_the_way_change_nothing(
    archive: str,
    proxy: FaultProxy,
    rendered: list[RenderedSlide],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Every second request comes to nothing; all come late."""
    monkeypatch.setattr(stores, "_FIRST_PAUSE", timedelta(milliseconds=1))
    proxy.fault, proxy.latency = lambda number: fault if number % 2 == 0 else None, 0.005
    slide = rendered[0].path
    with open_slide(f"{archive}/in a folder/{slide.name}") as stored, open_slide(slide) as local:
        places = [(x, y) for x in range(0, 700, 300) for y in range(0, 700, 300)]
        np.testing.assert_array_equal(read_tiles(stored, places, 256), read_tiles(local, places, 256))
    assert proxy.happened[fault] > 2


def test_a_server_that_stays_away_is_said(archive: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLMIX_DALI_STORE_SECONDS", "0.2")
    stores._opened.cache_clear()
    proxy.fault = lambda _: "503"
    with pytest.raises(NotReadError, match=r"503 Service Unavailable.*Nothing says that the file is damaged"):
        open_slide(f"{archive}/in a folder/slide.svs")


def test_a_list_is_tiled(archive: str, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    settings = TilingSettings(256, tissue=0.0)
    result = tile_slides(f"{archive}/list.csv", tmp_path / "out", settings, workers=0)
    assert not result.failed
    local = tile_slides([slide.path for slide in rendered], tmp_path / "local", settings, workers=0)
    assert result.tiles == local.tiles > 0
    table = open_tiles(tmp_path / "out")
    assert {Path(name).name for name in table.slides} == {slide.path.name for slide in rendered}
    assert all(name.startswith(archive) for name in table.slides)


def test_what_is_not_there_is_said(archive: str) -> None:
    with pytest.raises(SlideError, match=r"There is no slide at s3://archive/none\.svs"):
        open_slide(f"{archive}/none.svs")


def test_tiles_go_to_the_store_and_a_job_goes_on_from_there(
    archive: str, rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards in one request, and in parts; what was sent is known again by its ETag on another machine."""
    monkeypatch.setattr(stores, "_ONE_REQUEST", 50_000)
    settings, slides = TilingSettings(256, tissue=0.0, format="png"), [slide.path for slide in rendered]
    local = tile_slides(slides, tmp_path / "local", settings, workers=0)
    result = tile_slides(slides, f"{archive}/out", settings, workers=0)
    shards = sorted((tmp_path / "local" / "shards").glob("*.tar"))
    assert shards[0].stat().st_size > 50_000
    assert result.tiles == local.tiles > 0
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another machine"))
    again = tile_slides(slides, f"{archive}/out", settings, workers=0, resume=True)
    assert not again.changed
    stored = {of.url.rpartition("/")[2]: of for of in stores.all_below(f"{archive}/out") if of.url.endswith(".tar")}
    assert set(stored) == {path.name for path in shards}
    for path in shards:
        copy = tmp_path / f"copy of {path.name}"
        stores.fetch_file(stored[path.name], copy)
        assert copy.read_bytes() == path.read_bytes()
    stores.remove([of.url for of in stored.values()])
    assert not [of for of in stores.all_below(f"{archive}/out") if of.url.endswith(".tar")]
