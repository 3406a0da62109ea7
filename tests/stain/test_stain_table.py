"""The table of stains: written, opened, asked; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.errors import ArgumentError
from cellmix_dali.stain import DensityFit, LabFit, SlideStain, StainSettings, StainTable, table as module
from cellmix_dali.stain.colour import HED
from cellmix_dali.stain.methods import Macenko, Reinhard

STAINS = HED[:2] / np.linalg.norm(HED[:2], axis=1, keepdims=True)


def density(scale: float) -> DensityFit:
    return DensityFit(STAINS, [scale, 2 * scale], 240 + scale)


def table(*rows: SlideStain, method: str | Macenko = "macenko") -> StainTable:
    return StainTable(rows, StainSettings(method=method).to_json())


@pytest.fixture
def three() -> StainTable:
    return table(
        SlideStain("/data/a.svs", density(1.0), 500, 0.25, inputs='{"files": [["/data/a.svs", 9, 9]], "mpp": 0.25}'),
        SlideStain("/data/b.svs", fault="/data/b.svs has no tissue.", fault_kind="damaged"),
        SlideStain("/data/c.svs", density(3.0), 700),
        method=Macenko(alpha=2.5),
    )


def test_what_is_written_is_read(three: StainTable, tmp_path: Path) -> None:
    three.save(tmp_path / "stains.parquet")
    again = StainTable.open(tmp_path / "stains.parquet")
    assert [row.to_json() for row in again.rows] == [row.to_json() for row in three.rows]
    assert again.settings == three.settings
    assert again.method == Macenko(alpha=2.5)
    assert repr(again) == "<StainTable: 2 of 3 slides fitted by macenko>"
    np.testing.assert_array_equal(again.rows[0].fit.stains, STAINS)  # type: ignore[union-attr]
    columns = pq.read_table(tmp_path / "stains.parquet").to_pydict()
    assert columns["slide"] == ["/data/a.svs", "/data/b.svs", "/data/c.svs"]
    assert columns["method"] == ["macenko"] * 3
    assert (columns["mpp"], columns["pixels"]) == ([0.25, None, None], [500, 0, 700])
    assert columns["background"] == [241, None, 243]
    assert columns["stains"][1] is columns["concentrations"][1] is columns["lab_mean"][0] is None
    assert columns["fault"] == [None, "/data/b.svs has no tissue.", None]
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again" / "stains.parquet")
    assert (tmp_path / "again" / "stains.parquet").read_bytes() == (tmp_path / "stains.parquet").read_bytes()


def test_statistics_in_lab_are_kept_too(tmp_path: Path) -> None:
    table(SlideStain("a.svs", LabFit([50, 1, 2], [3, 4, 5])), method="reinhard").save(tmp_path / "t.parquet")
    (row,) = StainTable.open(tmp_path / "t.parquet").rows
    assert row.fit is not None
    assert row.fit.to_json() == {"mean": [50, 1, 2], "std": [3, 4, 5]}


def test_changes_follow_the_slides_in_any_order(three: StainTable) -> None:
    changes = three.changes(["/data/c.svs", "/data/a.svs", "/data/c.svs"], density(4.0))
    for place, scale in enumerate((3.0, 1.0, 3.0)):
        want = density(scale).change_to(density(4.0))
        np.testing.assert_allclose(changes.matrices[place], want.matrix)
        np.testing.assert_allclose(changes.offsets[place], want.offset)
    assert changes.kind == "density"
    assert len(three.changes([])) == 0
    np.testing.assert_allclose(
        three.changes(["/data/a.svs"])[0].matrix, density(1.0).change_to(density(2.0)).matrix
    )  # to the median of both


def test_slides_that_could_not_be_fitted(three: StainTable) -> None:
    with pytest.raises(ArgumentError, match=r"1 of 2 slides have no fitted stain\. /data/b.svs has no tissue"):
        three.changes(["/data/a.svs", "/data/b.svs"])
    kept = three.changes(["/data/a.svs", "/data/b.svs"], unfitted="keep")
    np.testing.assert_array_equal(kept[1].matrix, np.eye(3))
    np.testing.assert_array_equal(kept[1].offset, np.zeros(3))
    with pytest.raises(ArgumentError, match="unfitted"):
        three.changes([], unfitted="skip")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="cannot be the target"):
        three.target("/data/b.svs")
    with pytest.raises(ArgumentError, match="None of the 1 slides has a fitted stain"):
        table(three.rows[1]).target()


def test_targets(three: StainTable, image: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(three.target().to_json()["concentrations"], [2, 4])
    assert three.target("/data/c.svs") is three.rows[2].fit
    own = density(9.0)
    assert three.target(own) is own
    Image.fromarray(image).save(tmp_path / "reference.png")
    want = Macenko(alpha=2.5).fit(image).to_json()
    assert three.target(image).to_json() == want
    assert three.target(tmp_path / "reference.png").to_json() == want
    assert three.target(str(tmp_path / "reference.png")).to_json() == want
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (
        ("white.png", "white.png: The stain cannot be fitted"),
        ("text.png", "target of stain normalisation .* cannot be read"),
        ("nothing.png", "there is no file"),
    ):
        with pytest.raises(ArgumentError, match=words):
            three.target(tmp_path / name)
    monkeypatch.setattr(module, "_MOST_PIXELS", 1600)
    assert three.target(image).to_json() == Macenko(alpha=2.5).fit(image.reshape(-1, 3)[::3]).to_json()
    with pytest.raises(ArgumentError, match="fitted as 'density' and the target as 'lab'"):
        three.changes(["/data/a.svs"], Reinhard().fit(image))


def test_a_slide_is_found_by_any_of_its_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, link = tmp_path / "a.svs", tmp_path / "link.svs"
    real.write_bytes(b"a slide")
    link.symlink_to(real)
    found = table(SlideStain(str(real), density(1.0)), SlideStain(str(tmp_path / "b.svs"), density(2.0)))
    monkeypatch.chdir(tmp_path)
    for path in (str(real), real, link, "a.svs", "link.svs"):
        assert found.row_of(path) is found.rows[0]
    assert found.row_of("b.svs") is found.rows[1]  # which is not there any more
    with pytest.raises(ArgumentError, match=r"has no slide c\.svs: fit the stains of all slides"):
        found.row_of("c.svs")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([SlideStain("a", density(1.0)), SlideStain("a", density(1.0))], "a slide twice"),
        ([SlideStain("a")], "or neither"),
        ([SlideStain("a", density(1.0), fault="x", fault_kind="damaged")], "have a fit and a fault"),
        ([SlideStain("a", density(1.0)), SlideStain("b", LabFit([1, 2, 3], [1, 1, 1]))], "of several kinds"),
    ],
)
def test_tables_that_are_none(rows: list[SlideStain], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        table(*rows)


def changed(about: object = ..., **columns: Any) -> Callable[[pa.Table], pa.Table]:
    def change(of: pa.Table) -> pa.Table:
        for name, values in columns.items():
            place = of.column_names.index(name)
            of = of.remove_column(place) if values is None else of.set_column(place, name, [values])
        return of if about is ... else of.replace_schema_metadata({"cellmix_dali.stains": json.dumps(about)})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda of: of.replace_schema_metadata({}), "it does not say that it is one"),
        (changed(about=[1]), "it does not say that it is one"),
        (changed(about={"format": 2, "settings": {}}), "it is of format 2, not 1"),
        (changed(about={"format": 1}), "cannot be read"),
        (changed(about={"format": 1, "settings": {"method": "macenko"}}), "does not say its method and parameters"),
        (changed(inputs=["{}", "", ""]), "cannot be read"),
        (changed(inputs=["no JSON", "", ""]), "cannot be read"),
        (changed(concentrations=None), "it has no column 'concentrations'"),
        (changed(pixels=["a", "b", "c"]), "cannot be read"),
        (changed(concentrations=[[0.0, 1.0], None, [1.0, 1.0]]), "hardly there"),
        (changed(stains=[None, None, [1.0] * 6]), "or neither|lengths"),
        (changed(slide=["/data/a.svs"] * 3), "a slide twice"),
    ],
)
def test_files_that_are_none(
    three: StainTable, tmp_path: Path, change: Callable[[pa.Table], pa.Table], words: str
) -> None:
    path = tmp_path / "stains.parquet"
    three.save(path)
    whole = pq.read_table(path)
    pq.write_table(change(whole), path)
    with pytest.raises(ArgumentError, match=words):
        StainTable.open(path)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    for path, words in (
        (tmp_path / "nothing.parquet", "there is no file"),
        (tmp_path / "broken.parquet", "cannot be read"),
        (tmp_path, "cannot be read"),
        (3, "must be named by a path"),
    ):
        with pytest.raises(ArgumentError, match=words):
            StainTable.open(path)  # type: ignore[arg-type]
