"""A method of one's own, entered from outside the package: everything takes it by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cellmix_dali import TileTable, get_online_augmentation
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, Action, BoxPlan, CellMix, TileMixer, make_mixer, register_method
from cellmix_dali.pipelines import train_loader


class HalfMix(TileMixer):
    """The lower part of each tile comes from its neighbour; here is all that a method needs."""

    method = "HalfMix"
    label_weight = "the share of the tile that stays"

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, share: float = 0.5) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.share = share

    @property
    def action(self) -> Action:
        return Action("paste")

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BoxPlan:
        height, width = (tile_size, tile_size) if isinstance(tile_size, int) else tile_size
        if self._random(epoch, iteration).random() >= self.p:
            return BoxPlan.identity(batch_size, (height, width))
        rows = int(height * self.share)
        boxes = np.tile(np.array([height - rows, 0, rows, width]), (batch_size, 1))
        return BoxPlan.pasted((height, width), np.roll(np.arange(batch_size), 1), boxes)


@pytest.fixture
def registered() -> Iterator[None]:
    register_method(HalfMix)
    yield
    del METHODS["HalfMix"]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("engine", ["native", "numba"])
def test_loaders_take_it(table: TileTable, engine: str) -> None:
    options = {"num_classes": 3, "batch_size": 4, "flips": False, "seed": 2, "engine": engine}
    own = {"method": "half-mix", "p": 1.0, "method_parameters": {"share": 0.25}}
    with train_loader(table, **options, **own) as loader, train_loader(table, method=None, **options) as bare:  # type: ignore[arg-type]
        for mixed, plain in zip(loader, bare, strict=True):
            want, of = plain["images"].clone(), plain["labels"]
            want[:, :, 192:] = plain["images"].roll(1, 0)[:, :, 192:]
            assert torch.equal(mixed["images"], want)
            torch.testing.assert_close(mixed["labels"], 0.75 * of + 0.25 * of.roll(1, 0))
    with pytest.raises(ArgumentError, match="parameter of HalfMix"):
        make_mixer("HalfMix", shar=0.5)


@pytest.mark.usefixtures("registered")
def test_the_command_line_takes_it(table: TileTable, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    table.save(tmp_path / "tiles.arrow")
    code, _, err = run("preview", tmp_path / "tiles.arrow", "--method", "HalfMix", "--out", tmp_path / "own.png")
    assert code == 0, err
    assert (tmp_path / "own.png").stat().st_size > 1000
    code, _, err = run("preview", tmp_path / "tiles.arrow", "--method", "HalfMx", "--out", tmp_path / "own.png")
    assert code != 0
    assert "HalfMix" in err


@pytest.mark.usefixtures("registered")
def test_loops_in_plain_pytorch_take_it() -> None:
    images = torch.arange(4 * 3 * 8 * 16, dtype=torch.float32).reshape(4, 3, 8, 16)
    labels = torch.tensor([0, 1, 2, 0])
    augmentation = get_online_augmentation("half_mix", p=1.0, class_num=3, share=0.25)
    mixed, soft, hard = augmentation(images, labels)
    want, of = images.clone(), torch.nn.functional.one_hot(labels, 3).float()
    want[:, :, 6:] = images.roll(1, 0)[:, :, 6:]
    assert augmentation.method == "HalfMix"
    assert torch.equal(mixed, want)
    torch.testing.assert_close(soft, 0.75 * of + 0.25 * of.roll(1, 0))
    assert torch.equal(hard, labels)
    with pytest.raises(ArgumentError, match="parameter of HalfMix"):
        get_online_augmentation("HalfMix", shar=0.5)


def test_names_that_are_taken_and_classes_that_are_no_method() -> None:
    for name in ("cutmix", "CellMix-Group", "None"):
        taken = type("Taken", (HalfMix,), {"method": name})
        with pytest.raises(ArgumentError, match="There is a method"):
            register_method(taken)
    for none in (int, HalfMix(), TileMixer, "HalfMix"):
        with pytest.raises(ArgumentError, match="cannot be a method"):
            register_method(none)  # type: ignore[type-var]
    assert "HalfMix" not in METHODS


class KeepMix(CellMix):
    """CellMix of which no more than a share of the patches moves."""

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, most: float = 0.5) -> None:
        super().__init__("CellMix-All", p=p, seed=seed, rank=rank)
        self.method, self.most = "KeepMix", most

    def draw(self, batch_size, tile_size, patch_size, fix_ratio, **key):  # type: ignore[no-untyped-def]
        return super().draw(batch_size, tile_size, patch_size, max(fix_ratio, 1 - self.most), **key)


def test_a_method_derived_from_cellmix_is_itself(table: TileTable) -> None:
    register_method(KeepMix, "KeepMix")
    try:
        assert METHODS["KeepMix"].is_cellmix
        assert dict(METHODS["KeepMix"].parameters) == {"most": 0.5}
        mixer = make_mixer("keepmix", seed=3, most=0.25)
        assert type(mixer) is KeepMix
        plan = mixer.draw(4, (64, 32), 8, 0.0, epoch=0, iteration=1)
        moved = plan.source_sample != np.arange(4)[:, None]
        assert 0 < moved.mean(1).max() <= 0.25
        options = {"num_classes": 3, "batch_size": 4, "flips": False, "seed": 3, "patch_size": 64, "fix_ratio": 0.0}
        own = {"method": "KeepMix", "p": 1.0, "method_parameters": {"most": 0.25}}
        with train_loader(table, **options, **own) as loader:  # type: ignore[arg-type]
            batch = next(iter(loader))
        assert set(batch["patch_size"].tolist()) == {64}
        assert ((batch["labels"] * 16).round(decimals=3) % 1 == 0).all()  # 4 of 16 patches moved
        assert ((batch["labels"] > 0.7).sum(1) == 1).all()
        augmentation = get_online_augmentation("KeepMix", p=1.0, class_num=2)
        _, soft, _ = augmentation(torch.zeros(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]), 0.0, 8)
        assert float(soft.max(1).values.min()) >= 0.5
    finally:
        del METHODS["KeepMix"]


def test_what_is_steered_and_not_cellmix_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"it says steered=True, and .* steer CellMix alone"):
        register_method(type("Steered", (HalfMix,), {"method": "Steered", "steered": True}))
    assert "Steered" not in METHODS
