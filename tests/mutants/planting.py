"""Small faults: what is drawn, from which files, and the files of tests nearest to each.

Faults are those of cosmic-ray's operators, and one kind of our own: an argument that is handed on by its name
(``rank=rank``) is left out.
"""

from __future__ import annotations

import ast
import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import parso
from copies import ROOT
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

__all__ = ["Fault", "faults", "is_alike", "nearest_tests"]

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


class Fault(NamedTuple):
    """One fault: a module's file, what is done, and the whole text with it."""

    path: Path
    line: int
    what: str
    text: str


def dropped_arguments(source: str) -> Iterator[tuple[int, str, str]]:
    """Leave out each argument that is handed on by its own name: the line, what, and the text."""
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
            yield keyword.lineno, f"line {keyword.lineno}: without {keyword.arg}={keyword.arg}", text


class _Meaning(ast.NodeTransformer):
    """Takes away what no fault may be in: the words of messages, and a check of the length of a `zip`."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for call in ast.walk(node):
            if isinstance(call, ast.Call):
                call.args = [each for each in call.args if not isinstance(each, ast.JoinedStr)]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "zip":
            node.keywords = [each for each in node.keywords if each.arg != "strict"]
        return node


def is_one(source: str, changed: str) -> bool:
    """Whether a change is more than one of a message's words or of a `zip`'s check of lengths."""
    try:
        before, after = (ast.dump(_Meaning().visit(ast.parse(text))) for text in (source, changed))
    except SyntaxError:  # any test would find it
        return False
    return before != after


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


def faults(chance: random.Random, count: int, only: str = "") -> list[Fault]:
    """Draw faults, of modules as they have lines; half of them are arguments that are left out, where there are any."""
    modules = [
        path
        for top in ("cellmix_dali", "plugins", "pipelines")
        for path in sorted((ROOT / top).rglob("*.py"))
        if not {*path.relative_to(ROOT).parts} & {*_ABOVE} and path.name != "__init__.py"
    ]
    modules = [path for path in modules if not any(parent.is_symlink() for parent in path.parents)]
    modules = [path for path in modules if only in str(path.relative_to(ROOT))]
    weights = [len(path.read_text().splitlines()) for path in modules]
    found: list[Fault] = []
    while len(found) < count:
        (path,) = chance.choices(modules, weights)
        source = path.read_text()
        arguments = list(dropped_arguments(source))
        if arguments and chance.random() < 0.5:
            line, what, text = chance.choice(arguments)
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
        fault = Fault(path.relative_to(ROOT), line, what, text)
        if fault not in found and is_one(source, text):
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
    """For each module, the files of tests that reach it: those called like it, then those nearest by imports."""
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
        module: sorted(of, key=lambda test: (not is_alike(module, test), of[test], str(test)))
        for module, of in distance.items()
    }


def is_alike(module: Path, test: Path) -> bool:
    """Whether a file of tests is called like a module."""
    name, tested = module.stem.strip("_"), test.stem.removeprefix("test_")
    return name in tested or tested in name
