"""The examples as modules, and slides for them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cellmix_dali.synthetic import RenderedSlide

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import an example as it is run: from its folder, where its neighbours are found."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name: str) -> ModuleType:
        source = EXAMPLES / f"{name}.py"
        assert len(source.read_text(encoding="utf-8").splitlines()) < 120, "an example is one page"
        return importlib.import_module(name)

    return load


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run an example's main with arguments; give the lines that it printed."""

    def run(module: ModuleType, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [str(module.__file__), *map(str, arguments)])
        module.main()
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def folder(rendered: list[RenderedSlide]) -> Path:
    """Slides with annotations beside them."""
    return rendered[0].path.parent
