"""Stain normalisation and mix-up in the loaders: each tile by its own slide's stain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import evaluate_loader, read_table, train_image_loader, train_loader
from cellmix_dali.stain import DensityFit, LabFit, StainTable
from cellmix_dali.stain.table import SlideStain

H, E, P = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11]), np.array([0.4, 0.8, 0.45])
PLAIN: dict[str, Any] = {"mean": [0.0] * 3, "std": [1 / 255] * 3}


def unit(*rows: Any) -> Any:
    return np.stack([row / np.linalg.norm(row) for row in rows])


FITS: dict[str, list[Any]] = {
    "macenko": [DensityFit(unit(H, E), [1.2, 0.9], 240.0), DensityFit(unit(P, E), [1.9, 0.6], 250.0)],
    "reinhard": [LabFit([70.0, 18.0, -12.0], [14.0, 7.0, 6.0]), LabFit([60.0, 25.0, -20.0], [18.0, 9.0, 5.0])],
}


def stains(table: TileTable, folder: Path, method: str) -> Path:
    """A table of stains that are made up, one of each slide."""
    rows = [SlideStain(str(slide), fit, 1000, 0.5) for slide, fit in zip(table.slides, FITS[method], strict=True)]
    path = folder / f"{method}.parquet"
    StainTable(rows, {"method": method, "parameters": {}}).save(path)
    return path


@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize("method", FITS)
def test_each_tile_is_normalised_by_its_slide(table: TileTable, tmp_path: Path, method: str, engine: str) -> None:
    """Against float64, in shuffled order; the two slides' tiles come to be changed differently."""
    path = stains(table, tmp_path, method)
    changes = StainTable.open(path).changes(table.slides, table.slides[0])
    whole = read_table(table)
    augment = [{"stain_normalisation": {"stains": str(path), "target": str(table.slides[0])}}]
    given: dict[str, Any] = {"augment": augment, "engine": engine, "flips": False, "method": None} | PLAIN
    seen = set()
    with train_loader(table, num_classes=3, batch_size=8, **given) as loader:
        for batch in loader:
            for row, image in zip(batch["tile"].tolist(), batch["images"].numpy(), strict=True):
                slide = int(table.slide[row])
                want = changes[slide].apply(whole[row])
                apart = np.abs(np.rint(image.transpose(1, 2, 0)) - want)
                assert apart.max() <= 1
                assert (apart > 0).mean() < 0.02
                seen.add(slide)
    assert seen == {0, 1}
    with evaluate_loader(table, batch_size=5, augment=augment, engine=engine, **PLAIN) as loader:
        first = next(iter(loader))
        want = np.stack([changes[int(table.slide[row])].apply(whole[row]) for row in first["tile"].tolist()])
        assert np.abs(first["images"].numpy().transpose(0, 2, 3, 1) - want).max() <= 1.001


def test_stains_are_mixed_between_slides(table: TileTable, tmp_path: Path) -> None:
    """With a share of 0 each tile is stained as its own slide, with 1 as another tile's; resumed, the same images."""
    path = str(stains(table, tmp_path, "macenko"))
    own = [np.linalg.pinv(fit.stains) for fit in FITS["macenko"]]
    whole = read_table(table)

    def loader_of(share: Any) -> Any:
        augment = [{"stain_mixup": {"stains": path, "share": share, "p": 1.0}}]
        given: dict[str, Any] = {"augment": augment, "flips": False, "method": None} | PLAIN
        return train_loader(table, num_classes=3, batch_size=8, **given)

    def stained(row: int, as_slide: int) -> Any:
        slide = int(table.slide[row])
        matrix = own[slide] @ FITS["macenko"][as_slide].stains
        return (255 * np.exp(np.log((whole[row] + 1.0) / 255) @ matrix) - 1).clip(0, 255)

    for share, slides in ((0.0, lambda row: [int(table.slide[row])]), (1.0, lambda _: [0, 1])):
        others = 0
        with loader_of(share) as loader:
            for batch in loader:
                for row, image in zip(batch["tile"].tolist(), batch["images"].numpy(), strict=True):
                    apart = {of: np.abs(image.transpose(1, 2, 0) - stained(row, of)).max() for of in slides(row)}
                    as_slide = min(apart, key=apart.__getitem__)
                    assert apart[as_slide] <= 1.01
                    others += as_slide != int(table.slide[row])
        assert (others > 3) == (share == 1.0)
    with loader_of((0.2, 0.8)) as loader:
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        want = next(batches)["images"].clone()
    with loader_of((0.2, 0.8)) as loader:
        loader.load_state_dict(state)
        assert np.array_equal(next(iter(loader))["images"], want)


def test_what_cannot_be_normalised_is_refused(table: TileTable, tmp_path: Path) -> None:
    path = stains(table, tmp_path, "reinhard")
    normalise, mix = ([{name: {"stains": str(path)}}] for name in ("stain_normalisation", "stain_mixup"))
    with pytest.raises(ArgumentError, match="fitted by a method without two stains"):
        next(iter(train_loader(table, num_classes=3, batch_size=8, method=None, augment=mix)))
    rows = [row for row in StainTable.open(path).rows if row.slide == str(table.slides[0])]
    StainTable(rows, {"method": "reinhard", "parameters": {}}).save(path)
    with pytest.raises(ArgumentError, match=re.escape(Path(table.slides[1]).name)):
        next(iter(train_loader(table, num_classes=3, batch_size=8, method=None, augment=normalise)))
    with pytest.raises(ArgumentError, match="table of stains"):
        train_loader(
            table, num_classes=3, batch_size=8, augment=[{"stain_normalisation": {"stains": "nowhere.parquet"}}]
        )
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    files = [tmp_path / "a.png"] * 4
    options: dict[str, Any] = {"num_classes": 2, "batch_size": 2, "image_size": 32, "method": None}
    with pytest.raises(ArgumentError, match="needs to know the slide"):
        next(iter(train_image_loader(files, [0, 1] * 2, augment=normalise, **options)))
