"""An end for work that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cellmix_dali.jobs.deadline import TIMEOUTS, deadline, forget_deadlines, where_it_hung

_HANGS = """
import sys, time
from pathlib import Path
from cellmix_dali.jobs.deadline import deadline

def hangs():
    time.sleep(60)

with deadline(Path(sys.argv[1]), "work", 0.2):
    hangs()
"""


def test_work_that_hangs_ends_its_process_and_is_told(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _HANGS, str(tmp_path)], timeout=60, check=False)
    assert done.returncode
    assert "in hangs" in str(where_it_hung(tmp_path, "work"))
    assert where_it_hung(tmp_path, "other") is None
    forget_deadlines(tmp_path)
    assert where_it_hung(tmp_path, "work") is None
    assert not (tmp_path / TIMEOUTS).exists()


def test_work_in_time_leaves_nothing(tmp_path: Path) -> None:
    with deadline(tmp_path, "work", 60):
        assert where_it_hung(tmp_path, "work") is None
    assert where_it_hung(tmp_path, "work") is None
    assert list((tmp_path / TIMEOUTS).iterdir()) == []
