"""The examples for DALI's dynamic mode and for the PyTorch proxy: the same batches as the training loader's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cellmix_dali import CellMix, Curriculum, TileTable
from cellmix_dali.pipelines import train_loader
from cellmix_dali.plugins import PlanSource
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.sampling import EpochOrder

Load = Callable[[str], ModuleType]
Main = Callable[..., list[str]]
BATCH, TILE = 4, 256


def plans(curriculum: Curriculum) -> PlanSource:
    return PlanSource(CellMix("CellMix-Group", p=0.5), tile_size=TILE, batch_size=BATCH, curriculum=curriculum)


def expected(table: TileTable, losses: list[float]) -> list[list[dict[str, torch.Tensor]]]:
    """Epochs of the training loader, the curriculum stepped with given losses."""
    curriculum = Curriculum(epochs=len(losses), tile_size=TILE)
    loader = train_loader(
        table, num_classes=2, batch_size=BATCH, curriculum=curriculum, method="CellMix-Group", p=0.5, flips=False
    )
    epochs = []
    with loader:
        for loss in losses:
            epochs.append(list(loader))
            curriculum.step(loss)
    mixed = [bool(batch["triggered"][0]) for batch in itertools.chain(*epochs)]
    assert any(mixed)
    assert not all(mixed)
    return epochs


def check_batches(found: list[Any], wanted: list[dict[str, torch.Tensor]]) -> None:
    assert len(found) == len(wanted) > 1
    for (images, soft_labels), batch in zip(found, wanted, strict=True):
        torch.testing.assert_close(images, batch["images"], rtol=0, atol=0)
        torch.testing.assert_close(soft_labels, batch["labels"], rtol=0, atol=1e-6)


def labelled(module: ModuleType, folder: Path) -> TileTable:
    return TileTable.concat([module.labelled_tiles(folder / name) for name in ("slide-1.svs", "slide-2.tiff")])


@pytest.mark.parametrize("whole", [True, False])
def test_dynamic_mode_gives_the_loaders_batches(example: Load, folder: Path, whole: bool) -> None:
    module = example("dynamic_mode")
    table = labelled(module, folder)
    if not whole:  # windows over several blocks
        inside = table.select((table.x < 700) & (table.y < 700))
        table = TileTable.from_columns(
            [inside.slides[slide] for slide in inside.slide], x=inside.x + 40, y=inside.y + 9, size=TILE,
            label=inside.label,
        )  # fmt: skip
    losses = [0.4, 0.4]
    curriculum = Curriculum(epochs=2, tile_size=TILE)
    reader = TileReader(table)
    assert reader.whole is whole
    for loss, wanted in zip(losses, expected(table, losses), strict=True):
        found = module.batches(reader, EpochOrder(len(table), BATCH), plans(curriculum), curriculum.epoch)
        check_batches(list(found), wanted)
        curriculum.step(loss)
    reader.close()


@pytest.mark.slow
def test_the_proxy_gives_the_loaders_batches(example: Load, folder: Path) -> None:
    module = example("torch_dataset")
    table = labelled(module, folder)
    losses = [0.4, 0.4]
    curriculum = Curriculum(epochs=2, tile_size=TILE)
    order = EpochOrder(len(table), BATCH)
    pipeline = module.mixing_pipeline(batch_size=BATCH, num_threads=1, device_id=None)
    with module.dali_proxy.DALIServer(pipeline) as server:
        dataset = module.Tiles(table, server.proxy)
        for loss, wanted in zip(losses, expected(table, losses), strict=True):
            sampler = module.batches(order, plans(curriculum), curriculum.epoch)
            loader = module.dali_proxy.DataLoader(
                server, dataset, batch_sampler=sampler, num_workers=2, multiprocessing_context="fork"
            )
            check_batches(list(loader), wanted)
            curriculum.step(loss)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dynamic_mode", "torch_dataset"])
def test_they_train_under_the_curriculum(
    example: Load, main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = example(name)
    monkeypatch.setattr(module, "BATCH", BATCH)
    monkeypatch.setattr(module, "EPOCHS", 2)
    lines = main(module, folder)
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "patch 128, fix ratio 0.90" in lines[0]
    assert all(0.1 < float(line.split("loss ")[1].split(",")[0]) < 1.2 for line in lines)
