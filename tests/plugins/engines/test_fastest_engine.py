"""A GPU's default engine is the one measured to be faster there, once per GPU and versions; here on faked GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cellmix_dali._user_cache import CACHE_VARIABLE
from cellmix_dali.plugins.engines import fastest as module, registry
from cellmix_dali.plugins.engines.fastest import cache_file, fastest, gpu_key, milliseconds
from cellmix_dali.plugins.engines.registry import default_engine, engine_for

NAMES = ("native", "numba")


class Timer:
    """Says how long engines take, and which it was asked about."""

    def __init__(self, **times: float) -> None:
        self.times, self.asked = times, list[str]()

    def __call__(self, name: str) -> float:
        self.asked.append(name)
        return self.times[name]


@pytest.mark.parametrize(
    ("native", "numba", "best"),
    [(2.0, 1.0, "numba"), (1.0, 2.0, "native"), (1.0, 0.951, "native"), (1.0, 0.949, "numba")],
)
def test_it_is_measured_once_and_kept(native: float, numba: float, best: str, tmp_path: Path) -> None:
    file, timer = tmp_path / "folder" / "engines.json", Timer(native=native, numba=numba)
    assert fastest(NAMES, "a", timer, file) == best
    assert fastest(NAMES, "a", timer, file) == best
    assert timer.asked == ["native", "numba"]
    assert fastest(NAMES, "b", Timer(native=1.0, numba=0.5), file) == "numba"  # another device, or version
    assert json.loads(file.read_text()) == {
        "a": {"native": native, "numba": numba},
        "b": {"native": 1.0, "numba": 0.5},
    }
    assert [path.name for path in file.parent.iterdir()] == ["engines.json"]  # nothing is left of the writing


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'"a"',
        b"\xff\xfe",
        b'{"a": 3}',
        b'{"a": {"native": 1}}',
        b'{"a": {"native": 1, "numba": "2"}}',
        b'{"a": {"native": 1, "numba": -2}}',
        b'{"a": {"native": 1, "numba": NaN}}',
        b'{"a": {"native": 1, "numba": 2, "other": 1}}',
        b"[" * 100_000,
    ],
    ids=lambda text: text[:40].decode("latin-1"),
)
def test_a_file_that_says_something_else_is_measured_anew(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "engines.json"
    file.write_bytes(text)
    timer = Timer(native=3.0, numba=1.0)
    assert fastest(NAMES, "a", timer, file) == "numba"
    assert timer.asked == ["native", "numba"]
    assert json.loads(file.read_text())["a"] == {"native": 3.0, "numba": 1.0}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=rf"measured in every process: .*{CACHE_VARIABLE}"):
        assert fastest(NAMES, "a", Timer(native=3.0, numba=1.0), tmp_path / "file" / "engines.json") == "numba"
    assert fastest(NAMES, "a", Timer(native=3.0, numba=1.0), None) == "numba"


def test_an_engine_that_fails_is_left_out_and_tried_again(tmp_path: Path) -> None:
    def broken(name: str) -> float:
        if name == "numba":
            raise AttributeError("module 'numpy' has no attribute 'row_stack'")
        return 5.0

    file = tmp_path / "engines.json"
    with pytest.warns(UserWarning, match=r"engine='numba' does not work on GPU X, .*AttributeError: .*row_stack"):
        assert fastest(NAMES, "a", broken, file, "GPU X") == "native"
    assert not file.exists()
    with pytest.warns(UserWarning, match="does not work"), pytest.raises(KeyError):
        fastest(NAMES, "a", Timer(), file)
    # Where there is one alone, nothing is measured.
    assert fastest(["native"], "a", Timer(), file) == "native"


def test_where_the_file_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_file() == tmp_path / "home" / ".cache" / "cellmix_dali" / "engines.json"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_file() == tmp_path / "xdg" / "cellmix_dali" / "engines.json"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert cache_file() == tmp_path / "own" / "engines.json"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Two GPUs that are not there; yields what each engine takes on each."""
    times = {0: {"native": 2.0, "numba": 1.0}, 1: {"native": 1.0, "numba": 2.0}}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.setattr(registry, "milliseconds", lambda engine, _, number: times[number][engine.name])
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    registry._fastest_on.cache_clear()
    yield times
    registry._fastest_on.cache_clear()


def test_each_gpu_has_its_own_default(gpu: dict[int, dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name: default_engine(name) for name in ("gpu", "cuda", "cuda:0", "cuda:1", "cpu")} == {
        "gpu": "numba",
        "cuda": "numba",
        "cuda:0": "numba",
        "cuda:1": "native",
        "cpu": "numba",
    }
    gpu[0] = {}  # what was measured is read, in this process and the next
    registry._fastest_on.cache_clear()
    assert default_engine("gpu") == "numba"
    # Of a pipeline that is being defined, its own GPU counts.
    monkeypatch.setattr(registry.Pipeline, "current", lambda: type("Defined", (), {"device_id": 1}))
    assert default_engine("gpu") == "native"
    assert default_engine("cuda:0") == "numba"


@pytest.mark.usefixtures("gpu")
def test_the_key_is_of_the_gpu_its_driver_and_the_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA   580.1\nGCC version: 12\n")
    monkeypatch.setattr(module, "_DRIVER", driver)
    keys = {gpu_key(0), gpu_key(1)}
    for change in (
        lambda: driver.write_text("NVRM version: NVIDIA   580.2\n"),
        lambda: driver.unlink(),
        lambda: monkeypatch.setattr("cellmix_dali.__version__", "99"),
        lambda: monkeypatch.setattr(module.metadata, "version", lambda package: f"{package} 99"),
    ):
        change()
        keys.add(gpu_key(0))
    assert len(keys) == 6
    assert all("GPU " in key for key in keys)
    assert "NVRM version: NVIDIA 580.1" in "".join(keys)


@pytest.mark.parametrize("name", NAMES)
def test_the_measurement_itself_on_the_cpu(name: str) -> None:
    taken = milliseconds(engine_for(name, "cpu"), engine_for("native", "cpu"), None, rounds=1)
    assert 0.1 < taken < 60_000


def test_on_the_cpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "fastest", lambda *_: pytest.fail("measured"))
    assert default_engine("cpu") == "numba"
    assert default_engine("gpu") == "native"  # there is none
