"""Trainings that are stopped or killed, and go on to the result of an uninterrupted one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import finish, image_command, in_this_process, results, slide_command, start

from cellmix_dali.errors import ArgumentError
from cellmix_dali.training.checkpoint import CHECKPOINT, Checkpoint

Command = Callable[..., list[str]]
Whole = tuple[list[str], dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Command], Whole]:
    """A training's command, and the results of the run without a break, which is made in this process, once."""
    done: dict[Command, Whole] = {}

    def of(make: Command) -> Whole:
        if make not in done:
            folder = tmp_path_factory.mktemp("whole")
            command = make(folder)
            in_this_process([*command, "--out", str(folder / "out")])
            assert not (folder / "out" / CHECKPOINT).exists()
            done[make] = command, results(folder / "out")
        return done[make]

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "number", "code"), [(image_command, signal.SIGTERM, 143), (slide_command, signal.SIGINT, 130)]
)
def test_stopped_it_ends_the_same(
    make: Command, number: int, code: int, whole: Callable[[Command], Whole], tmp_path: Path
) -> None:
    """By SIGTERM or Ctrl-C, after the first epoch; of kill -9 at any moment see kills.py (`make kills`)."""
    command, want = whole(make)
    out = tmp_path / "out"
    process = start(command, out)
    _wait_for_a_checkpoint(process, out)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"Stopped by {signal.Signals(number).name}." in err
    assert "go on with --resume" in err
    assert "Traceback" not in err
    assert not (out / "report.json").exists()
    in_this_process([*command, "--out", str(out), "--resume"])
    assert results(out) == want


@pytest.mark.slow
def test_killed_it_ends_the_same(whole: Callable[[Command], Whole], tmp_path: Path) -> None:
    """kill -9 when the first epoch is kept, and something of the second done; resumed by a process of its own."""
    (command, want), out = whole(image_command), tmp_path / "out"
    process = start(command, out)
    _wait_for_a_checkpoint(process, out)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert not (out / "report.json").exists()
    finish(start(command, out, "--resume"))
    assert results(out) == want


def _wait_for_a_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    deadline = time.monotonic() + 60
    while not (out / CHECKPOINT).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_what_becomes_of_results_that_are_there(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    command, out = image_command(tmp_path, epochs=1), tmp_path / "out"
    assert run(*command, "--out", out)[0] == 0
    report = (out / "report.json").read_bytes()
    code, _, err = run(*command, "--out", out)
    assert code == 2
    assert "holds a training that is finished" in err
    code, told, _ = run(*command, "--out", out, "--resume")
    assert code == 0
    assert "finished already" in told
    assert (out / "report.json").read_bytes() == report
    code, _, err = run(*command, "--out", out, "--resume", "--overwrite")
    assert code == 2
    assert "not both" in err
    (out / CHECKPOINT).write_bytes(b"of an earlier one")
    assert run(*command, "--out", out, "--overwrite")[0] == 0
    assert not (out / CHECKPOINT).exists()

    # One that is not finished.
    (out / "report.json").unlink()
    Checkpoint(out, {"epochs": 7}).save({})
    code, _, err = run(*command, "--out", out)
    assert code == 2
    assert "not finished: go on with --resume" in err
    code, _, err = run(*command, "--out", out, "--resume")
    assert code == 2
    assert "set up otherwise" in err
    assert "epochs was 7, is 1" in err
    (out / CHECKPOINT).write_bytes(b"nonsense")
    code, _, err = run(*command, "--out", out, "--resume")
    assert code == 2
    assert "cannot be read" in err
    assert "--overwrite" in err
    (out / CHECKPOINT).unlink()
    assert run(*command, "--out", out, "--resume")[0] == 0  # killed before there was anything to keep


@pytest.mark.parametrize("option", [["--seed", 2], ["--batch-size", 8], ["--method", "CellMix-Split"], ["--p", 0.25]])
def test_other_options_are_refused(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, option: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, out = image_command(tmp_path, epochs=2), tmp_path / "out"
    monkeypatch.setattr(Checkpoint, "remove", lambda _self: None)
    assert run(*command, "--out", out)[0] == 0
    (out / "report.json").unlink()
    drop = command.index(str(option[0])) if option[0] in command else len(command)
    changed = [*command[:drop], *command[drop + 2 :], *option]
    code, _, err = run(*changed, "--out", out, "--resume")
    assert code == 2
    assert "was set up otherwise" in err
    assert f"{str(option[0])[2:].replace('-', '_')} was" in err


def test_a_checkpoint_is_there_in_full_or_not_at_all(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, {"classes": ("a", "b"), "path": tmp_path})
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.arange(3)})
    with pytest.raises(RuntimeError, match="no more"):
        checkpoint.save({"weights": _Unsaveable()})
    assert checkpoint.load()["weights"].tolist() == [0, 1, 2]  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    with pytest.raises(ArgumentError, match=r'classes was \["a", "b"\], is \["a"\]'):
        Checkpoint(tmp_path, {"classes": ("a",), "path": tmp_path}).load()


class _Unsaveable:
    def __reduce__(self) -> str:
        raise RuntimeError("no more")


def test_a_batch_that_does_not_fit_is_said(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    command = [*image_command(tmp_path, epochs=1), "--batch-size", "64"]
    code, out, _ = run(*command, "--out", tmp_path / "out")
    assert code == 0
    assert "note: batches are of 12, not 64: there are 60 samples to train on." in out.replace("\n", " ")


def test_files_that_are_no_images_are_told(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """All that is looked for is what is read: WebP too. What is left out is counted and named."""
    from PIL import Image

    command = image_command(tmp_path, epochs=1)
    for number, path in enumerate(sorted((tmp_path / "images").rglob("*.png"))):
        if number % 2:
            Image.open(path).save(path.with_suffix(".webp"), lossless=True)
            path.unlink()
    red = tmp_path / "images" / "train" / "red"
    (red / "notes.txt").write_text("of mine")
    (red / "picture.gif").write_bytes(b"GIF89a")
    (red / ".hidden").write_text("not counted")
    code, out, _ = run(*command, "--out", tmp_path / "out")
    assert code == 0
    told = " ".join(out.split())
    assert "2 files were left out, as they are not called like images that DALI decodes: .gif; .txt" in told
    report = (tmp_path / "out" / "report.json").read_text()
    assert '"train": 60' in report
    assert "2 files were left out" in report
