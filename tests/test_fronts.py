"""The fronts of the rooms: what type checkers read there is what there is."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cellmix_dali"
FRONTS = [path for path in sorted(PACKAGE.rglob("__init__.py")) if "front(" in path.read_text(encoding="utf-8")]


def imported(path: Path) -> set[str]:
    """Names that a front imports for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    aliases = [alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert all(alias.name == alias.asname for alias in aliases)  # else it is private to a type checker
    return {alias.name for alias in aliases}


@pytest.mark.parametrize("path", FRONTS, ids=lambda path: path.parent.name)
def test_what_is_shown_is_there(path: Path) -> None:
    name = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    room = importlib.import_module(name)
    assert set(room.__all__) == imported(path)
    for shown in room.__all__:
        assert getattr(room, shown) is not None
        assert shown in dir(room)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'other'"):
        _ = room.other


def test_there_are_some() -> None:
    assert {path.parent.name for path in FRONTS} >= {"cellmix_dali", "tables", "slides", "training"}


def test_a_room_is_light_until_it_is_asked() -> None:
    code = (
        "import sys, cellmix_dali, cellmix_dali.tables, cellmix_dali.training, cellmix_dali.comparison\n"
        "assert 'numpy' not in sys.modules\n"
        "from cellmix_dali.tables import *\n"
        "assert TileTable.__module__ == 'cellmix_dali.tables.tile_table'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
