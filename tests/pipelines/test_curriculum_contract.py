"""A curriculum belongs to its loader's epochs: what does not fit, is forgotten, doubled or late, raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from resume_worker import digest, make_loader

from cellmix_dali import CellMix, Curriculum, TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing.cellmix import patch_grid
from cellmix_dali.pipelines import train_loader
from cellmix_dali.plugins import PlanSource, cellmix


class OfTheUser:
    """A curriculum of the user's own: says what it must, and what it is given to say."""

    patch_size, fix_ratio = 64, 0.5

    def __init__(self, **says: Any) -> None:
        self.__dict__.update(says)


def loader_with(table: TileTable, curriculum: Any, **arguments: Any) -> Any:
    return train_loader(table, num_classes=3, batch_size=4, curriculum=curriculum, **arguments)


@pytest.mark.parametrize(
    ("curriculum", "words"),
    [
        (Curriculum(epochs=3, tile_size=224), r"for tiles of \(224, 224\) pixels .* have \(256, 256\)"),
        (Curriculum(epochs=3, tile_size=(256, 512)), r"for tiles of \(256, 512\)"),
        (OfTheUser(tile_size=128), r"for tiles of \(128, 128\)"),
        (OfTheUser(patch_sizes=(32, 48, 64)), "patch_size=48 does not divide tiles of 256 x 256"),
        (OfTheUser(patch_size=60), "patch_size=60 does not divide"),
    ],
)
def test_what_can_never_fit_is_refused_when_the_loader_is_made(table: TileTable, curriculum: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        loader_with(table, curriculum)


@pytest.mark.parametrize("jump", [None, "odd", "even"])
def test_every_value_of_a_curriculum_fits(jump: str | None) -> None:
    """What is checked when a loader is made is all that a Curriculum can ever ask for."""
    for strategy in ("linear", "reverse", "random", "loop", "loss_hold", "loss_back"):
        curriculum = Curriculum(epochs=12, tile_size=(256, 384), patch_strategy=strategy, jump=jump, loop_epochs=1)
        asked = set()
        for number in range(24):
            asked.add(curriculum.patch_size)
            curriculum.step(0.1 if number % 3 else 0.9)
        assert asked <= set(curriculum.patch_sizes)
        for size in curriculum.patch_sizes:
            patch_grid((256, 384), size)


def forgotten(curriculum: Curriculum) -> None:
    """Between two epochs, nothing."""


def doubled(curriculum: Curriculum) -> None:
    curriculum.step(0.1)
    curriculum.step(0.1)


@pytest.mark.parametrize(("between", "steps"), [(forgotten, 0), (doubled, 2)])
@pytest.mark.parametrize("curriculum", [Curriculum(epochs=5, tile_size=256), None])
def test_a_step_forgotten_or_doubled(
    table: TileTable, between: Callable[[Any], None], steps: int, curriculum: Curriculum | None
) -> None:
    curriculum = Curriculum(epochs=5, tile_size=256)
    with loader_with(table, curriculum) as loader:
        assert len(list(loader)) == 8
        between(curriculum)
        with pytest.raises(ArgumentError, match=f"stepped {steps} times, and a batch of epoch 1"):
            next(iter(loader))


def test_a_step_within_an_epoch(table: TileTable) -> None:
    """Not even the batches that were fetched ahead would be of one mind."""
    curriculum = Curriculum(epochs=5, tile_size=256)
    with loader_with(table, curriculum) as loader:
        running = iter(loader)
        next(running)
        curriculum.step(0.1)
        with pytest.raises(ArgumentError, match="stepped 1 times, and a batch of epoch 0"):
            list(running)


def test_a_step_on_one_rank_alone(table: TileTable) -> None:
    curricula = [Curriculum(epochs=5, tile_size=256) for _ in range(2)]
    loaders = [loader_with(table, one, rank=rank, world_size=2) for rank, one in enumerate(curricula)]
    for loader in loaders:
        list(loader)
    curricula[0].step(0.1)
    assert len(list(loaders[0])) == 4
    with pytest.raises(ArgumentError, match="on another rank alone"):
        list(loaders[1])
    for loader in loaders:
        loader.close()


def test_after_a_step_a_pass_of_one_batch_is_an_epoch(table: TileTable) -> None:
    """Without it, it is a look: see test_loader_contract.py."""
    curriculum = Curriculum(epochs=5, tile_size=256)
    with loader_with(table, curriculum) as loader:
        for epoch in range(3):
            assert digest(next(iter(loader)))["epoch"] == [epoch]
            curriculum.step(0.1)
            assert loader.epoch == epoch + 1


@pytest.mark.parametrize("after", [8, "the end"])
def test_a_state_saved_before_the_step(table: TileTable, after: int | str) -> None:
    """It goes on as the whole run would have, after the step that was still to come; without it, it is refused."""
    curriculum = Curriculum(epochs=5, tile_size=256)
    with loader_with(table, curriculum) as loader:
        running = iter(loader)
        for _ in range(8):
            next(running)
        if after == "the end":
            assert next(running, None) is None
        state = json.loads(json.dumps(loader.state_dict()))
        list(running)
        curriculum.step(0.1)
        want = [digest(batch) for batch in loader]
    again = Curriculum(epochs=5, tile_size=256)
    with loader_with(table, again) as loader:
        loader.load_state_dict(state)
        with pytest.raises(ArgumentError, match="stepped 0 times, and a batch of epoch 1"):
            next(iter(loader))
        again.step(0.1)
        assert [digest(batch) for batch in loader] == want
        assert want[0]["patch_size"] == [again.patch_size] != [192]


def test_a_curriculum_that_does_not_count_is_not_asked(table: TileTable) -> None:
    with loader_with(table, OfTheUser()) as loader:
        assert sum(len(list(loader)) for _ in range(2)) == 16


# ------------------------------------------------------------------------------------------- in a pipeline of one's own


def iterator(curriculum: Curriculum, *, auto_reset: bool) -> DALIGenericIterator:
    images = np.zeros((4, 64, 64, 3), np.uint8)
    plans = PlanSource(CellMix(), tile_size=64, batch_size=4, curriculum=curriculum, epoch_size=3)
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        labels = types.Constant(np.int32([0]), device="cpu")
        mixed, soft = cellmix(node, labels, num_classes=2, plan=plans)
        pipeline.set_outputs(mixed, soft)
    return DALIGenericIterator(
        [pipeline], ["images", "labels"], size=-1, auto_reset=auto_reset, prepare_first_batch=False
    )


def test_a_step_that_comes_in_time() -> None:
    curriculum = Curriculum(epochs=5, tile_size=64)
    batches = iterator(curriculum, auto_reset=False)
    for epoch in range(3):
        if epoch:
            batches.reset()
        assert len(list(batches)) == 3
        curriculum.step(0.1)


def test_a_step_that_comes_late() -> None:
    """``auto_reset=True`` fetches the next epoch's first batches before anyone can step the curriculum."""
    batches = iterator(Curriculum(epochs=5, tile_size=64), auto_reset=True)
    with pytest.raises((ArgumentError, RuntimeError), match="comes too late"):
        list(batches)


def test_a_place_that_no_epoch_has(table: TileTable) -> None:
    with make_loader("blocks", table) as loader:
        state = loader.state_dict()
        for wrong in ({"epoch": -1}, {"iteration": 9}, {"iteration": "2"}, {"epoch": None}):
            with pytest.raises(ArgumentError, match=rf"state\['{next(iter(wrong))}'\]"):
                loader.load_state_dict(state | wrong)
        assert loader.state_dict() == state
