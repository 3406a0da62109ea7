"""Work on a slide: tried again, given up, refused, or ending the job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellmix_dali.errors import DAMAGED, NOT_READ, MissingDependencyError, NotReadError, SlideError
from cellmix_dali.jobs import attempt as module
from cellmix_dali.jobs.attempt import attempt
from cellmix_dali.jobs.deadline import TIMEOUTS
from cellmix_dali.storage.aside import WriteError


def tried(work: Callable[[bool], Any], folder: Path, **changes: Any) -> Any:
    given: dict[str, Any] = {"timeout": None, "retry_seconds": 0.0} | changes
    return attempt(
        work,
        lambda reason, kind: (kind, reason),
        slide=Path("/a.svs"),
        what="look at",
        cannot="/a.svs cannot be opened",
        folder=folder,
        key="7",
        **given,
    )


def raises(error: Exception) -> Callable[[bool], Any]:
    def work(_: bool) -> Any:
        raise error

    return work


def test_what_cannot_be_done_says_why(tmp_path: Path) -> None:
    assert tried(lambda last: ("done", last), tmp_path) == ("done", True)
    assert tried(raises(SlideError("too dark")), tmp_path) == (DAMAGED, "too dark")
    assert tried(raises(KeyError("tag")), tmp_path) == (DAMAGED, "/a.svs cannot be opened (KeyError: 'tag').")
    assert tried(raises(NotReadError("away")), tmp_path) == (NOT_READ, "away")
    kind, reason = tried(raises(OSError(24, "Too many open files")), tmp_path)
    assert kind == NOT_READ
    assert "OSError" in reason


@pytest.mark.parametrize("error", [WriteError("full"), MissingDependencyError("no obstore")])
def test_what_no_slide_is_to_blame_for_ends_the_job(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        tried(raises(error), tmp_path, retry_seconds=60)


def test_only_what_the_moment_decides_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    told: list[bool] = []

    def work(last: bool) -> str:
        told.append(last)
        if len(told) < 3:
            raise NotReadError("away")
        return "there"

    assert tried(work, tmp_path, retry_seconds=0.3) == "there"
    assert told == [False, False, True]
    assert sum(pauses) == pytest.approx(0.3)
    pauses.clear()
    assert tried(raises(SlideError("torn")), tmp_path, retry_seconds=60) == (DAMAGED, "torn")
    assert pauses == []


def test_work_that_hung_is_given_up(tmp_path: Path) -> None:
    (tmp_path / TIMEOUTS).mkdir()
    (tmp_path / TIMEOUTS / "7").write_text('Thread 0x1:\n  File "/lib/x.py", line 3 in hangs\n')
    kind, reason = tried(raises(AssertionError("it is not done again")), tmp_path, timeout=2.5)
    assert kind == DAMAGED
    assert "/a.svs: the look at it took longer than 2.5 seconds" in reason
    assert "line 3 in hangs" in reason
