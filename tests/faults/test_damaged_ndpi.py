"""Every kind of damage to an NDPI file: refused by name, or right pixels; never a crash or a bomb."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from damage_kinds import Kind
from damage_ndpi import NDPI_KINDS
from vendor_files import write_ndpi

SECONDS, BYTES = 5, 500e6


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("damaged")
    path = write_ndpi(folder / "slide.ndpi")
    command = [sys.executable, str(Path(__file__).with_name("run_kinds.py")), str(folder), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    return {one["kind"]: one for one in found if "skipped" not in one}


def test_there_are_many_kinds(outcomes: dict[str, dict[str, Any]]) -> None:
    assert set(outcomes) == {kind.name for kind in NDPI_KINDS}
    assert len(NDPI_KINDS) == len(outcomes) >= 50


@pytest.mark.parametrize("kind", NDPI_KINDS, ids=lambda kind: kind.name)
def test_damage(outcomes: dict[str, dict[str, Any]], kind: Kind) -> None:
    one = outcomes[kind.name]
    assert "died" not in one, one
    assert "raised" not in one, one
    assert one["seconds"] < SECONDS
    assert one["memory"] < BYTES
    assert one.get("names", True), one
    assert bool(one.get("wrong")) == bool(kind.unseen), one


@pytest.mark.parametrize("name", ["zeroed_in_interval", "marker_in_interval", "restart_in_interval"])
def test_damage_to_one_interval_costs_no_other_block(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    """One tile lies beside the damaged block, three on it."""
    assert (outcomes[name]["same"], len(outcomes[name]["refused_tiles"])) == (1, 3)
