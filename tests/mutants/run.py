"""Plant small faults, one at a time, and see whether the tests find them: python run.py RECORD; `make mutants`.

RECORD is a folder written by record.py. A fault is looked for by the tests that enter the innermost branch it is in,
those of the file called like its module first, the quickest first, up to 90 seconds of them as recorded. Where that is
not known (compiled code, what runs at import), by the ten nearest files of tests. Before them look the tests that read
the module's text, signatures or numbers: no line of it is entered for that, so no record has them. What no test finds
is printed with its place; docs/testing.md says what may live, and why.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from copies import ROOT, copied, load_libraries, pytest_in_child
from planting import Fault, faults, is_alike, nearest_tests
from reaching import Reached, blocks_of

_RECORDED = 90.0  # seconds of tests, as recorded
_SECONDS = 300.0  # for all tests of a fault
_FILES = 10  # of tests, where it is not known which tests enter a line
_TESTS = 400  # of a command line
# Tests that read a module's text, its signatures or its numbers; how their names begin, of a module.
_READING = (
    "tests/test_chosen_numbers.py::test_numbers_are_those_that_were_chosen[{short}]",
    "tests/test_documented_defaults.py::test_defaults[{name}.",
    "tests/test_architecture.py::test_what_a_function_is_given_reaches_something[{name}]",
    "tests/test_architecture.py::test_records_are_frozen_and_those_of_arrays_are_only_themselves[{name}]",
    "tests/test_handed_on_by_name.py::test_what_is_at_hand_is_handed_on[{path}]",
)


class Search:
    """Looks for faults in one copy of the project."""

    def __init__(self, record: Path, folder: Path, chosen: list[Fault]) -> None:
        self._reached, self._folder = Reached.read(record), folder
        if self._reached.blocks != blocks_of(ROOT)[0]:
            raise SystemExit(f"{record} was recorded for other code: delete it, and record anew.")
        self._tree, self._told = copied(folder), folder / "told.txt"
        self._there: set[str] = set()
        self._nearest = nearest_tests({(ROOT / fault.path).resolve() for fault in chosen})

    def tests(self, fault: Fault) -> tuple[list[str], bool]:
        """What looks for a fault, and whether a record says that it is entered."""
        module = (ROOT / fault.path).resolve()
        inside = fault.path.with_suffix("").as_posix().replace("/", ".")
        name = inside if inside.startswith("cellmix_dali.") else f"cellmix_dali.{inside}"
        short = name.removeprefix("cellmix_dali.")
        begin = tuple(of.format(name=name, short=short, path=fault.path) for of in _READING)
        reading = sorted(test for test in self._there if test.startswith(begin))
        tests = self._reached.of(str(fault.path), fault.line)
        if not tests:
            return [*reading, *(str(test.relative_to(ROOT)) for test in self._nearest[module][:_FILES])], False
        seconds = self._reached.seconds
        turns: Counter[str] = Counter()
        ordered = []
        for test in sorted(tests, key=seconds.__getitem__):
            file = test.split("::")[0]
            ordered.append((not is_alike(module, Path(file)), turns[file], seconds[test], test))
            turns[file] += 1  # of every file the quickest, then of every file the next
        left, found = _RECORDED, []
        for *_, test in sorted(ordered)[:_TESTS]:
            if left > 0:
                left -= seconds[test]
                found.append(test)
        return [*reading, *found], True

    def keep_what_there_is(self) -> None:
        """Forget tests that are no longer there, and say how many there are that no record knows."""
        self._run(["--collect-only", "tests"], {}, 1200)
        there = {line for line in self._told.read_text(errors="replace").splitlines() if "::" in line}
        self._reached.keep(there)
        self._there = there
        print(f"{len(there)} tests, {len(there - self._reached.seconds.keys())} of them not in the record", flush=True)

    def look(self, fault: Fault) -> tuple[str, list[str]]:
        """Plant a fault and run the tests: "found", "lived" or "too slow"; and the tests that failed."""
        place, (tests, known) = self._tree / fault.path, self.tests(fault)
        # What is compiled is compiled anew, with all that calls it.
        environment = {} if known else {"NUMBA_CACHE_DIR": str(self._folder / "numba")}
        place.write_text(fault.text)
        try:
            code = self._run(tests, environment)
        finally:
            shutil.copy2(ROOT / fault.path, place)
            shutil.rmtree(self._folder / "numba", ignore_errors=True)
        if code is not None:
            return "lived" if code in (0, 5) else "found", self._failed()
        # A fault that makes quick tests hang is found; tests that are slow without it say nothing.
        return "too slow" if self._run(tests, {}) is None else "found", []

    def failing(self, tests: list[str]) -> set[str]:
        """Tests that fail without any fault."""
        self._run(["--maxfail=1000", *tests], {}, 3600)
        return {*self._failed()}

    def _failed(self) -> list[str]:
        lines = self._told.read_text(errors="replace").splitlines()
        return [line[7:].split(" - ")[0] for line in lines if line.startswith("FAILED ")]

    def _run(self, arguments: list[str], environment: dict[str, str], seconds: float = _SECONDS) -> int | None:
        given = ["-x", "-p", "no:randomly", *arguments]
        return pytest_in_child(self._tree, given, seconds, told=self._told, environment=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="faults of files whose path has this in it")
    parser.add_argument("--seconds", type=float, default=7200, help="begin no fault after so long")
    arguments = parser.parse_args()
    chosen = faults(random.Random(arguments.seed), arguments.count, arguments.only)
    load_libraries()
    began, ends = time.monotonic(), Counter[str]()
    by: dict[str, list[Fault]] = {}  # faults by the test that failed
    with tempfile.TemporaryDirectory(prefix="cellmix-dali-mutants-") as name:
        search = Search(arguments.record, Path(name), chosen)
        search.keep_what_there_is()
        for fault in chosen:
            if time.monotonic() - began > arguments.seconds:
                ends["not looked for"] += 1
                continue
            end, failed = search.look(fault)
            ends[end] += 1
            if end != "found":
                print(f"{end}: {fault.path}, {fault.what}", flush=True)
            elif failed:
                by.setdefault(failed[0], []).append(fault)
        for test in search.failing([*by]):
            for fault in by.get(test, ()):
                print(f"found by a test that fails by itself, {test}: {fault.path}, {fault.what}")
                ends["found"] -= 1
                ends["found by a test that fails by itself"] += 1
    found, lived = ends.pop("found", 0), ends.pop("lived", 0)
    others = "".join(f"; {count} {end}" for end, count in ends.items())
    share = found / max(1, found + lived)
    print(f"seed {arguments.seed}: {found} of {found + lived} faults were found, {share:.2f}{others}")


if __name__ == "__main__":
    main()
