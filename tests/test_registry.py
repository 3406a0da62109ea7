"""The one registry: names, duplicates, near misses, and what installed packages add by entry points."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cellmix_dali._registry import Registry
from cellmix_dali.errors import ArgumentError
from cellmix_dali.tissue.methods import METHODS as TISSUE, find_method, register_tissue_method

ROOT = Path(__file__).parents[1]
PACKAGE = """
import numpy as np
from cellmix_dali.mixing import Action, BoxPlan, TileMixer, register_method
from cellmix_dali.stain import LabFit
from cellmix_dali.stain.methods import StainMethod
from cellmix_dali.tissue.methods import register_tissue_method

class Grey(StainMethod):
    def fit(self, pixels):
        return LabFit([50, 0, 0], [1, 1, 1])

@register_tissue_method("dark")
def dark(picture):
    return picture.mean(axis=2) < 200

def bright(picture):
    return picture.mean(axis=2) > 200

class HalfMix(TileMixer):
    method, label_weight = "HalfMix", "the share of the tile that stays"
    action = Action("paste")

    def draw(self, batch_size, tile_size, *, epoch, iteration):
        box = (tile_size // 2, 0, tile_size // 2, tile_size)
        return BoxPlan.pasted((tile_size, tile_size), np.roll(np.arange(batch_size), 1), box)
"""
POINTS = """[cellmix_dali.mixing_methods]
HalfMix = outside:HalfMix

[cellmix_dali.tissue_methods]
dark = outside:dark
bright = outside:bright

[cellmix_dali.stain_methods]
grey = outside:Grey
"""


def install(folder: Path, points: str = POINTS) -> None:
    """Lay a package into a folder as an installer does."""
    (folder / "outside.py").write_text(PACKAGE)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_names_and_their_spellings() -> None:
    registry: Registry[int] = Registry("number", "cellmix_dali.test_numbers", lambda *_: None, reserved=("none",))
    registry.add("One-Two", 12)
    assert registry.canonical("one_two") == "One-Two"
    assert dict(registry) == {"One-Two": 12}
    for taken in ("onetwo", "None"):
        with pytest.raises(ArgumentError, match="already"):
            registry.add(taken, 1)
    with pytest.raises(ArgumentError, match=r"Unknown number 'One-Tow'. Did you mean 'One-Two'\? Allowed: One-Two"):
        registry.canonical("One-Tow")


def test_a_tissue_method_by_decorator() -> None:
    @register_tissue_method("all")
    def everything(picture):  # type: ignore[no-untyped-def]
        return picture.mean(axis=2) >= 0

    try:
        assert find_method("ALL") is everything
        with pytest.raises(ArgumentError, match="already"):
            register_tissue_method("all")(everything)
    finally:
        del TISSUE["all"]
    with pytest.raises(ArgumentError, match="colon"):
        register_tissue_method("my:own")
    with pytest.raises(ArgumentError, match="cannot be a tissue method"):
        register_tissue_method("nothing")(3)  # type: ignore[type-var]
    assert "nothing" not in TISSUE


def test_an_installed_package_adds_methods_in_any_process(tmp_path: Path) -> None:
    install(tmp_path)
    code = (
        "import sys, numpy as np\n"
        "from cellmix_dali.tissue.methods import METHODS, find_method\n"
        "from cellmix_dali.mixing import make_mixer\n"
        "assert METHODS.names() == ('saturation', 'density', 'bright', 'dark') and 'outside' not in sys.modules\n"
        "grey = np.full((2, 2, 3), 100, np.uint8)\n"
        "print(find_method('dark')(grey).all(), find_method('Bright')(grey).any(), sorted(METHODS))\n"
        "print(make_mixer('half-mix').draw(4, 8, epoch=0, iteration=0).batch_size)\n"
        "from cellmix_dali.stain.methods import find_method\n"
        "print(find_method('Grey').name, find_method('grey').fit(grey).kind)\n"
    )
    done = run(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    said = ["True False ['bright', 'dark', 'density', 'saturation']", "4", "grey lab"]
    assert done.stdout.splitlines() == said


def test_help_names_the_methods_of_installed_packages(tmp_path: Path) -> None:
    install(tmp_path)
    done = run(tmp_path, "-c", "from cellmix_dali.cli import main; main()", "tile", "--help")
    assert "saturation, density, bright, dark" in " ".join(re.sub("[│|]", " ", done.stdout).split())


def test_a_broken_entry_point_is_named(tmp_path: Path) -> None:
    install(tmp_path, "[cellmix_dali.tissue_methods]\ngone = outside:gone\n")
    done = run(tmp_path, "-c", "from cellmix_dali.tissue.methods import find_method; find_method('density')")
    assert "ArgumentError: The tissue method 'gone' of outside cannot be loaded" in done.stderr


def test_docs_have_a_row_for_each_method() -> None:
    page = (ROOT / "docs/tissue.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`-][^`]*)`(?: \(default\))? \|", page, re.MULTILINE)
    assert sorted(rows) == sorted([*TISSUE, "module:function"])
