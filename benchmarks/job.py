"""The command `cellmix-dali tile` as a whole, from its start to its report, against a script of 30 lines."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from material import Material

from cellmix_dali.synthetic import render_tissue, write_slide

if TYPE_CHECKING:
    from groups import Report

__all__ = ["job"]

_SCRIPT = Path(__file__).with_name("plain_tiling.py")
_HEIGHT, _WIDTH = 10240, 8192
_TISSUE = slice(2200, 7320), slice(900, 7044)  # rows and columns that are not glass: a third of the slide
_TILE, _MPP = 224, 0.5
_SLIDES = (18, 1)
_MOST_ROUNDS = 3  # each takes half a minute
_POLL = 0.01


@dataclass
class Run:
    """What a command took, with all its processes.

    Attributes
    ----------
    seconds, processor_seconds : float
    first_tile_seconds : float
        Until the first bytes of a shard were there.
    peak_mib : float
        Of the largest process.
    """

    seconds: float
    processor_seconds: float
    first_tile_seconds: float
    peak_mib: float


def job(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001 (it needs many slides of its own)
    """Processor time of the command and of the script on 18 slides and on one, alternately."""
    with TemporaryDirectory(prefix="cellmix-dali-bench-") as name:
        folder = Path(name)
        slides = _slides(folder / "slides", max(_SLIDES))
        for count in _SLIDES:
            found: dict[str, list[Run]] = {"command": [], "script": []}
            for number in range(min(rounds, _MOST_ROUNDS) + 1):
                for what, command in (("command", _command), ("script", _script)):
                    run = _measured(command(slides[:count], folder / "out"), folder / "out")
                    if number:  # the first one warms up
                        found[what].append(run)
            key = "job_over_script" if count > 1 else "job_of_one_slide_over_script"
            pairs = zip(found["script"], found["command"], strict=True)
            report.rounds[key] = [theirs.processor_seconds / ours.processor_seconds for theirs, ours in pairs]
            report.other[f"whole command, {count} slides of {_WIDTH} x {_HEIGHT}"] = {
                f"{what}, {name}": round(median(asdict(run)[name] for run in runs), 2)
                for what, runs in found.items()
                for name in asdict(runs[0])
            }


def _slides(folder: Path, count: int) -> list[Path]:
    """Copies of one slide, a third of it tissue."""
    folder.mkdir()
    rows, columns = _TISSUE
    tissue, _ = render_tissue(rows.stop - rows.start, columns.stop - columns.start, seed=3)
    glass = tissue[:64, :64].reshape(-1, 3)
    noise = np.random.default_rng(0).normal(glass.mean(0), glass.std(0), (_HEIGHT // 5, _WIDTH // 4, 3))
    pixels = np.tile(np.clip(noise, 0, 255).astype(np.uint8), (5, 4, 1))
    pixels[rows, columns] = tissue
    found = [folder / f"{number:02}.tiff" for number in range(count)]
    write_slide(found[0], pixels, mpp=_MPP, levels=6)
    for path in found[1:]:  # links would be one slide
        shutil.copy(found[0], path)
    return found


def _command(slides: Sequence[Path], out: Path) -> list[str]:
    code = "from cellmix_dali.cli import main; main()"
    settings = ["--mpp", str(_MPP), "--tile-size", str(_TILE), "--out", str(out)]
    return [sys.executable, "-c", code, "tile", *map(str, slides), *settings]


def _script(slides: Sequence[Path], out: Path) -> list[str]:
    return [sys.executable, str(_SCRIPT), str(out), str(_TILE), str(_MPP), *map(str, slides)]


def _measured(command: Sequence[str], out: Path) -> Run:
    """Run a command in a process whose children are its own alone, so that they can be counted."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    first: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set() and not first:
            if any(path.stat().st_size for path in out.rglob("*.tar*")):
                first.append(time.perf_counter() - began)
            time.sleep(_POLL)

    counting = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss); "
        "sys.exit(code)"
    )
    began = time.perf_counter()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = subprocess.run(
            [sys.executable, "-c", counting, *command], stdout=subprocess.PIPE, text=True, check=True
        )
    finally:
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
    processor, peak = map(float, result.stdout.split())
    return Run(seconds, processor, first[0] if first else seconds, peak / 1024)
