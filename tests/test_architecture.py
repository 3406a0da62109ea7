"""The house: its rooms, one above the other; imports go down, never up, and nothing private leaves its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cellmix_dali"
# From the ground up, in the order of a tile's way. Rooms of one floor know nothing of each other.
FLOORS = [
    (
        *("errors", "_arguments", "_cached", "_compiled", "_compiled_cache", "_compiled_key", "_cores", "_front"),
        *("_imagenet", "_plain", "_random", "_ranks", "_registry", "_urls", "_user_cache"),
    ),
    ("storage",),
    ("jobs",),
    ("slides",),
    ("annotations",),
    ("tissue",),
    ("collection",),
    ("tables",),
    ("stain",),
    ("shards",),
    ("reading",),
    ("sampling",),
    ("curriculum",),
    ("mixing",),
    ("losses", "synthetic", "pictures"),
    ("plugins",),
    ("augment",),
    ("pipelines",),
    ("training",),
    ("comparison", "tiling", "previews"),
    ("embedding",),
    ("cli",),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIBRARY = FLOOR["plugins"]
MOST_ROOMS = 31
MOST_PARAMETERS = 12


def modules() -> list[Path]:
    """Every module, as the links of the package show it."""
    found = [path for top in (PACKAGE, ROOT / "plugins", ROOT / "pipelines") for path in top.rglob("*.py")]
    as_package = [
        PACKAGE / path.relative_to(ROOT)
        if path.is_relative_to(ROOT / "plugins") or path.is_relative_to(ROOT / "pipelines")
        else path
        for path in found
    ]
    return sorted(set(as_package))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in modules()}
GRAPHED = [path for path in modules() if name_of(path) != "cellmix_dali"]  # the front door shows all rooms


def room_of(name: str) -> str:
    return name.split(".")[1]


def imports_of(path: Path) -> Iterator[str]:
    """What a module imports, modules by their own names; but not what type checkers alone see."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{source}.{alias.name}" if f"{source}.{alias.name}" in NAMES else source


def test_the_links_show_the_top_level_folders() -> None:
    for name in ("plugins", "pipelines"):
        assert (PACKAGE / name).is_symlink()
        assert (PACKAGE / name).resolve() == ROOT / name


def test_every_module_has_a_room_and_rooms_are_few() -> None:
    rooms = {room_of(name_of(path)) for path in GRAPHED}
    assert rooms == set(FLOOR)
    packages = {name.rpartition(".")[0] for name in NAMES}
    assert len(packages) <= MOST_ROOMS


def test_only_the_ground_lies_loose() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert loose == set(FLOORS[0])


