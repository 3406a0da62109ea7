"""Asks a GPU all that only a GPU can answer: ``make gpu-report``. Twenty minutes at most.

    python tests/gpu/report.py [--device gpu|cpu] [--minutes 20] [--only PART ...] [--out gpu-report.json] [--page FILE]

The parts are the questions of questions.py, the GPU tests and the benchmark. Each runs in a process of its own with a
limit of time, so that none that fails, hangs or crashes takes the others with it. The report is written after each,
and the page from it in the end. ``--device cpu`` tries the command where there is no GPU: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "benchmarks")]

from machine import machine, versions  # noqa: E402
from page import page  # noqa: E402
from questions import QUESTIONS  # noqa: E402

from cellmix_dali.errors import MissingDependencyError  # noqa: E402
from cellmix_dali.pipelines.device import device_id  # noqa: E402

TESTS, BENCHMARK = "tests", "benchmark"
PARTS = (TESTS, *QUESTIONS, BENCHMARK)
_LONGEST = {TESTS: 420.0, BENCHMARK: 240.0}  # seconds
_LONGEST_QUESTION = 150.0
_PATIENCE = {"gpu": 1.0, "cpu": 4.0}  # a few cores take longer
_SAID = 1500  # characters of what a failed part said


@dataclass
class Report:
    """What was found so far, and where it is written.

    Attributes
    ----------
    out : Path
        The file.
    found : dict
        As it is written: ``machine``, ``versions``, ``device``, ``parts``.
    """

    out: Path
    found: dict[str, Any] = field(default_factory=dict)

    def add(self, part: str, answer: dict[str, Any]) -> None:
        """Keep a part's answer, and write all."""
        self.found["parts"][part] = answer
        unfinished = self.out.with_name(f"{self.out.name}.unfinished")
        unfinished.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.out)


def run(command: list[str], seconds: float) -> tuple[int | None, str, str]:
    """Run a process with a limit: its exit code, None if it was ended, and what it printed and said."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    try:
        printed, said = process.communicate(timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, said = process.communicate()
        return None, printed, said
    return process.returncode, printed, said


def asked(part: str, given: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """The answer of a part."""
    start, longest = time.perf_counter(), _LONGEST.get(part, _LONGEST_QUESTION) * _PATIENCE[given.device]
    with TemporaryDirectory(prefix="cellmix-dali-gpu-report-") as folder:
        file = Path(folder, "answer.json")
        code, printed, said = run(_command(part, given, file), min(seconds, longest))
        answer: dict[str, Any] = {"exit code": code, "seconds": round(time.perf_counter() - start, 1)}
        if part in QUESTIONS:
            answer["rows"] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        elif file.exists():
            text = file.read_text(encoding="utf-8")
            answer |= {"tests": [json.loads(line) for line in text.splitlines()]} if part == TESTS else json.loads(text)
    if code != 0:
        answer["said"] = (said.strip() or printed.strip())[-_SAID:]
    return answer


def _command(part: str, given: argparse.Namespace, file: Path) -> list[str]:
    """How a part is run; what does not print its answer writes it into the file."""
    if part == TESTS:
        options = ["--device", given.device, "--outcomes", str(file), "-q", "-p", "no:cacheprovider"]
        return [sys.executable, str(FOLDER / "run.py"), *options]
    if part == BENCHMARK:
        options = ["--rounds", "2", "--side", "8192" if given.device == "gpu" else "4096", "--out", str(file)]
        options += ["--device", given.device]
        return [sys.executable, str(FOLDER.parents[1] / "benchmarks" / "gpu.py"), *options]
    options = ["--device", given.device, "--seconds", str(given.seconds)]
    return [sys.executable, str(FOLDER / "questions.py"), part, *options]


def _line(part: str, answer: dict[str, Any]) -> str:
    """A part's end for the terminal."""
    code, seconds = answer["exit code"], answer["seconds"]
    ended = "ran out of time" if code is None else "answered" if code == 0 else f"failed (exit code {code})"
    counts = Counter(test["outcome"] for test in answer.get("tests", ()))
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{part}: {ended} in {seconds:.0f} s{f': {told}' if told else ''}"


def main() -> int:
    """Ask, write the report and the page; 0 if every part answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: try the command itself")
    parser.add_argument("--minutes", type=float, default=20.0, help="of all parts together")
    parser.add_argument("--seconds", type=float, default=1.0, help="for which each rate is measured")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="some of the parts")
    parser.add_argument("--out", type=Path, default=Path("gpu-report.json"), help="where the answers go")
    parser.add_argument("--page", type=Path, default=None, help="where the page goes; by default beside the answers")
    given = parser.parse_args()
    try:
        device_id(given.device)
    except MissingDependencyError as error:
        print(f"Nothing was asked. {error} --device cpu tries the command itself.", file=sys.stderr)
        return 2
    about = machine() | ({"gpu": _gpu()} if given.device == "gpu" else {})
    report = Report(given.out, {"device": given.device, "machine": about, "versions": versions(), "parts": {}})
    until = time.perf_counter() + 60 * given.minutes
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for part in given.only:
        left = until - time.perf_counter()
        if left < 1:
            report.add(part, {"exit code": None, "seconds": 0.0, "said": "The time was up before it began."})
        else:
            report.add(part, asked(part, given, left))
        print(_line(part, report.found["parts"][part]), flush=True)
    place = given.out.with_suffix(".md") if given.page is None else given.page
    place.write_text(page(report.found), encoding="utf-8")
    print(f"Written: {given.out}, {place}")
    return int(any(report.found["parts"][part]["exit code"] != 0 for part in given.only))


def _gpu() -> dict[str, Any]:
    """The GPU in words and numbers."""
    import torch

    about = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": about.name,
        "memory_gib": round(about.total_memory / 2**30, 1),
        "capability": f"{about.major}.{about.minor}",
        "cuda_of_torch": torch.version.cuda,
    }


if __name__ == "__main__":
    raise SystemExit(main())
