"""Every kind of damage, on real and on rendered slides: refused by name, or right pixels; never a crash or a bomb."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from damage_kinds import KINDS, Kind, write_of_vendors, write_rendered

SHARED = Path(__file__).resolve().parents[3] / "shared" / "slides"
REAL = [f"CMU-1-Small-Region{suffix}" for suffix in (".svs", ".jpeg.tiff", ".jp2.tiff")]
SECONDS, BYTES = 5, 500e6  # for one kind on one slide; as a rule hundredths of a second and some megabytes

pytestmark = pytest.mark.slow
Outcomes = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of every kind on every slide; by kind."""
    slides = [[path for path in write_rendered(tmp_path_factory.mktemp("slides")) if path.name != "ycbcr.tiff"]]
    slides.append(write_of_vendors(tmp_path_factory.mktemp("vendors")))
    if SHARED.is_dir():
        slides.append([SHARED / name for name in REAL])
    # All at once, each in a process of its own.
    command = [sys.executable, str(Path(__file__).with_name("run_kinds.py"))]
    runs = []
    for paths in slides:
        folder = tmp_path_factory.mktemp("damaged")
        said = (folder / "said").open("w")
        arguments = [*command, str(folder), *map(str, paths)]
        runs.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=said, text=True))
    found: Outcomes = defaultdict(list)
    for run in runs:
        out, _ = run.communicate(timeout=300)
        assert run.returncode == 0
        for line in out.splitlines():
            one = json.loads(line)
            if "skipped" not in one:
                found[one["kind"]].append(one)
    return found


def test_there_are_many_kinds(outcomes: Outcomes) -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 100
    assert set(outcomes) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damage(outcomes: Outcomes, kind: Kind) -> None:
    for one in outcomes[kind.name]:
        where = f"{kind.name} of {one['slide']}"
        assert "died" not in one, f"{where}: a library fell over it ({one['died']})"
        assert "raised" not in one, f"{where}: {one['raised']}"
        assert one["seconds"] < SECONDS, where
        assert one["memory"] < BYTES, where
        assert one.get("names", True), f"{where}: an error does not name the file: {one}"
        if not kind.unseen:
            # Every tile is right, or refused with a reason (by the reader, or else by DALI's decoder).
            assert not one.get("wrong"), f"{where}: tiles {one['wrong']} are wrong, and nobody says so"


def test_what_is_said_to_be_unseen_is_so(outcomes: Outcomes) -> None:
    """The kinds' notes are true: this damage comes through as wrong pixels in at least one sort of file."""
    for kind in KINDS:
        assert not kind.unseen or any(one.get("wrong") for one in outcomes[kind.name]), kind.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hundred_thousand_directories", "more than 1000 directories"),
        ("two_thousand_copies_of_the_directory", "more than 1000 directories"),
        ("last_directory_links_to_itself", "leads back to an earlier one"),
        ("last_directory_links_to_the_first", "leads back to an earlier one"),
        ("compression_none", "is not compressed, but has a block of"),
    ],
)
def test_what_would_take_long_or_show_garbage_is_refused_with_its_reason(
    outcomes: Outcomes, name: str, words: str
) -> None:
    refused = [one["refused"] for one in outcomes[name]]
    assert any(words in each for each in refused), refused


def test_damage_to_one_block_costs_no_other_tile(outcomes: Outcomes) -> None:
    for name in ("zeroed_middle_of_block", "scan_with_a_stray_marker", "no_end_of_image"):
        for one in outcomes[name]:
            if one["slide"] == "leica.scn":  # its tiles do not lie on its blocks
                continue
            # One tile on the block itself, four that reach over it.
            assert len(one["refused_tiles"]) == 5, one
            assert one["same"] in (12 - 5, 16 - 5, 32 - 5), one
