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
    ("errors", "_arguments", "_compiled", "_cores", "_plain", "_random", "_ranks", "_registry"),
    ("storage",),
    ("slides",),
    ("annotations",),
    ("tissue",),
    ("tables",),
    ("shards",),
    ("reading",),
    ("sampling",),
    ("curriculum",),
    ("mixing",),
    ("losses", "synthetic", "pictures"),
    ("plugins",),
    ("pipelines",),
    ("training",),
    ("comparison", "tiling", "previews"),
    ("cli",),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIBRARY = FLOOR["plugins"]
MOST_ROOMS = 30


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
    assert loose == {*FLOORS[0], "losses"}


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
