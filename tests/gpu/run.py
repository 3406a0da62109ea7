"""Runs the tests that need a GPU: ``make test-gpu``. Their files are gpu_*.py, so that ``make test`` collects none.

    python tests/gpu/run.py [--device gpu|cpu] [--outcomes FILE] [options of pytest]

With ``--outcomes`` a line of JSON per test goes into a file as soon as the test has ended. ``--device cpu`` tries the
tests themselves where there is no GPU: those of whole loaders, on the graphs for a GPU with the CPU's operators.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.pipelines.device import device_id

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "pipelines")]

from standing_in import VARIABLE  # noqa: E402

# What needs no CUDA of its own: see emulated_gpu.py.
_STANDING_IN = ["gpu_windows.py", "gpu_loaders.py", "gpu_long_runs.py::test_two_loaders_in_turn"]


def main() -> int:
    """Run them, or say why not; 0 only if all were run and passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: try the tests themselves")
    parser.add_argument("--outcomes", type=Path, help="where a line of JSON per test goes")
    given, others = parser.parse_known_args()
    try:
        device_id(given.device)
    except MissingDependencyError as error:
        print(f"No test was run. {error} --device cpu tries the tests themselves.", file=sys.stderr)
        return 2
    standing_in = given.device == "cpu"
    if standing_in:
        os.environ[VARIABLE] = "1"
    import pytest

    # A skipped test has not passed.
    skipped: list[str] = []

    class Outcomes:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.skipped:
                skipped.append(report.nodeid)
            ended = report.when == "call" or report.outcome != "passed"
            if given.outcomes is None or not ended:
                return
            message = "" if report.passed else str(report.longrepr)[-2000:]
            line = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
            with given.outcomes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | ({"message": message} if message else {})) + "\n")

    class StandIn:
        @pytest.fixture(autouse=True)
        def _emulated(self) -> Iterator[None]:
            from emulated_gpu import emulated_gpu, no_colours_of_rgb

            with emulated_gpu(no_colours_of_rgb), mock.patch("torch.cuda.synchronize"):
                yield

    what = [str(FOLDER / name) for name in _STANDING_IN] if standing_in else [str(FOLDER)]
    plugins: list[object] = [Outcomes(), *([StandIn()] if standing_in else [])]
    code = int(pytest.main([*what, "-o", "python_files=gpu_*.py", *others], plugins=plugins))
    if skipped:
        print(f"Skipped: {', '.join(skipped)}", file=sys.stderr)
    return code or int(bool(skipped))


if __name__ == "__main__":
    raise SystemExit(main())
