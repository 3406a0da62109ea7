"""The training loader with every method: what comes out is what was drawn, mixed and normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali import Curriculum, TileTable, open_slide
from cellmix_dali._random import generator
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, SaliencyMix, make_mixer, saliency_peaks
from cellmix_dali.pipelines import train_loader

BATCH, SEED = 8, 5
OTHERS = [name for name, method in METHODS.items() if not method.is_cellmix]


def flipped_tiles(table: TileTable, rows: NDArray[np.int64], epoch: int, iteration: int) -> NDArray[np.uint8]:
    flips = generator(SEED, epoch=epoch, iteration=iteration, stream=2).integers(0, 2, (len(rows), 2))
    found = []
    for row, (horizontal, vertical) in zip(rows.tolist(), flips, strict=True):
        slide, side = open_slide(table.slides[table.slide[row]]), int(table.size[row])
        image = slide.read_region(int(table.level[row]), int(table.x[row]), int(table.y[row]), side, side)
        found.append(image[:: -1 if vertical else 1, :: -1 if horizontal else 1])
    return np.stack(found)


@pytest.mark.parametrize("method", OTHERS)
def test_every_other_method(table: TileTable, method: str) -> None:
    mixer: Any = make_mixer(method, p=0.7, seed=SEED)
    loader = train_loader(
        table,
        num_classes=3,
        batch_size=BATCH,
        method=method,
        p=0.7,
        seed=SEED,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),  # the pixels as they are
    )
    assert table.label is not None
    triggered = []
    with loader:
        for number, batch in enumerate(loader):
            rows = batch["tile"].flatten().numpy()
            given = flipped_tiles(table, rows, 0, number)
            peaks = {"peaks": saliency_peaks(given)} if isinstance(mixer, SaliencyMix) else {}
            plan = mixer.draw(BATCH, 256, epoch=0, iteration=number, **peaks)
            want = plan.apply(given).transpose(0, 3, 1, 2)
            assert np.abs(batch["images"].numpy() - want).max() <= (1.001 if method == "Mixup" else 0.001)
            np.testing.assert_allclose(batch["labels"].numpy(), plan.soft_labels(table.label[rows], 3), atol=1e-6)
            assert (batch["triggered"].numpy() == plan.triggered).all()
            assert (batch["patch_size"].numpy() == 0).all()
            triggered.append(plan.triggered)
    assert any(triggered)


def test_a_methods_own_parameters(table: TileTable) -> None:
    with train_loader(
        table,
        num_classes=3,
        batch_size=BATCH,
        method="cut-out",
        method_parameters={"side": 256, "fill": 0},
        p=1.0,
        flips=False,
        mean=(0.0, 0.0, 0.0),
    ) as loader:
        images = next(iter(loader))["images"]
    # A square of the tile's side blanks its centre wherever it lies.
    assert (images[:, :, 128, 128] == 0).all()
    assert images.max() > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "CutMix", "patch_size": 32, "fix_ratio": 0.5}, "CutMix has no patches"),
        ({"method": "CutMix", "curriculum": Curriculum(epochs=2, tile_size=256)}, "CutMix has no patches"),
        ({"method": "CutMix", "method_parameters": {"beta": 1.0}}, "parameter of CutMix 'beta'"),
        ({"method": "CutMx"}, "Unknown method 'CutMx'. Did you mean 'CutMix'"),
        ({"method": "CellMix-Group"}, "needs either a curriculum, or both"),
    ],
)
def test_what_is_refused(table: TileTable, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        train_loader(table, num_classes=3, batch_size=BATCH, **arguments)
