"""Comparisons end to end on small rendered images: the same start, resume, and processes that die."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparison_jobs import DeadlySettings, figures, report_of, run_files, small, write_images

from cellmix_dali.comparison import AllRunsFailedError, Comparison, ComparisonState, compare, runs
from cellmix_dali.errors import ArgumentError
from cellmix_dali.training import TrainingData, TrainingRun, TrainingSettings


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path, list[ComparisonState]]:
    """An uninterrupted comparison: three arms, three folds."""
    out = tmp_path_factory.mktemp("whole")
    states: list[ComparisonState] = []
    return compare(small(images), out, workers=0, progress=states.append), out, states


def test_a_comparison_has_every_arm_fold_and_seed(
    whole: tuple[Comparison, Path, list[ComparisonState]],
) -> None:
    done, out, states = whole
    assert [(record.fold, record.arm) for record in done.records] == [
        (fold, arm) for fold in "012" for arm in ("none", "CutMix", "CellMix-Group")
    ]
    assert (done.failed, done.notes) == ({}, ())
    assert [state.done for state in states] == list(range(10))
    assert states[-1].seconds_left == 0
    for record in done.records:
        assert record.candidate == {}
        assert [len(losses) for losses in record.batch_losses] == [4, 4]
        # The losses of the batches are those whose mean is the epoch's.
        for entry, losses in zip(record.epochs, record.batch_losses, strict=True):
            assert entry["train_loss"] == pytest.approx(sum(losses) / 4, abs=1e-5)
            assert ("patch_size" in entry) == (record.curriculum is not None)
        assert sum(map(sum, record.confusion)) == 16
        best = record.epochs[record.best_epoch]
        assert record.validation["balanced_accuracy"] == max(entry["balanced_accuracy"] for entry in record.epochs)
        assert record.validation["loss"] == pytest.approx(best["validation_loss"])
    for name in ("results.csv", "differences.csv", "report.json", "report.md", "differences.png", "curricula.png"):
        assert (out / name).stat().st_size


def test_augmentations_are_arms(
    images: Path, whole: tuple[Comparison, Path, list[ComparisonState]], tmp_path: Path
) -> None:
    """Each changes what its runs see, and nothing else: those without are the runs of before."""
    never = tmp_path / "never.yaml"
    never.write_text("- solarise: {p: 0}\n")
    settings = small(
        images,
        methods=("none", "CutMix"),
        test_folds=("0",),
        augmentations=("none", "hed_jitter"),
        also_test=(str(never), "solarise"),
    )
    settings.check(32, against="CutMix + hed_jitter")
    done = compare(settings, tmp_path, workers=0, against="hed_jitter")
    found, before = figures(done), figures(whole[0])
    assert [record.arm for record in done.records] == ["none", "CutMix", "hed_jitter", "CutMix + hed_jitter"]
    for arm in ("none", "CutMix"):
        also = found[arm, "0", 0].pop("also_tested")
        before[arm, "0", 0].pop("also_tested")
        assert found[arm, "0", 0] == before[arm, "0", 0]
        # The models are the same, and so are the images, until something changes them.
        assert also[str(never)] == found[arm, "0", 0]["test"]
        assert also["solarise"]["loss"] != found[arm, "0", 0]["test"]["loss"]
        augmented = "hed_jitter" if arm == "none" else f"{arm} + hed_jitter"
        assert found[augmented, "0", 0]["batch_losses"] != found[arm, "0", 0]["batch_losses"]
    page = (tmp_path / "report.md").read_text()
    assert "CutMix + hed_jitter" in page
    assert "## The same test images under solarise" in page
    (same, other) = json.loads((tmp_path / "report.json").read_text())["also_tested"]
    assert same["arms"] == json.loads((tmp_path / "report.json").read_text())["arms"]
    assert [each["arm"] for each in other["differences"]] == ["none", "CutMix", "CutMix + hed_jitter"]
    with pytest.raises(ArgumentError, match="also_test"):
        compare(replace(settings, also_test=("solarise",)), tmp_path, workers=0)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["augment"] for row in rows] == ["", "", "hed_jitter", "hed_jitter"]
    with pytest.raises(ArgumentError, match="hed_jiter"):
        small(images, augmentations=("none", "hed_jiter")).check(32)


def test_arms_that_do_not_mix_are_the_same_run(images: Path, tmp_path: Path) -> None:
    settings = small(images, p=(0.0,), test_folds=("1",), seeds=2)
    done = figures(compare(settings, tmp_path, workers=0))
    for seed in (0, 1):
        none, *others = (
            {name: done[arm, "1", seed][name] for name in ("batch_losses", "validation", "test", "confusion")}
            for arm in ("none", "CutMix", "CellMix-Group")
        )
        assert others == [none, none]
    assert done["none", "1", 0]["batch_losses"] != done["none", "1", 1]["batch_losses"]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_by_one_find_the_same(
    images: Path, whole: tuple[Comparison, Path, list[ComparisonState]], tmp_path: Path
) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from comparison_jobs import small\n"
        "from cellmix_dali.comparison import compare\n"
        "if __name__ == '__main__':\n"
        "    compare(small(Path(sys.argv[2])), Path(sys.argv[3]), workers=2)\n"
    )
    script = tmp_path / "job.py"
    script.write_text(code)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(images), str(out)])
    try:
        deadline = time.monotonic() + 300
        while len(run_files(out)) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    # The processes that it started end by themselves.
    while any(Path(f"/proc/{child}").exists() and _runs(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = run_files(out)
    assert 3 <= len(kept) < 9
    states: list[ComparisonState] = []
    resumed = compare(small(images), out, workers=0, progress=states.append)
    assert states[0].done == len(kept)
    assert {name: content for name, content in run_files(out).items() if name in kept} == kept
    assert figures(resumed) == figures(whole[0])
    assert report_of(out) == report_of(whole[1])


def _runs(process: str) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_more_is_added_and_nothing_done_twice(images: Path, tmp_path: Path) -> None:
    first = small(images, test_folds=("0",), methods=("none", "CellMix-Group"), epochs=1)
    compare(first, tmp_path, workers=0)
    kept = run_files(tmp_path)
    assert len(kept) == 2
    more = small(
        images,
        test_folds=("0", "2"),
        methods=("none", "CellMix-Group"),
        curricula=("loss_hold", "off"),
        learning_rate=(1e-3, 3e-3),
        epochs=1,
    )
    states: list[ComparisonState] = []
    done = compare(more, tmp_path, workers=0, progress=states.append)
    assert (states[0].done, states[0].runs) == (2, 12)
    after = run_files(tmp_path)
    assert {name: after[name] for name in kept} == kept
    assert {(record.arm, record.fold, *record.candidate.items()) for record in done.records} == {
        (arm, fold, ("learning_rate", rate))
        for arm in ("none", "CellMix-Group, loss_hold", "CellMix-Group, off")
        for fold in "02"
        for rate in (1e-3, 3e-3)
    }


def test_other_settings_or_images_are_refused(images: Path, tmp_path: Path) -> None:
    only_none = small(images, methods=("none",), test_folds=("0",), epochs=1)
    compare(only_none, tmp_path / "out", workers=0)
    with pytest.raises(ArgumentError, match="epochs was 1, is 2"):
        compare(small(images), tmp_path / "out", workers=0)
    other = write_images(tmp_path / "images")
    compare(small(other, methods=("none",), test_folds=("0",), epochs=1), tmp_path / "out", workers=0)  # a copy will do
    lines = (other / "folds.csv").read_text().splitlines()
    (other / "folds.csv").write_text("\n".join([*lines[:-1], lines[-1][:-1] + "0"]))  # one image in another fold
    with pytest.raises(ArgumentError, match="data was"):
        compare(small(other, methods=("none",), test_folds=("0",), epochs=1), tmp_path / "out", workers=0)
    with pytest.raises(ArgumentError, match="fold 'x'"):
        compare(small(images, test_folds=("x",)), tmp_path / "new", workers=0)
    assert not (tmp_path / "new").exists()


def test_a_broken_record_is_done_again(images: Path, tmp_path: Path) -> None:
    settings = small(images, test_folds=("0",), epochs=1)
    first = compare(settings, tmp_path, workers=0)
    broken = next((tmp_path / "runs" / "cutmix").glob("*.json"))
    broken.write_bytes(broken.read_bytes()[:50])
    states: list[ComparisonState] = []
    second = compare(settings, tmp_path, workers=0, progress=states.append)
    assert [state.done for state in states] == [2, 3]
    assert figures(second) == figures(first)
    (note,) = second.notes
    assert note.startswith("done again: ")
    assert str(broken) in note
    assert compare(settings, tmp_path, workers=0).notes == ()


def test_a_run_that_diverges_stops_no_other(images: Path, tmp_path: Path) -> None:
    # Weights shrink by a tenth a step with the first learning rate, and explode with the second.
    settings = small(
        images, test_folds=("0",), methods=("none",), learning_rate=(1e-13, 0.5), weight_decay=1e12, epochs=12
    )
    done = compare(settings, tmp_path, workers=0)
    assert [record.candidate for record in done.records] == [{"learning_rate": 1e-13}]
    ((name, reason),) = done.failed.items()
    assert name == "none, fold 0, seed 0, learning rate 0.5"
    assert "the training diverged. Lower --learning-rate." in reason
    assert len(run_files(tmp_path)) == 1


def test_a_run_that_a_library_ends_stops_no_other(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = runs.train_and_test

    def at_times(data: TrainingData[Any], settings: TrainingSettings, **given: Any) -> TrainingRun:
        if settings.method == "CutMix":
            raise OSError("the weights cannot be fetched")
        return train(data, settings, **given)

    monkeypatch.setattr(runs, "train_and_test", at_times)
    settings = small(images, test_folds=("0",), methods=("none", "CutMix"))
    done = compare(settings, tmp_path, workers=0)
    assert [record.arm for record in done.records] == ["none"]
    assert done.failed == {
        "CutMix, fold 0, seed 0, learning rate 0.003, p 0.5": "OSError: the weights cannot be fetched"
    }
    # The arm has its line in the report all the same.
    assert [(each.arm, each.left_out, each.mean) for each in done.report.differences] == [("CutMix", 1, None)]
    with pytest.raises(AllRunsFailedError, match="All 1 runs failed"):
        compare(small(images, test_folds=("1",), methods=("CutMix",)), tmp_path / "other", workers=0)


def test_folds_with_smaller_batches_are_told(images: Path, tmp_path: Path) -> None:
    done = compare(small(images, test_folds=("0",), methods=("none",), batch_size=64), tmp_path, workers=0)
    (note,) = done.notes
    assert note.startswith("fold 0: batches of 4 and not 64: there are 16 samples")
    assert report_of(tmp_path)["settings"]["smaller_batches"] == {"0": 4}


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(images: Path, tmp_path: Path) -> None:
    settings = small(
        images,
        DeadlySettings,
        methods=("none", "CutMix"),
        test_folds=("0",),
        seeds=2,
        epochs=1,
        marker=tmp_path / "died",
    )
    done = compare(settings, tmp_path / "out", workers=1)
    # Of seed 0 the second try is good, of seed 1 none.
    assert [(record.arm, record.seed) for record in done.records] == [("none", 0), ("CutMix", 0), ("none", 1)]
    ((name, reason),) = done.failed.items()
    assert name.startswith("CutMix, fold 0, seed 1")
    assert "died, and so did those that took its place" in reason


@pytest.mark.slow
def test_interrupted_no_process_is_left(images: Path, tmp_path: Path) -> None:
    before = _children()

    def interrupt(state: ComparisonState) -> None:
        if state.done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compare(small(images), tmp_path, workers=1, progress=interrupt)
    assert len(run_files(tmp_path)) == 1
    deadline = time.monotonic() + 60
    while _children() - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children() -> set[str]:
    """Processes that this one, or a thread of it, started, but for Python's own keeper of shared resources."""
    found = {
        child
        for thread in Path("/proc/self/task").iterdir()
        for child in (thread / "children").read_text().split()
        if _runs(child)
    }
    return {child for child in found if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()}
