"""A step between epochs is in force from the first batch of the next epoch, and in none before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from PIL import Image

from cellmix_dali import CellMix, Curriculum, TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import train_loader
from cellmix_dali.plugins import PlanSource, TileSource, cellmix
from cellmix_dali.plugins.source import mixed_labels

EPOCHS, BATCHES, BATCH = 4, 5, 4
LOSSES = (0.1, 9.0, 0.2)  # harder, hold, harder


def curriculum(tile: int) -> Curriculum:
    return Curriculum(epochs=EPOCHS, tile_size=tile, patch_strategy="loss_hold", ratio_strategy="loss_hold")


def expected(tile: int) -> list[tuple[int, float]]:
    """What each epoch must show: a second curriculum, stepped by hand."""
    twin = curriculum(tile)
    values = []
    for epoch in range(EPOCHS):
        values.append((twin.patch_size, pytest.approx(twin.fix_ratio)))
        if epoch < len(LOSSES):
            twin.step(LOSSES[epoch])
    assert len({patch for patch, _ in values}) == 3  # the steps make a difference
    return values


def check(seen: list[list[tuple[int, float, int, int]]], tile: int) -> None:
    for epoch, (batches, (patch, ratio)) in enumerate(zip(seen, expected(tile), strict=True)):
        assert len(batches) == BATCHES
        for number, batch in enumerate(batches):
            assert batch == (patch, ratio, epoch, number)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_with_our_own_source(depth: int, table: TileTable) -> None:
    own = curriculum(256)
    tiles = table.select(np.arange(BATCH * BATCHES + 1))
    with train_loader(
        tiles, num_classes=3, batch_size=BATCH, curriculum=own, p=1.0, prefetch_queue_depth=depth
    ) as loader:
        assert len(loader) == BATCHES
        seen = []
        for epoch in range(EPOCHS):
            seen.append([parameters(batch) for batch in loader])
            if epoch < len(LOSSES):
                own.step(LOSSES[epoch])
    check(seen, 256)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_with_a_dali_reader(depth: int, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    for number in range(BATCH * BATCHES):
        Image.fromarray(np.full((128, 128, 3), number, np.uint8)).save(tmp_path / "class" / f"{number:02}.png")
    own = curriculum(128)
    plans = PlanSource(CellMix(), tile_size=128, batch_size=BATCH, curriculum=own, epoch_size=BATCHES)

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, prefetch_queue_depth=depth)
    def pipeline() -> Any:
        encoded, labels = fn.readers.file(file_root=str(tmp_path))
        images = fn.decoders.image(encoded, device="cpu")
        mixed, soft, applied = cellmix(images, labels, num_classes=2, plan=plans, parameters=True)
        brightness = fn.reductions.mean(images, axes=(0, 1, 2), dtype=types.FLOAT)
        return mixed, soft, brightness, *applied

    names = ["images", "labels", "brightness", "patch_size", "fix_ratio", "triggered", "epoch", "iteration"]
    iterator = DALIGenericIterator([pipeline()], names, size=-1, auto_reset=False, prepare_first_batch=False)
    seen, brightness = [], []
    for epoch in range(EPOCHS):
        if epoch:
            iterator.reset()
        batches = [batch[0] for batch in iterator]
        seen.append([parameters(batch) for batch in batches])
        brightness.append([value for batch in batches for value in batch["brightness"].tolist()])
        if epoch < len(LOSSES):
            own.step(LOSSES[epoch])
    check(seen, 128)
    # No image of the reader was lost between the epochs.
    assert all(sorted(values) == list(range(BATCH * BATCHES)) for values in brightness)


def parameters(batch: dict[str, Any]) -> tuple[int, float, int, int]:
    for name in ("patch_size", "fix_ratio", "epoch", "iteration"):
        assert len(set(batch[name].tolist())) == 1
    return (
        int(batch["patch_size"][0]),
        float(batch["fix_ratio"][0]),
        int(batch["epoch"][0]),
        int(batch["iteration"][0]),
    )


def test_a_change_between_two_batches(table: TileTable) -> None:
    class Steered:
        patch_size, fix_ratio = 32, 0.5

    steered = Steered()
    plans = PlanSource(CellMix("CellMix"), tile_size=256, batch_size=2, curriculum=steered)
    source = TileSource(table, batch_size=2, plans=plans, num_classes=3, shuffle=False, num_workers=2)
    place = source.plan_fields.index("parameters") - len(source.plan_fields)
    for number, (patch, ratio) in enumerate([(32, 0.5), (64, 0.5), (64, 0.25), (32, 0.5), (16, 0.5), (16, 0.5)]):
        steered.patch_size, steered.fix_ratio = patch, ratio
        batch = source(SimpleNamespace(epoch_idx=0, iteration=number))
        assert batch[place][0][:2].tolist() == [patch, ratio]
        alone = plans.draw(0, number)
        for got, want in zip(batch[-len(source.plan_fields) :], alone.only(source.plan_fields), strict=True):
            np.testing.assert_array_equal(got, want)
        labels = table.label[number * 2 : (number + 1) * 2]
        np.testing.assert_array_equal(batch[1], mixed_labels(labels, 3, alone))
    # What cannot be is said for the batch it is asked for, and for no later one.
    steered.patch_size = 33
    with pytest.raises(ArgumentError, match="patch_size=33 does not divide"):
        source(SimpleNamespace(epoch_idx=0, iteration=6))
    steered.patch_size = 128
    for number in (7, 8, 9):
        batch = source(SimpleNamespace(epoch_idx=0, iteration=number))
        assert batch[place][0][0] == 128
    source.close()
