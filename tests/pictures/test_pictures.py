"""Pictures: what is drawn is where it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.pictures import MethodRow, curriculum_picture, methods_picture, mixed_picture, strategies_picture
from cellmix_dali.pictures._style import COLOURS
from cellmix_dali.pictures.methods import _colours


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def share_of(picture: NDArray[np.uint8], colour: str | tuple[int, int, int]) -> float:
    """Share of the picture's pixels that have a colour, up to rounding."""
    wanted = np.rint(255 * np.array(to_rgb(colour))) if isinstance(colour, str) else np.array(colour)
    return float((np.abs(picture.astype(int) - wanted).max(axis=-1) <= 2).mean())


@pytest.fixture
def batch() -> NDArray[np.uint8]:
    """Four plain tiles of colours of their own."""
    colours = np.array([[10, 200, 90], [250, 240, 10], [0, 0, 0], [90, 10, 250]], np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours[:, None, None], (4, 64, 64, 3)))


def test_every_tile_of_every_method_is_there(tmp_path: Path, batch: NDArray[np.uint8]) -> None:
    own = np.eye(4, dtype=np.float32)
    rows = [
        MethodRow("as they are", "", batch, own),
        MethodRow("Shift", "note", np.roll(batch, 1, axis=0), own[[3, 0, 1, 2]]),
    ]
    methods_picture(tmp_path / "two.png", rows, title="title")
    picture = pixels(tmp_path / "two.png")
    for tile in batch[[0, 1, 3]]:
        shares = share_of(picture, tuple(tile[0, 0].tolist()))
        assert 0.06 < shares < 0.14  # two of eight tiles, and room for names
    # Tiles of the second row are those of the first, one place on.
    first = [np.argwhere((picture == tile[0, 0]).all(axis=-1)) for tile in batch[[0, 1]]]
    upper, lower = first[0][first[0][:, 0] < picture.shape[0] / 2], first[0][first[0][:, 0] > picture.shape[0] / 2]
    beside = first[1][first[1][:, 0] < picture.shape[0] / 2]
    assert abs(lower[:, 1].mean() - beside[:, 1].mean()) < 2
    assert upper[:, 1].mean() < lower[:, 1].mean()
    for colour in COLOURS[:4]:  # every bar is full
        assert share_of(picture, colour) > 0.005


def test_bars_are_as_wide_as_the_shares(tmp_path: Path, batch: NDArray[np.uint8]) -> None:
    soft = np.tile(np.array([[0.75, 0.25]], np.float32), (4, 1))
    methods_picture(tmp_path / "bars.png", [MethodRow("Half", "", batch, soft)], title="", names=("stroma", "tumour"))
    picture = pixels(tmp_path / "bars.png")
    wide, narrow = (np.argwhere((np.abs(picture - 255 * np.array(to_rgb(of))) < 2).all(axis=-1)) for of in COLOURS[:2])
    row = int(np.bincount(wide[:, 0]).argmax())
    assert (wide[:, 0] == row).sum() / (narrow[:, 0] == row).sum() == pytest.approx(3, rel=0.08)


@pytest.mark.parametrize("classes", [2, 6, 7, 16, 40])
def test_classes_have_colours_of_their_own(tmp_path: Path, batch: NDArray[np.uint8], classes: int) -> None:
    colours = _colours(classes)
    assert len(colours) == classes
    assert len(set(colours)) == min(classes, 20)
    soft = np.full((4, classes), 1 / classes, np.float32)
    methods_picture(
        tmp_path / "many.svg", [MethodRow("Many", "", batch, soft)], title="", names=["a long name"] * classes
    )
    assert (tmp_path / "many.svg").stat().st_size > 10_000


def test_strategies(tmp_path: Path) -> None:
    epochs = 20
    strategies_picture(
        tmp_path / "s.png",
        losses=np.linspace(1, 0.1, epochs).tolist(),
        thresholds=[0.5] * epochs,
        learned=[False] * 10 + [True] * 10,
        patch_sizes={"fixed": [32] * epochs, "linear": [16] * 10 + [64] * 10},
        fix_ratios={"fixed": [0.5] * epochs},
        source="a loss",
        title="title",
        warmup_epochs=4,
    )
    picture = pixels(tmp_path / "s.png")
    assert 800 < picture.shape[1] < 1200
    assert share_of(picture, COLOURS[1]) > 0.0005  # learned epochs are marked
    assert share_of(picture, (235, 235, 235)) > 0.01  # the warm-up is shaded
    shades = [tuple(round(255 * part) for part in colormaps["GnBu"](at)[:3]) for at in (0.9, 0.55, 0.2)]
    small, middle, large = (share_of(picture, shade) for shade in shades)
    assert middle > 1.5 * small > 0
    assert small == pytest.approx(large, rel=0.3)


def test_one_strategy_and_one_epoch(tmp_path: Path) -> None:
    one = {"losses": [0.4], "thresholds": [0.5], "learned": [True], "source": "", "title": ""}
    strategies_picture(tmp_path / "one.pdf", patch_sizes={"fixed": [32]}, fix_ratios={"fixed": [0.5]}, **one)  # type: ignore[arg-type]
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")


def test_the_pictures_of_a_training(tmp_path: Path, batch: NDArray[np.uint8]) -> None:
    soft = np.array([[0.5, 0.5], [1, 0], [0, 1], [0.25, 0.75]], np.float32)
    mixed_picture(
        tmp_path / "m.png", before=batch, after=batch[::-1], labels=np.array([0, 1, 0, 1], np.int32), soft_labels=soft,
        classes=("stroma", "tumour"), title="title",
    )  # fmt: skip
    for tile in batch[[0, 1, 3]]:
        assert share_of(pixels(tmp_path / "m.png"), tuple(tile[0, 0].tolist())) > 0.1
    epochs = [
        {"epoch": n, "patch_size": 64 >> n, "fix_ratio": 0.9 - 0.1 * n, "threshold": 0.5, "train_loss": 0.6 - 0.1 * n}
        for n in range(3)
    ]
    curriculum_picture(tmp_path / "c.png", epochs)
    picture = pixels(tmp_path / "c.png")
    assert share_of(picture, COLOURS[0]) > 0.002
    assert share_of(picture, COLOURS[3]) == 0  # no accuracy was given
