"""Fitting a collection: every slide a row, the same whatever happens in between, and faults that end nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from slide_files import directory, jpeg, write_tiff
from stained_images import HAEMATOXYLIN, stained

from cellmix_dali import SlideList
from cellmix_dali.collection import CollectionIndex
from cellmix_dali.collection.index import job_index
from cellmix_dali.errors import ArgumentError, NotReadError
from cellmix_dali.stain import SlideStain, StainSettings, StainTable, fit_stains, job, tasks
from cellmix_dali.stain.methods import Macenko, Vahadane
from cellmix_dali.tables import laying

TINY = StainSettings(tile_size=64, tiles=8, pixels=4000)
TURNED = HAEMATOXYLIN[[0, 2, 1]]


def enlarged(**of: Any) -> NDArray[np.uint8]:
    """An image whose colours JPEG keeps: squares of one colour each."""
    return stained(**of).repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slides of 320 x 240 px of known stains."""
    folder = tmp_path_factory.mktemp("slides")
    colours = (HAEMATOXYLIN, TURNED, HAEMATOXYLIN)
    return [
        write_tiff(
            folder / f"slide-{number}.tiff",
            [
                directory(
                    enlarged(haematoxylin=of, seed=number), encode=partial(jpeg, subsampling=0), pixels_per_cm=20000
                )
            ],
        )
        for number, of in enumerate(colours)
    ]


def fit(slides: object, out: Path, settings: StainSettings = TINY, **options: object) -> StainTable:
    return fit_stains(slides, out, settings, workers=0, **options)  # type: ignore[arg-type]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the slides that are fitted."""
    names: list[str] = []
    done = tasks._done

    def count(task: tasks.StainTask) -> SlideStain:
        if not task.scale_only:
            names.append(task.slide.name)
        return done(task)

    monkeypatch.setattr(tasks, "_done", count)
    return names


