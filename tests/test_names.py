"""Names of the package that docs and docstrings give: each is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = sorted(path for folder in ("cellmix_dali", "plugins", "pipelines") for path in (ROOT / folder).rglob("*.py"))
ENTRY_POINTS = {
    "cellmix_dali.augmentations",
    "cellmix_dali.feature_formats",
    "cellmix_dali.mixing_methods",
    "cellmix_dali.slide_formats",
    "cellmix_dali.stain_methods",
    "cellmix_dali.target_kinds",
    "cellmix_dali.tissue_methods",
}


def is_there(name: str) -> bool:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[end:])
    return False


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=lambda path: str(path.relative_to(ROOT)))
def test_names_that_are_given_are_there(path: Path) -> None:
    names = set(re.findall(r"`(cellmix_dali(?:\.[A-Za-z_]\w*)+)", path.read_text(encoding="utf-8"))) - ENTRY_POINTS
    assert [name for name in sorted(names) if not is_there(name)] == []
