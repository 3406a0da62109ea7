"""An index is made by the jobs' machinery: in parallel, resumed after a kill, brought up to date slide by slide."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held_entries import held

from cellmix_dali.collection import CollectionIndex, IndexSettings, make_index
from cellmix_dali.errors import ArgumentError


def test_processes_make_the_same(copies: list[Path], tmp_path: Path) -> None:
    make_index(copies, tmp_path / "a.index", workers=0)
    make_index(copies, tmp_path / "b.index", workers=2)
    assert held(CollectionIndex(tmp_path / "a.index")) == held(CollectionIndex(tmp_path / "b.index"))
    assert len(held(CollectionIndex(tmp_path / "a.index"))) == 6


@pytest.mark.slow
def test_workers_of_a_cluster_make_the_same(copies: list[Path], tmp_path: Path, cluster: Any) -> None:
    make_index(copies, tmp_path / "a.index", workers=0)
    index = make_index(copies, tmp_path / "b.index", scheduler=cluster.scheduler_address)
    assert held(CollectionIndex(tmp_path / "a.index")) == held(CollectionIndex(tmp_path / "b.index"))
    assert index.tissue(copies[0], "density", 1024) is not None


def test_only_what_is_new_or_has_changed_is_looked_at(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    out = tmp_path / "a.index"
    make_index(copies[:4], out, workers=0)
    os.utime(copies[1], ns=(1, 1))
    old = CollectionIndex(out)
    index = make_index(copies[:3] + copies[4:5], out, workers=0)
    assert looked == ["0.svs", "1.svs", "2.svs", "3.svs", "1.svs", "4.svs"]
    assert sorted(index) == sorted(map(str, copies[:5]))  # 3 stays
    assert len(old) == 4  # who has the one before goes on with it
    before = out.stat().st_ino
    make_index(copies[:3], out, workers=0)
    assert len(looked) == 6
    assert out.stat().st_ino == before  # nothing to do: it is left alone
    make_index(copies[:2], out, workers=0, overwrite=True)
    assert len(looked) == 8
    assert len(CollectionIndex(out)) == 2


def test_other_tissue_is_added(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    out, slide = tmp_path / "a.index", copies[0]
    first, second = IndexSettings(), IndexSettings(tissue_method="saturation")
    for settings in (first, second, first, second):
        index = make_index([slide], out, settings, workers=0)
    assert looked == ["0.svs", "0.svs"]
    make_index([slide], out, IndexSettings(tile_size=300, thumbnail=0), workers=0)  # on a picture of the same size
    assert len(looked) == 2
    masks = [index.tissue(slide, method, 1024) for method in ("density", "saturation")]
    assert all(mask is not None for mask in masks)
    assert index.tissue(slide, "density", 999) is None


SCRIPT = """
import sys, time
from pathlib import Path
from cellmix_dali.collection import make_index
if __name__ == "__main__":
    slides = sorted(Path(sys.argv[1]).glob("*.svs"))
    def told(done, count, slide):
        print(done, flush=True)
        if done == 3:
            time.sleep(60)
    make_index(slides, Path(sys.argv[1]) / "a.index", workers=0, progress=told)
"""


@pytest.mark.slow
def test_a_kill_costs_nothing_that_was_done(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "3":
                break
        process.send_signal(signal.SIGKILL)
    entries = tmp_path / "a.index.job" / "entries"
    with entries.open("ab") as file:  # of a slide that was written, and not noted
        file.write(b"a part of an entry")
    index = make_index(copies, tmp_path / "a.index", workers=0)
    assert looked == ["3.svs", "4.svs", "5.svs"]
    make_index(copies, tmp_path / "b.index", workers=0)
    assert held(index) == held(CollectionIndex(tmp_path / "b.index"))
    assert not (tmp_path / "a.index.job").exists()


def test_what_a_crash_lost_is_done_again(copies: list[Path], tmp_path: Path, looked: list[str]) -> None:
    """Entries are noted that the disk never had."""

    class StopError(Exception):
        pass

    def stop(done: int, _count: int, _slide: object) -> None:
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        make_index(copies, tmp_path / "a.index", workers=0, progress=stop)
    entries = tmp_path / "a.index.job" / "entries"
    with entries.open("r+b") as file:
        size = entries.stat().st_size
        file.truncate(size - size // 6)
        file.truncate(size)  # zeros
    looked.clear()
    index = make_index(copies, tmp_path / "a.index", workers=0)
    assert looked == ["2.svs", "3.svs", "4.svs", "5.svs"]
    make_index(copies, tmp_path / "b.index", workers=0)
    assert held(index) == held(CollectionIndex(tmp_path / "b.index"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder, _: make_index([], folder / "a"), "name at least one slide"),
        (lambda folder, slides: make_index([*slides, slides[0]], folder / "a"), "are one slide"),
        (lambda folder, slides: make_index(slides, folder), "is a folder"),
        (lambda folder, slides: make_index(slides, folder / "a", mpps=[0.5]), "6 slides and 1 mpps"),
        (lambda folder, slides: make_index(slides, folder / "a", retry_seconds=-1), "retry_seconds"),
        (lambda folder, slides: make_index(slides, folder / "a", slide_timeout=0), "slide_timeout"),
        (lambda *_: IndexSettings(tissue_method="satturation"), "saturation"),
        (lambda *_: IndexSettings(tissue_method=len), "give a name"),
        (lambda *_: IndexSettings(mpp=0.5, level=1), "only one"),
        (lambda *_: IndexSettings(thumbnail=-1), "thumbnail"),
    ],
)
def test_what_cannot_be_made_is_refused(
    call: Callable[[Path, list[Path]], object], words: str, copies: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=words):
        call(tmp_path, copies)
