"""Plant small faults, one at a time, and see whether the tests find them: `make mutants`.

Faults are those of cosmic-ray's operators, and one kind of our own: an argument that is handed on by its name
(``rank=rank``) is left out. A fault is looked for by the tests that reach its module by the shortest way of imports.
What no test finds is printed with its place; docs/testing.md says what may live, and why.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[1]
_COPIED = (
    *("cellmix_dali", "plugins", "pipelines", "tests", "examples", "docs"),
    *("pyproject.toml", "README.md", "Makefile"),
)
_ABOVE = ("cli", "comparison", "previews", "tiling", "training", "synthetic", "pictures")  # not the library
_COMPARISONS = ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
_ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Add", "FloorDiv_Mul", "Div_Mul", "Mod_Add")
_OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{of}" for of in _COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{of}" for of in _ARITHMETIC),
    *("core/ReplaceAndWithOr", "core/ReplaceOrWithAnd", "core/AddNot", "core/ReplaceTrueWithFalse"),
    *("core/ReplaceFalseWithTrue", "core/ReplaceUnaryOperator_Delete_Not", "core/NumberReplacer"),
    *("core/ZeroIterationForLoop", "core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak"),
)
_SECONDS = 240  # for all tests of a fault: one that makes them hang is found
_FILES = 10  # of tests that a fault is looked for by, at most


class Fault(NamedTuple):
    """One fault: a module's file, what is done, and the whole text with it."""

    path: Path
    what: str
    text: str


def dropped_arguments(source: str) -> Iterator[tuple[str, str]]:
    """Leave out each argument that is handed on by its own name; gives what, and the text."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        for keyword in getattr(node, "keywords", []) if isinstance(node, ast.Call) else []:
            value = keyword.value
            if keyword.arg is None or not isinstance(value, ast.Name) or value.id != keyword.arg:
                continue
            line = keyword.lineno - 1
            begin, end = keyword.col_offset, value.end_col_offset or 0
            after = lines[line][end:]
            end += len(after) - len(after.lstrip(", ")) if after.startswith(",") else 0
            changed = [*lines]
            changed[line] = lines[line][:begin] + lines[line][end:]
            text = "".join(changed)
            try:
                ast.parse(text)
            except SyntaxError:
                continue
            yield f"line {keyword.lineno}: without {keyword.arg}={keyword.arg}", text


def operator_faults(source: str) -> Iterator[tuple[str, int]]:
    """Operators, and how often each can be applied."""
    tree = parso.parse(source)
    for name in _OPERATORS:
        operator = get_operator(name)()
        nodes, count = [tree], 0
        while nodes:
            node = nodes.pop()
            count += sum(1 for _ in operator.mutation_positions(node))
            nodes += getattr(node, "children", [])
        for occurrence in range(count):
            yield name, occurrence


def faults(chance: random.Random, count: int) -> list[Fault]:
    """Draw faults, of modules as they have lines; half of them are arguments that are left out, where there are any."""
    modules = [
        path
        for top in ("cellmix_dali", "plugins", "pipelines")
        for path in sorted((ROOT / top).rglob("*.py"))
        if not {*path.relative_to(ROOT).parts} & {*_ABOVE} and path.name != "__init__.py"
    ]
    modules = [path for path in modules if not any(parent.is_symlink() for parent in path.parents)]
    weights = [len(path.read_text().splitlines()) for path in modules]
    found: list[Fault] = []
    while len(found) < count:
        (path,) = chance.choices(modules, weights)
        source = path.read_text()
        arguments = list(dropped_arguments(source))
        if arguments and chance.random() < 0.5:
            what, text = chance.choice(arguments)
        else:
            places = list(operator_faults(source))
            if not places:
                continue
            name, occurrence = chance.choice(places)
            text = mutate_code(source, get_operator(name)(), occurrence)
            if not text or text == source:
                continue
            before, after = source.splitlines(), text.splitlines()
            line = next((n for n, (a, b) in enumerate(zip(before, after, strict=False), 1) if a != b), 0)
            if before[line - 1].lstrip().startswith(('"""', "#", "def ", "assert ")):
                continue
            what = f"line {line}: {before[line - 1].strip()}  ->  {after[line - 1].strip()}"
        fault = Fault(path.relative_to(ROOT), what, text)
        if fault not in found:
            found.append(fault)
    return found


