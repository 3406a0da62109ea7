"""Kill tiling jobs at random moments, resume them, and compare: python kills_of_tiling.py [KILLS] [SEED]; `make kills`.

Half of the kills hit the job alone, so that its workers outlive it; the others hit all its processes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tiling_jobs import assert_same, tree

from cellmix_dali.synthetic import render_slides

CODE = "from cellmix_dali.cli import main; main()"


def start(command: list[str], *more: str) -> subprocess.Popen[str]:
    """Begin a job, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Let it come to its end."""
    _, err = process.communicate(timeout=300)
    if process.returncode:
        raise AssertionError(f"exit code {process.returncode}: {err}")


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    chance, done, jobs = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slides = [str(slide.path) for slide in render_slides(folder / "slides", count=3, side=1024, seed=3)]

        def command(out: str) -> list[str]:
            return ["tile", *slides, "--level", "0", "--tile-size", "96", "--tissue", "0", "--out", str(folder / out)]

        began = time.perf_counter()
        finish(start(command("whole")))
        lasting, whole = time.perf_counter() - began, tree(folder / "whole")
        while done < kills:
            out = f"killed-{jobs}"
            for number in range(min(4, kills - done)):
                process = start(command(out), *(["--resume"] if number else []))
                try:
                    process.wait(timeout=chance.uniform(0.2, 1.0) * lasting)
                except subprocess.TimeoutExpired:
                    done += 1
                    if chance.random() < 0.5:
                        process.kill()
                    else:
                        os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            finish(start(command(out), "--resume"))
            assert_same(tree(folder / out), whole)
            jobs += 1
            print(f"{done} kills, {jobs} tiling jobs ended in the same bytes", flush=True)


if __name__ == "__main__":
    main()
