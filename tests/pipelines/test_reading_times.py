"""`inspect --blocks`: the ways of reading are timed on the user's own slide."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cellmix_dali.cli import app
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines.reading_times import reading_times
from cellmix_dali.synthetic import RenderedSlide


def test_each_way_is_timed(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cucim", None)  # as where it is not installed
    found = reading_times(rendered[0].path, size=128, tiles=40)
    assert [(time.way, time.places) for time in found] == [
        (way, places) for places in ("on the grid", "anywhere") for way in ("direct", "openslide", "cucim")
    ]
    for time in found:
        if time.way == "cucim":
            assert time.milliseconds is None
            assert "pip install cucim" in time.note
        else:
            assert time.milliseconds is not None
            assert 0 < time.milliseconds < 1000


@pytest.mark.parametrize("broken", [False, True])
def test_cucim_is_timed_where_it_is(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    asked: list[Any] = []

    class CuImage:
        def __init__(self, path: str) -> None:
            asked.append(path)

        def read_region(self, place: tuple[int, int], size: tuple[int, int], level: int) -> np.ndarray:
            if broken:
                raise RuntimeError("no such codec")
            asked.append((place, size, level))
            return np.zeros((*size, 3), np.uint8)

    module = ModuleType("cucim")
    module.CuImage = CuImage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cucim", module)
    found = [time for time in reading_times(rendered[0].path, size=64, tiles=32) if time.way == "cucim"]
    assert asked[0] == str(rendered[0].path)
    if broken:
        assert [time.note for time in found] == ["cuCIM cannot read it (no such codec)"] * 2
    else:
        assert len(asked) == 2 + 2 * 2 * 32
        assert all(time.milliseconds is not None for time in found)


@pytest.mark.slow
def test_inspect_shows_them(rendered: list[RenderedSlide]) -> None:
    found = CliRunner().invoke(app, ["inspect", str(rendered[0].path), "--blocks", "--json"])
    assert found.exit_code == 0, found.output
    times = json.loads(found.stdout)["reading"]
    assert len(times) == 6
    assert {time["way"] for time in times} == {"direct", "openslide", "cucim"}
    found = CliRunner().invoke(app, ["inspect", str(rendered[0].path), "--blocks"])
    assert "times OpenSlide's speed" in " ".join(found.stdout.split())


@pytest.mark.parametrize(
    ("given", "words"), [({"level": 9}, "levels 0 to .*, not 9"), ({"size": 5000}, "is smaller than a tile of 5000")]
)
def test_what_cannot_be_timed(rendered: list[RenderedSlide], given: dict[str, int], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        reading_times(rendered[0].path, **given)