def imports(path: Path) -> set[Path]:
    """Files of the project that a file imports."""
    found: set[Path] = set()
    package = path.parent
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[tuple[Path, str]] = []
        if isinstance(node, ast.ImportFrom):
            base = package
            for _ in range(max(0, node.level - 1)):
                base = base.parent
            module = (node.module or "").replace(".", "/")
            if not node.level:
                base = ROOT if module.startswith("cellmix_dali") else path.parent
            names = [(base / module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(ROOT / alias.name.replace(".", "/"), "") for alias in node.names]
        for folder, name in names:
            for candidate in (folder / f"{name}.py", folder.with_suffix(".py"), folder / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate.resolve())
    return found


def nearest_tests(modules: set[Path]) -> dict[Path, list[Path]]:
    """For each module, the files of tests that reach it, by the number of imports between."""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    graph: dict[Path, set[Path]] = {}
    distance: dict[Path, dict[Path, int]] = {module: {} for module in modules}
    for test in tests:
        reached, waiting = {test: 0}, deque([test])
        while waiting:
            path = waiting.popleft()
            if path not in graph:
                graph[path] = imports(path)
            for other in graph[path]:
                if other not in reached:
                    reached[other] = reached[path] + 1
                    waiting.append(other)
        for module in modules & reached.keys():
            distance[module][test] = reached[module]
    return {
        module: sorted(of, key=lambda test: (not _alike(module, test), of[test], str(test)))
        for module, of in distance.items()
    }


def _alike(module: Path, test: Path) -> bool:
    """Whether a file of tests is called like a module."""
    name, tested = module.stem.strip("_"), test.stem.removeprefix("test_")
    return name in tested or tested in name


def is_found(fault: Fault, tests: list[Path], tree: Path) -> bool:
    """Whether a test fails with the fault in a copy of the project."""
    place, command = (
        tree / fault.path,
        [sys.executable, "-m", "pytest", "-x", "-q", "-W", "ignore", "-p", "no:randomly"],
    )
    whole = place.read_text()
    chosen = [str(test.relative_to(ROOT)) for test in tests[:_FILES]]
    place.write_text(fault.text)
    try:
        done = subprocess.run(
            [*command, *chosen],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        # A fault that makes tests hang is found; tests that are slow are not.
        return b"FAILED" in (expired.stdout or b"")
    finally:
        place.write_text(whole)
    return done.returncode not in (0, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=7200, help="begin no fault after so long")
    arguments = parser.parse_args()
    chosen = faults(random.Random(arguments.seed), arguments.count)
    tests = nearest_tests({(ROOT / fault.path).resolve() for fault in chosen})
    began, found, lived = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(prefix="cellmix-dali-mutants-") as name:
        trees: Queue[Path] = Queue()
        for number in range(arguments.workers):
            tree = Path(name) / str(number) / "project"
            tree.mkdir(parents=True)
            for each in _COPIED:
                if (ROOT / each).is_dir():
                    shutil.copytree(ROOT / each, tree / each, symlinks=True)  # with what numba has compiled
                elif (ROOT / each).exists():
                    shutil.copy2(ROOT / each, tree / each)
            if (ROOT.parent / "shared").exists():
                (tree.parent / "shared").symlink_to(ROOT.parent / "shared")
            trees.put(tree)

        def look(fault: Fault) -> bool | None:
            if time.monotonic() - began > arguments.seconds:
                return None
            tree = trees.get()
            try:
                return is_found(fault, tests[(ROOT / fault.path).resolve()], tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(arguments.workers) as pool:
            for fault, was_found in zip(chosen, pool.map(look, chosen), strict=True):
                if was_found is None:
                    continue
                found += was_found
                if not was_found:
                    lived.append(fault)
                    print(f"lived: {fault.path}, {fault.what}", flush=True)
    count = found + len(lived)
    print(f"seed {arguments.seed}: {found} of {count} faults were found, {found / max(1, count):.2f}")


if __name__ == "__main__":
    main()
