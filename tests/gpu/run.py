"""Runs the tests that need a GPU: ``make test-gpu``. Their files are gpu_*.py, so that ``make test`` collects none.

    python tests/gpu/run.py [--outcomes FILE] [options of pytest]

With ``--outcomes`` a line of JSON per test goes into a file as soon as the test has ended.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.pipelines.device import device_id

FOLDER = Path(__file__).parent


def main() -> int:
    """Run them, or say why not; 0 only if all were run and passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=Path, help="where a line of JSON per test goes")
    given, others = parser.parse_known_args()
    try:
        device_id("gpu")
    except MissingDependencyError as error:
        print(f"No test was run. {error}", file=sys.stderr)
        return 2
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

    code = int(pytest.main([str(FOLDER), "-o", "python_files=gpu_*.py", *others], plugins=[Outcomes()]))
    if skipped:
        print(f"Skipped: {', '.join(skipped)}", file=sys.stderr)
    return code or int(bool(skipped))


if __name__ == "__main__":
    raise SystemExit(main())
