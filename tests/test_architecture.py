"""The floors of the house: imports go down, never up; each floor knows only what it may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cellmix_dali"
# From the ground up. What is not named is the library, floor 1.
FLOORS = {"plugins": 2, "pipelines": 3, "training": 4, "tiling": 4, "previews": 4, "comparison": 4, "cli": 4}


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


def floor_of(name: str) -> int:
    parts = name.split(".")
    if parts == ["cellmix_dali"]:
        return 4  # the front door shows all floors
    return FLOORS.get(parts[1], 1)


def imports_of(path: Path) -> Iterator[str]:
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


def test_there_are_modules_on_every_floor() -> None:
    assert {floor_of(name_of(path)) for path in modules()} == {1, 2, 3, 4}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down(path: Path) -> None:
    own = floor_of(name_of(path))
    for imported in imports_of(path):
        if imported.split(".")[0] == "cellmix_dali":
            assert floor_of(imported) <= own, f"{name_of(path)} (floor {own}) imports {imported}"
        if imported.startswith("nvidia.dali"):
            assert own > 1, f"{name_of(path)}: the library knows nothing of DALI"


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
        visit(name, ())
