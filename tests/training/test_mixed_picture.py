"""mixed.png shows what a training sees: its augmentation as strong as the epoch has it, and what is mixed of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cellmix_dali import TileTable, pictures
from cellmix_dali.pipelines import read_table
from cellmix_dali.stain import fit_stains
from cellmix_dali.training import TileSamples, TrainingData, TrainingSettings
from cellmix_dali.training.image_samples import ImageSamples, ImageSet
from cellmix_dali.training.mixed import draw_mixed

STEERED = {"epoch": 2, "patch_size": 32, "fix_ratio": 0.5}


def shown(monkeypatch: pytest.MonkeyPatch, data: TrainingData[Any], epoch: Any, **settings: Any) -> dict[str, Any]:
    """What is drawn."""
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(pictures, "mixed_picture", lambda _, **given: drawn.update(given))
    draw_mixed(Path("never.png"), data, TrainingSettings(batch_size=8, **settings), epoch)
    return drawn


def recipe(tmp_path: Path, text: str) -> str:
    (tmp_path / "recipe.yaml").write_text(text)
    return str(tmp_path / "recipe.yaml")


@pytest.fixture
def images(tmp_path: Path) -> tuple[TrainingData[ImageSet], np.ndarray[Any, Any]]:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = tuple(str(tmp_path / f"{number}.png") for number in range(8))
    data = ImageSet(files, np.arange(8, dtype=np.int32) % 2)
    return TrainingData(ImageSamples(64), data, None, None, ("a", "b"), "none", "none"), pixels


@pytest.mark.parametrize(
    ("method", "strength", "threshold"),
    [("CellMix-Group", 1.0, 0), ("CellMix-Group", 0.5, 128), ("CutMix", 1.0, 0), ("SaliencyMix", 1.0, 0)],
)
def test_images_are_augmented_before_they_are_mixed(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, strength: float, threshold: int
) -> None:
    data, pixels = images
    inverted = np.where(pixels >= threshold, 255 - pixels, pixels)
    epoch = STEERED | {"augment_strength": strength}
    augment = recipe(tmp_path, "- solarise: {threshold: 0, p: 1}")
    drawn = shown(monkeypatch, data, epoch, method=method, augment=augment, seed=1)
    numbers = [int(np.flatnonzero((inverted == each).all(axis=(1, 2, 3)))[0]) for each in drawn["before"]]
    assert len(set(numbers)) == len(drawn["before"]) == 4
    np.testing.assert_array_equal(drawn["labels"], np.array(numbers) % 2)
    # Every pixel that comes after is one of those before, at its place or, in patches, another's.
    after = drawn["after"]
    assert (after[:, None] == drawn["before"][None]).all(axis=-1).any(axis=1).all()
    assert (after != drawn["before"]).any()
    np.testing.assert_allclose(drawn["soft_labels"].sum(axis=1), 1, atol=1e-5)
    assert augment in drawn["title"]


def test_tiles_are_normalised_by_their_own_slides(
    table: TileTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the training's: the table of stains needs the slides of the very tiles that are shown."""
    stains = tmp_path / "stains.parquet"
    fit_stains([str(slide) for slide in table.slides], stains, workers=0)
    labelled = table.with_labels(np.arange(len(table)) % 2)
    data = TrainingData(TileSamples(256), labelled, None, None, ("a", "b"), "none", "none")
    bare = shown(monkeypatch, data, STEERED)
    drawn = shown(monkeypatch, data, STEERED, stains=str(stains))
    plain = read_table(table)
    assert all((plain == each).all(axis=(1, 2, 3)).any() for each in bare["before"])
    assert (bare["before"] != drawn["before"]).any(axis=(1, 2, 3)).any()
    np.testing.assert_array_equal(bare["labels"], drawn["labels"])