def test_every_slide_has_its_row(slides: list[Path], tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    out = tmp_path / "stains.parquet"
    table = fit(slides, out, progress=lambda done, count, row: told.append((done, count, row.slide)))
    assert told == [(number, 3, str(path)) for number, path in enumerate(slides, 1)]
    assert [row.slide for row in table.rows] == [str(path) for path in slides]
    assert [row.to_json() for row in StainTable.open(out).rows] == [row.to_json() for row in table.rows]
    for row, colour in zip(table.rows, (HAEMATOXYLIN, TURNED, HAEMATOXYLIN), strict=True):
        assert row.fit is not None
        assert row.fit.stains[0] @ colour > 0.998  # type: ignore[attr-defined]
        assert (row.mpp, row.pixels) == (pytest.approx(0.5), 4000)
    assert os.listdir(tmp_path) == ["stains.parquet"]  # noqa: PTH208
    assert table.settings["tile_size"] == 64


def test_an_index_gives_the_same_stains_and_its_tissue_is_not_looked_for_again(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(table: StainTable) -> list[Any]:
        return [row.to_json() for row in table.rows]

    plain = fit(slides, tmp_path / "plain.parquet")
    place = tmp_path / "of" / "collection.index"
    place.parent.mkdir()
    assert rows(fit(slides, tmp_path / "first.parquet", index=place)) == rows(plain)
    assert set(CollectionIndex(place)) == {str(path) for path in slides}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked at what the index knows")

    monkeypatch.setattr(laying, "look_for_tissue", never)
    monkeypatch.setattr(tasks, "open_with", lambda index, path: never() if index is None else index.open(path))
    assert rows(fit(slides, tmp_path / "second.parquet", index=place)) == rows(plain)
    with pytest.raises(AssertionError, match="looked at"):
        tasks._done(job._tasks(slides[:1], tmp_path, TINY)[0])


@pytest.mark.slow
def test_workers_of_a_cluster_fit_the_same(slides: list[Path], tmp_path: Path, cluster: Any) -> None:
    fit(slides, tmp_path / "own.parquet")
    fit_stains(slides, tmp_path / "cluster.parquet", TINY, scheduler=cluster.scheduler_address)
    assert (tmp_path / "cluster.parquet").read_bytes() == (tmp_path / "own.parquet").read_bytes()


def test_a_job_that_is_interrupted_lets_go_of_its_index(slides: list[Path], tmp_path: Path) -> None:
    """The next one in this process may find another index there."""

    def interrupt(*_: object) -> None:
        assert job_index.cache_info().currsize == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(slides, tmp_path / "stains.parquet", index=tmp_path / "collection.index", progress=interrupt)
    assert job_index.cache_info().currsize == 0


def test_a_task_is_the_same_in_another_process(slides: list[Path], tmp_path: Path) -> None:
    (task,) = job._tasks(slides[:1], tmp_path, TINY)
    got = tasks.do_task(pickle.loads(pickle.dumps(task)))
    assert pickle.loads(pickle.dumps(got)).to_json() == tasks.do_task(task).to_json()
    assert tasks.lost_task(task).fault_kind == "damaged"


def test_faults_end_no_job_and_are_tried_again(slides: list[Path], tmp_path: Path, counted: list[str]) -> None:
    bad, empty, out = tmp_path / "bad.svs", tmp_path / "glass.tiff", tmp_path / "stains.parquet"
    bad.write_bytes(b"no slide")
    write_tiff(empty, [directory(np.full((200, 200, 3), 245, np.uint8), pixels_per_cm=20000)])
    all_slides = [bad, slides[0], empty]
    table = fit(all_slides, out)
    assert [row.fit is None for row in table.rows] == [True, False, True]
    assert "bad.svs is not a slide" in table.rows[0].fault
    assert "glass.tiff has no stain to fit: none of its 16 tiles has 0.1 of tissue" in table.rows[2].fault
    assert [row.fault_kind for row in table.rows] == ["damaged", "", "damaged"]
    counted.clear()
    bad.write_bytes(slides[1].read_bytes())
    again = fit(all_slides, out, resume=True)
    assert counted == ["bad.svs", "glass.tiff"]
    assert [row.fit is None for row in again.rows] == [False, False, True]


def test_what_was_done_is_kept(slides: list[Path], tmp_path: Path, counted: list[str]) -> None:
    whole = tmp_path / "whole.parquet"
    fit(slides, whole)
    counted.clear()
    out, folder = tmp_path / "stains.parquet", tmp_path / "stains.parquet.job"

    def stop(done: int, *_: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(slides, out, progress=stop)
    assert folder.is_dir()
    assert not out.exists()
    with pytest.raises(ArgumentError, match="not finished: go on with it by --resume"):
        fit(slides, out)
    with pytest.raises(ArgumentError, match=r"method was .*macenko.*, is .*vahadane"):
        fit(slides, out, StainSettings(tile_size=64, tiles=8, pixels=4000, method=Vahadane()), resume=True)
    with pytest.raises(ArgumentError, match=r"parameters was .*alpha.: 1.*, is .*alpha.: 2"):
        fit(slides, out, StainSettings(tile_size=64, tiles=8, pixels=4000, method=Macenko(alpha=2)), resume=True)
    fit(slides, out, resume=True)
    assert counted == [path.name for path in slides]
    assert out.read_bytes() == whole.read_bytes()
    assert not folder.exists()


def test_a_finished_table_grows_and_changed_slides_are_done_again(
    slides: list[Path], tmp_path: Path, counted: list[str]
) -> None:
    out, copy = tmp_path / "stains.parquet", tmp_path / "copy.tiff"
    copy.write_bytes(slides[0].read_bytes())
    fit([copy, slides[1]], out)
    with pytest.raises(ArgumentError, match="is there already: go on with it by --resume"):
        fit([copy, slides[1]], out)
    with pytest.raises(ArgumentError, match="tiles was 8, is 9"):
        fit([copy, slides[1]], out, StainSettings(tile_size=64, tiles=9, pixels=4000), resume=True)
    counted.clear()
    table = fit([slides[2], copy, slides[1]], out, resume=True)
    assert counted == ["slide-2.tiff"]
    assert [Path(row.slide).name for row in table.rows] == ["slide-2.tiff", "copy.tiff", "slide-1.tiff"]
    counted.clear()
    os.utime(copy, ns=(1, 1))
    fit(SlideList((copy, slides[1]), mpp=np.array([np.nan, 0.4])), out, resume=True, mixed_resolutions=True)
    assert counted == ["copy.tiff", "slide-1.tiff"]  # its mpp is another now
    counted.clear()
    fit([slides[1]], out, overwrite=True)
    assert counted == ["slide-1.tiff"]
    with pytest.raises(ArgumentError, match="not both"):
        fit([slides[1]], out, overwrite=True, resume=True)


def test_an_overwritten_table_is_not_gone_on_with(slides: list[Path], tmp_path: Path, counted: list[str]) -> None:
    """What interrupts a run that overwrites must not leave the old table's rows to the one that resumes."""
    out, other = tmp_path / "stains.parquet", StainSettings(tile_size=64, tiles=4, pixels=4000)
    fit(slides, out)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(slides, out, other, overwrite=True, progress=stop)
    counted.clear()
    table = fit(slides, out, other, resume=True)
    assert counted == ["slide-1.tiff", "slide-2.tiff"]
    assert table.settings["tiles"] == 4


def test_slides_of_several_scales_are_refused(slides: list[Path], tmp_path: Path, counted: list[str]) -> None:
    coarse = write_tiff(tmp_path / "coarse.tiff", [directory(np.tile(stained(), (4, 4, 1)), pixels_per_cm=10000)])
    out = tmp_path / "stains.parquet"
    with pytest.raises(ArgumentError, match=r"0\.5: .*slide-0.*1: .*coarse.*--mpp 1"):
        fit([slides[0], coarse], out)
    assert counted == []
    table = fit([slides[0], coarse], out, mixed_resolutions=True)
    assert [row.mpp for row in table.rows] == pytest.approx([0.5, 1])
    table = fit([slides[0], coarse], out, StainSettings(tile_size=64, mpp=1.0), overwrite=True)
    assert [row.mpp for row in table.rows] == pytest.approx([1, 1])


def test_what_the_moment_keeps_from_being_read(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    opened = tasks.open_with

    def refuse(index: None, path: Path) -> object:
        tries.append(0)
        if path == slides[1] and len(tries) < most:
            raise NotReadError(f"{path}: too many open files")
        return opened(index, path)

    monkeypatch.setattr(tasks, "open_with", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)
    settings, out, most = StainSettings(tile_size=64, tiles=2, mpp=0.5, pixels=1000), tmp_path / "stains.parquet", 4
    assert all(row.fit is not None for row in fit(slides, out, settings).rows)  # it was tried again
    tries.clear()
    most = 10**6
    table = fit(slides, out, settings, overwrite=True, retry_seconds=0.3)
    assert [row.fault_kind for row in table.rows] == ["", "not read", ""]
    assert len(tries) == 1 + 3 + 1
    most = 0
    assert all(row.fit is not None for row in fit(slides, out, settings, resume=True).rows)


def test_a_slide_that_changes_meanwhile(slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.tiff"
    copy.write_bytes(slides[0].read_bytes())
    taken = tasks.tissue_pixels

    def touch(*given: object, **named: object) -> object:
        os.utime(copy, ns=(5, 5))
        return taken(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(tasks, "tissue_pixels", touch)
    (row,) = fit([copy], tmp_path / "stains.parquet").rows
    assert "changed while its stain was fitted" in row.fault


def test_whatever_a_library_raises_is_a_fault(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("strange")

    monkeypatch.setattr(tasks, "tissue_pixels", fail)
    (row,) = fit(slides[:1], tmp_path / "stains.parquet").rows
    assert row.fault == f"The stain of {slides[0]} cannot be fitted (ZeroDivisionError: strange)."


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _, folder: fit([], folder / "a.parquet"), "name at least one slide"),
        (lambda slides, folder: fit(slides, folder / "a.csv"), "suffix .parquet"),
        (lambda slides, folder: fit(slides, folder), "suffix .parquet"),
        (lambda slides, folder: fit(slides, folder / "a.parquet", retry_seconds=-1), "retry_seconds"),
        (lambda slides, folder: fit(slides, folder / "a.parquet", slide_timeout=0), "slide_timeout"),
        (lambda _, folder: fit([3], folder / "a.parquet"), "must be named by a path"),
        (lambda slides, folder: fit([slides[0], slides[0]], folder / "a.parquet"), "are one slide: leave one out"),
    ],
)
def test_what_is_refused_before_anything_starts(
    slides: list[Path], tmp_path: Path, make: Callable[[list[Path], Path], object], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        make(slides, tmp_path)
    assert not list(tmp_path.iterdir())