@pytest.mark.parametrize("path", GRAPHED, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    own = room_of(name_of(path))
    for imported in imports_of(path):
        if imported.split(".")[0] == "cellmix_dali" and imported != "cellmix_dali":
            room = room_of(imported)
            assert room == own or FLOOR[room] < FLOOR[own] or FLOOR[own] == 0 == FLOOR[room], (
                f"{name_of(path)} imports {imported}"
            )
        if imported.startswith("nvidia.dali"):
            assert FLOOR[own] >= LIBRARY, f"{name_of(path)}: the library knows nothing of DALI"


@pytest.mark.parametrize("path", GRAPHED, ids=name_of)
def test_what_is_private_stays_in_its_room(path: Path) -> None:
    own = room_of(name_of(path))
    for imported in imports_of(path):
        parts = imported.split(".")
        if parts[0] == "cellmix_dali" and len(parts) > 2 and room_of(imported) != own:
            assert not any(part.startswith("_") for part in parts[2:]), f"{name_of(path)} imports {imported}"


def test_no_circles() -> None:
    graph = {name_of(path): {name for name in imports_of(path) if name in NAMES} for path in modules()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for lower in graph[name]:
                visit(lower, (*above, name))
            done.add(name)

    for name in graph:
        if name != "cellmix_dali":
            visit(name, ())


# Compiled code has the signatures that numba and DALI ask for.
TAKEN_AS_ASKED = ("_compiled", "plugins.engines")


def unused(function: ast.FunctionDef, lines: list[str]) -> set[str]:
    """Arguments and names of a function that are never looked at, but for those that it says a protocol asks for."""
    body = [of for of in function.body if not (isinstance(of, ast.Expr) and isinstance(of.value, ast.Constant))]
    nodes = [node for of in body for node in ast.walk(of)]
    protocol = function.name.startswith(("__", "on_")) and function.name != "__init__"
    if not body or protocol:  # called by others as they like
        return set()
    names = [node for node in nodes if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load | ast.Del)}
    read |= {node.target.id for node in nodes if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)}
    given = {of.arg for of in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    if any("noqa: ARG" in line for line in lines[function.lineno - 1 : body[0].lineno]):
        given = set()
    return {name for name in (given | made) - read - {"self", "cls"} if not name.startswith("_")}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_what_a_function_is_given_reaches_something(path: Path) -> None:
    """An argument that is taken and not handed on is silent: it must be read somewhere in its function."""
    if any(name_of(path).startswith(f"cellmix_dali.{of}") for of in TAKEN_AS_ASKED):
        return
    code = path.read_text()
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    found = {f"{of.name}, line {of.lineno}": unused(of, code.splitlines()) for of in functions}
    assert {name: names for name, names in found.items() if names} == {}


def long_signatures(path: Path) -> Iterator[tuple[str, str]]:
    """Functions with more parameters than allowed and their docstrings; of ``__init__``, the class's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(method): ast.get_docstring(owner) or ""
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if len([name for name in names if name.arg not in ("self", "cls")]) > MOST_PARAMETERS:
                yield node.name, docs.get(id(node)) or ast.get_docstring(node) or ""


def says_why(docstring: str) -> bool:
    """Whether a sentence before the list of parameters says why there are so many."""
    return "keyword" in docstring.partition("\nParameters\n")[0]


@pytest.mark.parametrize("path", [path for path in GRAPHED if room_of(name_of(path)) != "cli"], ids=name_of)
def test_long_signatures_say_why(path: Path) -> None:
    silent = [name for name, docstring in long_signatures(path) if not says_why(docstring)]
    assert not silent, (
        f"{name_of(path)}: more than {MOST_PARAMETERS} parameters and no reason in the docstring: {silent}"
    )


def test_a_long_signature_without_a_reason_is_found(tmp_path: Path) -> None:
    names = ", ".join(f"a{number}" for number in range(MOST_PARAMETERS + 1))
    module = tmp_path / "module.py"
    listed = "Sum.\n\n    Parameters\n    ----------\n    a0\n        A keyword.\n    "
    function = f'def total({names}):\n    """{listed}"""\n'
    module.write_text(f'{function}class A:\n    """Keyword."""\n    def __init__(self, {names}): ...\n')
    found = dict(long_signatures(module))
    assert set(found) == {"total", "__init__"}
    assert not says_why(found["total"])
    module.write_text(f"def total({names.rpartition(',')[0]}): ...\n")
    assert not list(long_signatures(module))


# Of what is counted, drawn or kept while it runs.
CHANGED = {"Batch", "Draw", "Instance", "_Maps"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_records_are_frozen_and_those_of_arrays_are_only_themselves(path: Path) -> None:
    """Arrays have no one truth to compare by, and no hash: records of them must not try."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef) or FLOOR.get(room_of(name_of(path)), 99) > FLOOR["pipelines"]:
            continue
        for decorator in node.decorator_list:
            if "dataclass" not in ast.unparse(decorator):
                continue
            given = {of.arg: ast.unparse(of.value) for of in getattr(decorator, "keywords", ())}
            fields = [ast.unparse(of.annotation) for of in node.body if isinstance(of, ast.AnnAssign)]
            arrays = any("NDArray" in of or "DataNode" in of or "PlanArrays" in of for of in fields)
            assert (given.get("frozen") == "True") != (node.name in CHANGED), node.name
            assert given.get("eq") == "False" or not arrays or node.name in CHANGED, node.name
