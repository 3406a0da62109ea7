"""Parts of an index are made beside each other, on many hosts, and the whole takes them over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from held_entries import held
from store_server import StoreServer

from cellmix_dali.collection import IndexSettings, make_index
from cellmix_dali.errors import ArgumentError
from cellmix_dali.jobs import JobShard
from cellmix_dali.storage.folder_lock import FolderLock


@pytest.fixture
def copies(copies: list[Path]) -> list[Path]:
    """Five of them, which two hosts cannot share evenly."""
    return copies[:5]


def test_parts_together_are_the_whole(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    mpps = [0.5, None, 0.25, None, 1.0]
    whole = held(make_index(copies, tmp_path / "whole.index", mpps=mpps, workers=0))
    looked.clear()
    out = tmp_path / "a.index"
    for number, names in ((3, ["2.svs"]), (1, ["0.svs", "3.svs"]), (2, ["1.svs", "4.svs"])):
        part = make_index(copies, out, mpps=mpps, shard=JobShard(number, 3), workers=0)
        assert sorted(Path(each).name for each in part) == looked == names
        looked.clear()
    assert not out.exists()
    assert held(make_index(copies, out, mpps=mpps, workers=0)) == whole
    assert looked == []
    assert sorted(path.name for path in tmp_path.glob("a.index*")) == ["a.index"]


def test_the_whole_looks_at_what_no_part_has(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    out = tmp_path / "a.index"
    make_index(copies, out, shard=JobShard(1, 2), workers=0)
    os.utime(copies[2], ns=(1, 1))  # changed since
    looked.clear()
    assert len(make_index(copies, out, workers=0)) == 5
    assert looked == ["1.svs", "2.svs", "3.svs"]


def test_a_part_goes_by_the_whole_that_is_there(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    out, half = tmp_path / "a.index", JobShard(1, 2)
    make_index(copies[:3], out, IndexSettings(tissue_method="saturation"), workers=0)
    make_index(copies, out, IndexSettings(tissue_method="saturation"), shard=half, workers=0)
    assert looked == ["0.svs", "1.svs", "2.svs", "4.svs"]
    looked.clear()
    part = make_index(copies, out, shard=half, workers=0)  # other tissue: it is looked for, and added
    assert looked == ["0.svs", "2.svs", "4.svs"]
    assert part.tissue(copies[0], "saturation", 1024) is not None
    index = make_index(copies[:3], out, workers=0)
    assert looked[3:] == ["1.svs"]
    assert len(index) == 4
    for slide in copies[:3]:
        for method in ("saturation", "density"):
            assert index.tissue(slide, method, 1024) is not None


def test_a_part_that_is_under_way_is_waited_for_by_a_person(copies: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "a.index"
    make_index(copies, out, shard=JobShard(1, 2), workers=0)
    under_way = tmp_path / "a.index.parts" / "2-of-2.index.job"
    lock = FolderLock(under_way, "test")
    with pytest.raises(ArgumentError, match="Another index job of this part is running"):
        make_index(copies, out, workers=0)
    lock.close()
    assert len(make_index(copies, out, workers=0)) == 5  # that one was killed
    assert not (tmp_path / "a.index.parts").exists()


def test_overwriting_takes_no_part_over(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    out = tmp_path / "a.index"
    make_index(copies, out, shard=JobShard(1, 2), workers=0)
    make_index(copies, out, workers=0, overwrite=True)
    assert len(looked) == 3 + 5
    assert not (tmp_path / "a.index.parts").exists()


def test_parts_lie_in_a_store(
    store: StoreServer, copies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked: list[str]
) -> None:
    out, local = "s3://archive/below/a.index", tmp_path / "local.index"
    for number in (1, 2):
        monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / f"host {number}"))
        make_index(copies, out, shard=JobShard(number, 2), workers=0)
    assert {name.rpartition("/")[2] for name in store.objects} == {"1-of-2.index", "2-of-2.index"}
    looked.clear()
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another"))
    index = make_index(copies, out, workers=0)
    assert looked == []
    assert list(store.objects) == ["archive/below/a.index"]
    assert held(index) == held(make_index(copies, local, workers=0))


def test_the_command_line(run: Callable[..., tuple[int, str, str]], copies: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "5.svs"
    bad.write_bytes(b"no slide")
    command = ("index", *copies, bad, "--out", tmp_path / "a.index", "--workers", 0)
    for more, code, said in (
        (("--shard", "1/2"), 0, "3 of 3 slides indexed; written to {}.parts/1-of-2.index that was part 1/2: when all"),
        (("--shard", "2/2"), 3, "2 of 3 slides indexed; written to {}.parts/2-of-2.index that was part 2/2: when all"),
        ((), 3, "5 of 6 slides indexed; written to {}"),
    ):
        ended, text, _ = run(*command, *more)
        assert ended == code
        assert said.format(tmp_path / "a.index").replace(" ", "") in "".join(text.split())
    ended, _, errors = run(*command, "--shard", "3/2")
    assert ended == 2
    assert "shard" in errors
