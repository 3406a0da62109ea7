"""Statistics of a collection's tiles, as RandStainNA's own preparation has them; its virtual templates follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from cellmix_dali.augment import RandStainNA, Template
from cellmix_dali.errors import ArgumentError
from cellmix_dali.stain import LabFit, SlideStain, StainSettings, StainTable, fit_stains
from cellmix_dali.stain.tile_colours import TileColours, added
from cellmix_dali.synthetic import RenderedSlide


def tissue(seed: int, count: int) -> NDArray[np.uint8]:
    """Tiles of purple and pink, each darker or brighter as a whole."""
    random = np.random.default_rng(seed)
    base = np.array([180, 110, 170]) + random.normal(0, 25, (count, 1, 1, 3))
    return (base + random.normal(0, 20, (count, 32, 32, 3))).clip(0, 255).astype(np.uint8)


def in_spaces(tile: NDArray[np.uint8]) -> dict[str, Any]:
    """By scikit-image, in OpenCV's units."""
    color = pytest.importorskip("skimage.color")
    return {
        "LAB": color.rgb2lab(tile) * [2.55, 1, 1] + [0, 128, 128],
        "HSV": color.rgb2hsv(tile) * [180, 255, 255],
        "HED": color.rgb2hed(tile),
    }


def test_templates_are_those_of_the_tiles() -> None:
    tiles = tissue(0, 20)
    found = added(TileColours.read(TileColours.of_tile(tile).numbers) for tile in tiles)
    assert found.tiles == 20
    for template in found.templates():
        space = template["color_space"]
        own = [in_spaces(tile)[space][::2, ::2].reshape(-1, 3) for tile in tiles]
        for of, values in (("avg", [each.mean(axis=0) for each in own]), ("std", [each.std(axis=0) for each in own])):
            got = np.array([[template[channel][of][name] for name in ("mean", "std")] for channel in space])
            want = np.stack([np.mean(values, axis=0), np.std(values, axis=0)], axis=1)
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_a_collection_is_measured_while_its_stains_are_fitted(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """Whatever the method, after a resume, and from the file; slides that differ make the templates vary."""
    out = tmp_path / "stains.parquet"
    settings = StainSettings(tile_size=128, tiles=8, pixels=20000, method="reinhard")
    fit_stains([rendered[0].path], out, settings, workers=0)
    one = StainTable.open(out).rows[0]
    assert one.colours.tiles == 8
    # Glass and tissue: brighter than the tissue that the fit knows of.
    assert isinstance(one.fit, LabFit)
    light = one.colours.templates()[0]["L"]["avg"]["mean"]
    assert 2.55 * one.fit.mean[0] - 5 < light < 255
    table = fit_stains([of.path for of in rendered], out, settings, workers=0, resume=True)
    assert sum(row.colours.tiles for row in table.rows) == 8 * len(rendered)
    assert StainTable.open(out).templates() == table.templates()
    augment = RandStainNA(templates=out)
    assert augment.templates == RandStainNA(templates=table.templates()).templates
    assert [template.space for template in augment.templates if isinstance(template, Template)] == ["LAB", "HSV", "HED"]
    assert all(template.mean_deviations[0] > 0 for template in augment.templates if isinstance(template, Template))


def test_a_table_of_a_former_version_opens_and_has_no_templates(tmp_path: Path) -> None:
    out = tmp_path / "stains.parquet"
    row = SlideStain("a.svs", LabFit([50, 1, 2], [3, 4, 5]))
    StainTable([row], StainSettings(method="reinhard").to_json()).save(out)
    pq.write_table(pq.read_table(out).drop_columns(["tile_colours"]), out)
    table = StainTable.open(out)
    assert len(table) == 1
    with pytest.raises(ArgumentError, match="fit the stains again"):
        table.templates()
    with pytest.raises(ArgumentError, match="fit the stains again"):
        RandStainNA(templates=str(out))
