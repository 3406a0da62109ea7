"""Runs the tests that need a GPU: ``make test-gpu``. Their files are gpu_*.py, so that ``make test`` collects none."""

from __future__ import annotations

import sys
from pathlib import Path

from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.pipelines._device import device_id

FOLDER = Path(__file__).parent


def main() -> int:
    """Run them, or say why not; 0 only if all were run and passed."""
    try:
        device_id("gpu")
    except MissingDependencyError as error:
        print(f"No test was run. {error}", file=sys.stderr)
        return 2
    import pytest

    # A skipped test is no passed one.
    skipped: list[str] = []

    class Skips:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.skipped:
                skipped.append(report.nodeid)

    code = int(pytest.main([str(FOLDER), "-o", "python_files=gpu_*.py", *sys.argv[1:]], plugins=[Skips()]))
    if skipped:
        print(f"Skipped: {', '.join(skipped)}", file=sys.stderr)
    return code or int(bool(skipped))


if __name__ == "__main__":
    raise SystemExit(main())
