"""Every limit of an argument from both sides: the limit itself is taken, the next value is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cellmix_dali import Curriculum, TileTable, open_slide
from cellmix_dali.curriculum import legal_patch_sizes
from cellmix_dali.curriculum.authors import patch_scheduler, ratio_scheduler
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CutMix, Cutout, FMix, Mixup, ResizeMix, SaliencyMix, make_mixer
from cellmix_dali.mixing.online_augmentation import get_online_augmentation
from cellmix_dali.pipelines import evaluate_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.shards import Encoding
from cellmix_dali.storage.patience import Retry
from cellmix_dali.tables.recipe import check_grid

TINY, SEEDS = 1e-9, 2**64
BEYOND = 1.0 + 1e-9  # a little more than 1


def curriculum(**given: Any) -> Curriculum:
    return Curriculum(**{"epochs": 10, "tile_size": 64} | given)


def order(**given: Any) -> EpochOrder:
    return EpochOrder(12, **{"batch_size": 2} | given)


def drawn(batch_size: int) -> object:
    return make_mixer("CutMix").draw(batch_size, 8, epoch=0, iteration=0)


def augmentation(**given: Any) -> object:
    return get_online_augmentation("CellMix-Split", **{"class_num": 3} | given)


def mixed(**given: Any) -> object:
    import torch

    made = get_online_augmentation("CellMix-Split", class_num=3, p=1.0)
    assert made is not None
    return made(torch.zeros(4, 3, 8, 12), torch.arange(4) % 3, **{"puzzle_patch_size": 4} | given)  # type: ignore[call-arg]


# What is made, the argument, the values at its limits that are taken, and those beyond that are refused.
LIMITS: list[tuple[Callable[..., object], str, tuple[Any, ...], tuple[Any, ...]]] = [
    *((of, "alpha", (TINY,), (0.0, -TINY)) for of in (CutMix, FMix, Mixup, SaliencyMix)),
    (FMix, "decay", (0.0,), (-TINY,)),
    (Cutout, "side", (1, TINY, 1.0), (0, 0.0, BEYOND, -1)),
    (Cutout, "fill", (0, 255, (0, 255, 0)), (-1, 256, (0, 256, 0))),
    (ResizeMix, "low", (TINY, 0.8), (0.0, BEYOND)),
    (ResizeMix, "high", (0.1, 1.0), (0.0, BEYOND)),
    (CutMix, "p", (0.0, 1.0), (-TINY, BEYOND)),
    (CutMix, "seed", (0, SEEDS - 1), (-1, SEEDS)),
    (CutMix, "rank", (0, SEEDS - 1), (-1, SEEDS)),
    (drawn, "batch_size", (1,), (0,)),
    (augmentation, "p", (0, 1), (-TINY, BEYOND)),
    *((augmentation, name, (1,), (0,)) for name in ("class_num", "batch_size", "edge_size")),
    (mixed, "fix_position_ratio", (0, 1), (-TINY, BEYOND)),
    (mixed, "puzzle_patch_size", (1, 4), (0, 3, 5)),
    (curriculum, "epochs", (1,), (0,)),
    (curriculum, "warmup_epochs", (0, 10), (-1, 11)),
    (curriculum, "basic_ratio", (1 / 15 + TINY, 1.0), (0.0, BEYOND)),
    (curriculum, "threshold", (TINY,), (0.0,)),
    (curriculum, "threshold_factor", (TINY, 1.0), (0.0, BEYOND)),
    (curriculum, "loop_epochs", (1,), (0,)),
    (curriculum, "seed", (0, SEEDS - 1), (-1, SEEDS)),
    (curriculum, "token_size", (1,), (0,)),
    (lambda **given: curriculum(ratio_strategy="fixed", **given), "fix_ratio", (0, 1), (-TINY, BEYOND)),
    (lambda **given: curriculum(ratio_strategy="fixed", **given), "basic_ratio", (TINY, 1.0), (0.0, BEYOND)),
    (lambda **given: curriculum(patch_strategy="fixed", **given), "patch_size", (1, 32), (0, 64)),
    (lambda token_size: legal_patch_sizes((6, 4), token_size), "token_size", (1, 2), (0,)),
    *(
        (of, name, (0,), (-1,))
        for of in (ratio_scheduler, patch_scheduler)
        for name in ("total_epochs", "warmup_epochs", "threshold")
    ),
    *((of, "loss_reducing_factor", (TINY,), (0.0,)) for of in (ratio_scheduler, patch_scheduler)),
    (patch_scheduler, "seed", (0,), (-1,)),
    (ratio_scheduler, "basic_ratio", (0, 1), (-TINY, BEYOND)),
    (ratio_scheduler, "ratio_floor_factor", (0,), (-TINY,)),
    (ratio_scheduler, "upper_limit", (0.2, 1), (-TINY, BEYOND)),
    (ratio_scheduler, "lower_limit", (0, 0.9), (-TINY, 0.9 + TINY)),
    (ratio_scheduler, "fix_position_ratio", (0, 1), (-TINY, BEYOND)),
    (order, "batch_size", (1, 12), (0, 13)),
    (order, "world_size", (1, 6), (0, 7)),
    (lambda **given: order(world_size=3, **given), "rank", (0, 2), (-1, 3)),
    (order, "seed", (0, SEEDS - 1), (-1, SEEDS)),
    (lambda **given: order(shuffle="blocks", **given), "block_rows", (1,), (0,)),
    (lambda **given: order(shuffle="blocks", **given), "window_rows", (1,), (0,)),
    (lambda epoch: order().batch(epoch, 0), "epoch", (0,), (-1,)),
    (lambda batch: order().batch(0, batch), "batch", (0, 5), (-1, 6)),
    (Encoding, "quality", (1, 100), (0, 101)),
    (Retry, "seconds", (0,), (-TINY,)),
    (Retry, "first", (TINY,), (0.0,)),
    (Retry, "growth", (1,), (1 - 1e-6,)),
    (Retry, "longest", (0.1,), (0.1 - TINY,)),
    (check_grid, "tile_size", (1,), (0,)),
    (lambda **given: check_grid(8, **given), "overlap", (0, 7), (-1, 8)),
    (lambda **given: check_grid(8, **given), "stride", (1, 9), (0,)),
]


@pytest.mark.parametrize(
    ("make", "name", "taken", "refused"), LIMITS, ids=[f"{make.__name__}-{name}" for make, name, *_ in LIMITS]
)
def test_limits(make: Callable[..., object], name: str, taken: tuple[Any, ...], refused: tuple[Any, ...]) -> None:
    for value in taken:
        make(**{name: value})
    for value in refused:
        with pytest.raises(ArgumentError, match=f"{name}|tiles do not fill|does not divide tiles"):
            make(**{name: value})


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("batch_size", (1,), (0,)),
        ("num_workers", (1,), (0,)),
        ("tile_size", (1,), (0,)),
        ("rank", (0, 1), (-1, 2)),
        ("retry_seconds", (0,), (-TINY,)),
    ],
)
def test_limits_of_a_source_of_tiles(
    table: TileTable, name: str, taken: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    for value in taken:
        TileSource(table, **{"batch_size": 2, "world_size": 2, name: value}).close()
    for value in refused:
        with pytest.raises(ArgumentError, match=name):
            TileSource(table, **{"batch_size": 2, "world_size": 2, name: value})


@pytest.mark.parametrize("name", ["num_threads", "prefetch_queue_depth"])
def test_limits_of_a_pipeline(table: TileTable, name: str) -> None:
    with evaluate_loader(table, batch_size=4, **{name: 1}) as loader:
        assert getattr(loader.pipeline, name) == 1
    with pytest.raises(ArgumentError, match=name):
        evaluate_loader(table, batch_size=4, **{name: 0})


def test_limits_of_a_slides_pixels(table: TileTable) -> None:
    with open_slide(table.slides[0]) as slide:
        assert slide.read_region(0, 0, 0, 1, 2).shape == (2, 1, 3)
        assert slide.thumbnail(1).shape == (1, 1, 3)
        for refused in (
            lambda: slide.read_region(0, 0, 0, 0, 1),
            lambda: slide.read_region(0, 0, 0, 1, 0),
            lambda: slide.read_region(len(slide.levels), 0, 0, 1, 1),
            lambda: slide.read_region(-1, 0, 0, 1, 1),
            lambda: slide.thumbnail(0),
        ):
            with pytest.raises(ArgumentError):
                refused()


def test_limits_of_rows(table: TileTable) -> None:
    last = len(table) - 1
    np.testing.assert_array_equal(table.select([0, last]).x, table.x[[0, last]])
    for row in (-1, last + 1):
        with pytest.raises(ArgumentError):
            table.select([row])
