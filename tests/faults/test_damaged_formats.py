"""Every kind of damage to NDPI and DICOM files: refused by name, or right pixels; never a crash or a bomb."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from damage_dicom import DICOM_KINDS
from damage_kinds import Kind
from damage_ndpi import NDPI_KINDS
from dicom_files import image, write_dicom
from slide_files import picture
from vendor_files import write_ndpi

SECONDS, BYTES = 5, 500e6
KINDS = {"ndpi": NDPI_KINDS, "dicom": DICOM_KINDS}
EACH = [pytest.param(name, kind, id=f"{name}-{kind.name}") for name, kinds in KINDS.items() for kind in kinds]

Outcomes = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of every kind, by format."""
    folder = tmp_path_factory.mktemp("whole")
    paths = {
        "ndpi": write_ndpi(folder / "slide.ndpi"),
        "dicom": write_dicom(folder / "slide.dcm", image(picture(301, 200, seed=1))),
    }
    runs = {}
    for name, path in paths.items():
        place = str(tmp_path_factory.mktemp("damaged"))
        command = [sys.executable, str(Path(__file__).with_name("run_kinds.py")), place, str(path)]
        runs[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found: Outcomes = {}
    for name, run in runs.items():
        out, said = run.communicate(timeout=300)
        assert run.returncode == 0, said[-2000:]
        each = [json.loads(line) for line in out.splitlines()]
        found[name] = {one["kind"]: one for one in each if "skipped" not in one}
    return found


@pytest.mark.parametrize("name", KINDS)
def test_there_are_many_kinds(outcomes: Outcomes, name: str) -> None:
    assert set(outcomes[name]) == {kind.name for kind in KINDS[name]}
    assert len(KINDS[name]) == len(outcomes[name]) >= 50


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_damage(outcomes: Outcomes, name: str, kind: Kind) -> None:
    one = outcomes[name][kind.name]
    assert "died" not in one, one
    assert "raised" not in one, one
    assert one["seconds"] < SECONDS
    assert one["memory"] < BYTES
    assert one.get("names", True), one
    assert bool(one.get("wrong")) == bool(kind.unseen), one


@pytest.mark.parametrize("kind", ["zeroed_in_interval", "marker_in_interval", "restart_in_interval"])
def test_damage_to_one_interval_costs_no_other_block(outcomes: Outcomes, kind: str) -> None:
    """One tile lies beside the damaged block, three on it."""
    one = outcomes["ndpi"][kind]
    assert (one["same"], len(one["refused_tiles"])) == (1, 3)


@pytest.mark.parametrize("kind", ["zeroed_item", "item_longer", "zeroed_in_scan", "frame_is_a_bomb"])
def test_damage_to_one_frame_costs_no_other(outcomes: Outcomes, kind: str) -> None:
    """Of twelve tiles one lies on the frame itself, three reach over it."""
    one = outcomes["dicom"][kind]
    assert (one["same"], len(one["refused_tiles"])) == (12 - 4, 4)
