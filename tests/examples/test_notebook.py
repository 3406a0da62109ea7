"""The notebook: what is committed is clean, and it runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "cellmix_demo.ipynb"
# Run after the last cell but one: what the notebook found.
REPORT = """
import json
from pathlib import Path

sums = [outputs[2 * n + 1].sum(axis=1).round(5).tolist() for n in range(len(METHODS))]
found = {
    "tiles": len(train), "history": history, "agreement": agreement, "sums": sums,
    "own": mixed["CellMix-Self"][1].tolist(),
    "changed": [bool((mixed[name][0] != images).any()) for name in METHODS], "truth": truth.tolist(),
}
Path("found.json").write_text(json.dumps(found))
"""


def pictures(notebook: Any) -> list[str]:
    """The pictures in the outputs, as base64 text."""
    data = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [value for each in data for kind, value in each.items() if kind.startswith("image/")]


@pytest.fixture(scope="module")
def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_committed_outputs(committed: Any) -> None:
    assert NOTEBOOK.stat().st_size < 1_500_000
    nbformat.validate(committed)
    assert len(pictures(committed)) == 3
    streams = [
        output for cell in committed.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    ]
    assert {output.name for output in streams} == {"stdout"}  # no warnings
    text = NOTEBOOK.read_text(encoding="utf-8")
    for picture in pictures(committed):
        text = text.replace(picture.rstrip("\n"), "")
    assert not re.search(r"/(home|root|work|tmp|usr)/", text), "a path of the machine that ran it"
    assert all(cell.execution_count for cell in committed.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_it_runs_and_the_model_looks_at_the_right_patches(committed: Any, tmp_path: Path) -> None:
    notebook = nbformat.from_dict(committed)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = []
    notebook.cells.insert(notebook.cells.index(code[-1]), nbformat.v4.new_code_cell(REPORT))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    assert len(pictures(notebook)) == 3
    found = json.loads((tmp_path / "found.json").read_text())
    losses, sizes, ratios, accuracies = zip(*found["history"], strict=True)
    assert found["tiles"] > 50
    assert losses[-1] < losses[0]
    assert (sizes[0], ratios[0]) == (128, 0.9)
    assert sizes[-1] < 128  # the loss made it harder
    assert accuracies[-1] > 0.75  # the classes are about equally frequent
    assert found["agreement"] > 0.65
    assert all(total == pytest.approx(1, abs=1e-4) for batch in found["sums"] for total in batch)
    assert all(found["changed"])  # every method mixed
    assert found["own"] == [[float(row == column) for column in range(8)] for row in range(8)]
    assert len({value for tile in found["truth"] for row in tile for value in row}) == 2
