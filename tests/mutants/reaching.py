"""Which tests enter which lines of the project: recorded once, in a copy whose blocks say when they are entered."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Block", "Reached", "blocks_of"]

_COMPILED = ("compiled", "inlined", "intrinsic", "overload", "jit", "register_jitable")  # never run as Python


@dataclass(frozen=True)
class Block:
    """Statements of a file that are entered together, by their first and last line."""

    path: str
    first: int
    last: int


@dataclass
class _Instrument:
    """Puts a call of the probe at the beginning of every block of a file."""

    path: str
    blocks: list[Block]

    def number(self, first: int, last: int) -> ast.stmt:
        self.blocks.append(Block(self.path, first, last))
        return ast.parse(f"_cellmix_dali_hit({len(self.blocks) - 1})").body[0]

    def body(self, statements: list[ast.stmt], head: int | None = None) -> list[ast.stmt]:
        """A function's or a branch's statements: a block at the beginning, and behind every branch."""
        found: list[ast.stmt] = []
        rest = [*statements]
        if isinstance(rest[0], ast.Expr) and isinstance(rest[0].value, ast.Constant):
            found.append(rest.pop(0))  # the docstring
        last = statements[-1].end_lineno or 0
        first = statements[0].lineno if head is None else head
        found.append(self.number(first, last))
        for n, statement in enumerate(rest):
            self.inside(statement)
            found.append(statement)
            if hasattr(statement, "body") and n + 1 < len(rest):
                found.append(self.number(rest[n + 1].lineno, last))
        return found

    def inside(self, statement: ast.AST) -> None:
        """The blocks within a statement."""
        if isinstance(statement, ast.ClassDef):
            for each in statement.body:
                self.inside(each)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if not any(word in ast.unparse(of) for of in statement.decorator_list for word in _COMPILED):
                statement.body = self.body(statement.body, statement.lineno)
        else:
            for name in ("body", "orelse", "finalbody"):
                if getattr(statement, name, None):
                    setattr(statement, name, self.body(getattr(statement, name)))
            for other in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                other.body = self.body(other.body)


def _instrumented(source: str, path: str, blocks: list[Block]) -> str:
    """A module's text with probes; its blocks are added to those that are there."""
    tree = ast.parse(source)
    instrument = _Instrument(path, blocks)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            instrument.inside(statement)
    at = next(
        (
            n
            for n, of in enumerate(tree.body)
            if not isinstance(of, ast.Expr) and getattr(of, "module", "") != "__future__"
        ),
        len(tree.body),
    )
    tree.body.insert(at, ast.parse("from probe import hit as _cellmix_dali_hit").body[0])
    return ast.unparse(tree)


def blocks_of(root: Path) -> tuple[list[Block], dict[str, str]]:
    """All blocks of a project, and the texts of its files with probes."""
    blocks: list[Block] = []
    texts = {}
    for top in ("cellmix_dali", "plugins", "pipelines"):
        for path in sorted((root / top).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                name = str(path.relative_to(root))
                texts[name] = _instrumented(path.read_text(), name, blocks)
    return blocks, texts


@dataclass
class Reached:
    """The record: blocks of files as they were, and the tests that entered each."""

    blocks: list[Block]
    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def read(cls, folder: Path) -> Reached:
        """Read a record; of a test that was recorded twice the last counts."""
        reached = cls([Block(*each) for each in json.loads((folder / "blocks.json").read_text())])
        lines = (folder / "record.jsonl").read_text().splitlines()
        records = {record["test"]: record for record in map(json.loads, lines)}
        shared: dict[str, set[int]] = defaultdict(set)
        files: dict[str, set[str]] = defaultdict(set)
        for test, record in records.items():
            reached.seconds[test] = record["seconds"]
            files[test.split("::")[0]].add(test)
            shared[test.split("::")[0]] |= {*record["shared"]}
            for block in record["blocks"]:
                reached.tests[block].add(test)
        for file, blocks in shared.items():
            for block in blocks:
                reached.tests[block] |= files[file]
        return reached

    def keep(self, tests: set[str]) -> None:
        """Forget all other tests."""
        for block in self.tests:
            self.tests[block] &= tests

    def of(self, path: str, line: int) -> set[str]:
        """Tests that enter the innermost block with a line; none for what is compiled, or runs at import."""
        around = [
            (block.last - block.first, -block.first, number)
            for number, block in enumerate(self.blocks)
            if block.path == path and block.first <= line <= block.last
        ]
        return self.tests.get(min(around)[2], set()) if around else set()
