"""What many tests need: real slides where they are at hand, small rendered ones, a table, the command line."""

from __future__ import annotations

import base64
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

# OpenMP's threads wait for one another without using a core: two test processes on two cores take half the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
from left_behind import nothing_left_behind
from store_server import StoreServer

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.cli import main
from cellmix_dali.synthetic import RenderedSlide, render_slides

SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
ODD = SHARED.with_name("odd")
sys.path += [str(Path(__file__).parent / "slides"), str(Path(__file__).parent / "slides" / "formats")]  # the writers


# Folders whose tests take seconds: `pytest -m quick`.
QUICK = ("annotations", "curriculum", "mixing", "reading", "sampling", "synthetic", "tables")


def pytest_collection_finish() -> None:
    """Keep what is there by now out of the collector's rounds, one of which follows every module of tests."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the quick folders."""
    for item in items:
        if item.path.parent.name in QUICK:
            item.add_marker(pytest.mark.quick)


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Path of a real slide; skips where the folder of slides is missing."""

    def path(name: str) -> Path:
        if not SHARED.is_dir():
            pytest.skip(f"real slides are not at {SHARED}")
        return SHARED / name

    return path


@pytest.fixture(scope="session")
def odd() -> Callable[[str], Path]:
    """Path of a file of the folder of odd slides; skips where that is missing."""

    def path(name: str) -> Path:
        if not ODD.is_dir():
            pytest.skip(f"odd slides are not at {ODD}")
        return ODD / name

    return path


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[RenderedSlide]:
    """An SVS and a generic TIFF of 1024 x 1024 px with 256-px blocks."""
    return render_slides(tmp_path_factory.mktemp("rendered"), count=2, side=1024, seed=5)


@pytest.fixture(scope="session")
def only_openslide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide that OpenSlide alone reads: DICOM of 1152 x 700 px whose frames are not compressed, 0.5 mpp."""
    from dicom_files import PLAIN, image, write_dicom
    from slide_files import picture

    pixels = picture(1152, 700, seed=9)
    how = {"syntax": PLAIN, "photometric": "RGB", "spacing": "0.0005\\0.0005", "power": None}
    path = tmp_path_factory.mktemp("only openslide") / "plain.dcm"
    return write_dicom(path, image(pixels, 256, 256, lambda frame: frame.tobytes(), **how))


@pytest.fixture
def read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make s3://, gs:// and az:// mean the server at an address, with an empty folder for what is kept."""
    from cellmix_dali.storage import stores

    def use(address: str) -> None:
        key = {
            "gcs_base_url": address,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "secret-that-nobody-sees",
            "private_key_id": "key-that-nobody-sees",
        }
        (tmp_path / "google.json").write_text(json.dumps(key))
        for name, value in {
            "CELLMIX_DALI_STORE_CACHE": str(tmp_path / "kept"),
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "key-that-nobody-sees",
            "AWS_SECRET_ACCESS_KEY": "secret-that-nobody-sees",
            "AWS_REGION": "us-east-1",
            "GOOGLE_BASE_URL": address,
            "GOOGLE_SERVICE_ACCOUNT": str(tmp_path / "google.json"),
            "AZURE_STORAGE_ENDPOINT": address,
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"secret-that-nobody-sees").decode(),
        }.items():
            monkeypatch.setenv(name, value)
        stores._opened.cache_clear()

    yield use
    stores._opened.cache_clear()


@pytest.fixture
def store(read_from: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreServer]:
    """An object store on 127.0.0.1, for s3://, gs://, az:// and http://."""
    server = StoreServer()
    monkeypatch.setenv("CELLMIX_DALI_STORE_SECONDS", "1")
    read_from(server.address)
    yield server
    server.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two workers that is there already."""
    import dask
    from distributed import LocalCluster

    with (
        patch.dict(os.environ),  # in which Dask leaves OMP_NUM_THREADS=1
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,  # type: ignore[no-untyped-call]
    ):
        yield cluster


@pytest.fixture
def linked(rendered: list[RenderedSlide], tmp_path: Path) -> Callable[[int], list[Path]]:
    """Make as many slides as asked for: links to the rendered SVS."""

    def make(count: int) -> list[Path]:
        paths = [tmp_path / f"{number}.svs" for number in range(count)]
        for path in paths:
            path.symlink_to(rendered[0].path)
        return paths

    return make


@pytest.fixture(scope="session")
def table(rendered: list[RenderedSlide]) -> TileTable:
    """All 32 block-aligned tiles of both rendered slides, labels 0, 1, 2 in turn."""
    tables = []
    for slide in rendered:
        with open_slide(slide.path) as opened:
            tables.append(grid_tiles(opened, 256))
    whole = TileTable.concat(tables)
    return whole.with_labels(np.arange(len(whole)) % 3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line, 100 columns wide: exit code, standard output, and standard error in one line."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cellmix-dali", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err.replace("\n", " ")

    return call


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """After every module, threads, open files and child processes are back where they were."""
    with nothing_left_behind():
        yield
