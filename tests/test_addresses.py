"""Compiled code that takes an array's address must keep the array: numba frees it after the last use that it sees."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(path for room in ("cellmix_dali", "pipelines", "plugins") for path in (ROOT / room).rglob("*.py"))
LOOPS = (ast.For, ast.While)


def is_compiled(function: ast.FunctionDef) -> bool:
    """Whether a decorator has numba compile the function."""
    return any("compiled" in ast.unparse(decorator) for decorator in function.decorator_list)


def names(node: ast.AST, context: type[ast.expr_context]) -> Iterator[tuple[str, int]]:
    """Names that are read or set, with their lines."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, context):
            yield each.id, each.lineno


def addresses(statement: ast.AST) -> Iterator[str]:
    """Names of the arrays whose address a statement takes."""
    for each in ast.walk(statement):
        if isinstance(each, ast.Attribute) and each.attr == "data" and ast.unparse(each.value).endswith(".ctypes"):
            yield next(name for name, _ in names(each, ast.Load))


def statements(function: ast.FunctionDef) -> Iterator[tuple[ast.stmt, tuple[ast.stmt, ...]]]:
    """Simple statements, each with the loops around it."""
    waiting: list[tuple[ast.stmt, tuple[ast.stmt, ...]]] = [(each, ()) for each in function.body]
    while waiting:
        statement, around = waiting.pop()
        inner = (*around, statement) if isinstance(statement, LOOPS) else around
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        if any(blocks):
            waiting += [(each, inner) for block in blocks for each in block]
        else:
            yield statement, around


def outlived(function: ast.FunctionDef) -> Iterator[str]:
    """Arrays of the function's own that may be freed while their address is in use.

    Numba keeps an array until its last use by name, and throughout a loop around that use which does not make it anew.
    """
    arguments = {argument.arg for argument in function.args.args}
    for statement, around in statements(function):
        for array in set(addresses(statement)) - arguments:
            made = [line for name, line in names(function, ast.Store) if name == array]
            loops = [loop for loop in around if not any(loop.lineno <= line <= (loop.end_lineno or 0) for line in made)]
            kept = max(loop.end_lineno or 0 for loop in loops) if loops else 0
            kept = max(kept, *(line - 1 for name, line in names(function, ast.Load) if name == array))
            until = statement.end_lineno or 0
            if isinstance(statement, ast.Assign):
                held = {name for target in statement.targets for name, _ in names(target, ast.Store)}
                until = max([until, *(line for name, line in names(function, ast.Load) if name in held)])
            if kept < until:
                yield f"{function.name}: {array}, whose address is taken in line {statement.lineno}"


def functions(code: str) -> Iterator[ast.FunctionDef]:
    """The functions that are compiled."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and is_compiled(node):
            yield node


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_address_outlives_its_array(path: Path) -> None:
    assert [each for function in functions(path.read_text()) for each in outlived(function)] == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("line = np.empty(8)\n at = line.ctypes.data\n for x in range(8): use(at)", ["line"]),
        ("line = np.empty(8)\n use(line.ctypes.data)", ["line"]),
        ("line = np.empty(8)\n at = line.ctypes.data\n for x in range(8): use(at)\n return line", []),
        ("line = np.empty(8)\n for x in range(8): use(line.ctypes.data)", []),
        ("line = np.empty(8)\n for x in range(8):\n  at = line.ctypes.data\n  use(at)", []),
        ("for x in range(8):\n  line = np.empty(8)\n  use(line.ctypes.data)", ["line"]),
        ("at = given.ctypes.data\n use(at)", []),
    ],
)
def test_a_freed_array_is_found(body: str, found: list[str]) -> None:
    (function,) = functions(f"@compiled()\ndef one(given):\n {body}\n")
    assert [each.split(":")[1].split(",")[0].strip() for each in outlived(function)] == found


_CHECKS = """
import numpy as np
from cellmix_dali.mixing import Action
from cellmix_dali.mixing._gauss import blurred
from cellmix_dali.plugins.colour_stages import KINDS
from cellmix_dali.plugins.engines.cpu import CompiledOnCpu
from cellmix_dali.plugins.engines.self_check import blur_check, colour_check, self_check
from cellmix_dali.plugins.engines.view_check import view_check

engine = CompiledOnCpu()
for dtype in ("float32", "float16"):
    self_check(engine, Action("paste"), dtype)
    view_check(engine, True, dtype)
for kind in KINDS:
    colour_check(engine, kind, kind != "stretch")  # which looks at the whole image first
blur_check(engine)
flat = blurred(np.pad(np.ones((64, 64), np.float32), ((14, 14), (0, 0)), mode="edge"))
assert np.allclose(flat[:, 20:-20], 1, atol=1e-5) and flat.max() < 1.001, flat  # zeros lie beside it
"""


@pytest.mark.slow
def test_freed_memory_that_holds_nonsense_changes_nothing() -> None:
    """Every compiled pass gives its pixels where the C library overwrites what is freed (`M_PERTURB` of mallopt(3))."""
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0"}
    end = subprocess.run([sys.executable, "-c", _CHECKS], env=environment, capture_output=True, text=True, timeout=300)
    assert end.returncode == 0, end.stderr
