"""Arguments that pass through several layers, each once off its default, pixels and labels asserted together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from nvidia.dali import fn, types
from PIL import Image

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import make_mixer
from cellmix_dali.pipelines import (
    GraphOptions,
    evaluate_image_loader,
    evaluate_loader,
    source_pipeline,
    train_image_loader,
    train_loader,
)
from cellmix_dali.pipelines.images import ImageSource
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.source import drawn_flips
from cellmix_dali.sampling import EpochOrder

BATCH, SIDE = 4, 16
AT = SimpleNamespace(epoch_idx=0, iteration=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """32 images, each of a colour of its own that tells which it is, and not the same when it is flipped."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(32):
        pixels = np.full((SIDE, SIDE, 3), 8 * number, np.uint8)
        pixels[:4, :4, 1], pixels[:4, -4:, 2] = 255, 255
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return [str(folder / f"{number:02}.png") for number in range(32)]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("kind", ["images", "tiles"])
def test_order_flips_and_mixing_are_each_ranks_own(
    files: list[str], table: TileTable, kind: str, world_size: int
) -> None:
    """What a source hands to the graph on each rank, beside what the rank's own generators draw."""
    options: dict[str, Any] = {"num_classes": 3, "batch_size": BATCH, "seed": 9, "method": "CutMix", "p": 0.9}
    seen = []
    for rank in range(world_size):
        own = options | {"rank": rank, "world_size": world_size}
        if kind == "images":
            loader: Any = train_image_loader(files, np.arange(32) % 3, image_size=SIDE, **own)
        else:
            loader = train_loader(table, **own)
        order = EpochOrder(32, BATCH, seed=9, rank=rank, world_size=world_size)
        assert len(loader) == len(order) == 32 // (BATCH * world_size)
        for iteration in range(len(loader)):
            at = SimpleNamespace(epoch_idx=0, iteration=iteration)
            _, labels, numbers, flips, *arrays = loader.source(at)
            key = {"epoch": 0, "iteration": iteration}
            np.testing.assert_array_equal(np.ravel(numbers), order.batch(0, iteration))
            np.testing.assert_array_equal(flips, drawn_flips(BATCH, seed=9, rank=rank, **key))
            size = SIDE if kind == "images" else 256
            plan = make_mixer("CutMix", p=0.9, seed=9, rank=rank).draw(BATCH, size, **key)
            want = loader.source.plans.draw(0, iteration)
            for name, array in zip(loader.source.plans.action.fields(weights=False), arrays, strict=True):
                np.testing.assert_array_equal(array, getattr(want, name))
            np.testing.assert_allclose(labels, plan.soft_labels(np.ravel(numbers) % 3, 3), atol=1e-6)
            seen.append((rank, flips.tobytes(), np.asarray(labels).tobytes()))
        loader.close()
    assert len({flips for _, flips, _ in seen}) > len(seen) // 2  # and not the same on every rank


@pytest.mark.parametrize("balance", ["slide", "class"])
def test_balance_counts_what_it_says(table: TileTable, balance: str) -> None:
    """Twelve tiles of one slide, four of another; of their classes one has three times as many tiles."""
    rows = np.r_[np.flatnonzero(table.slide == 0)[:12], np.flatnonzero(table.slide == 1)[:4]]
    part = table.select(rows).with_labels(np.r_[np.zeros(6, int), np.ones(6, int), np.ones(4, int)])
    with train_loader(part, num_classes=2, batch_size=8, balance=balance, method=None) as loader:
        seen = Counter[int]()
        for _ in range(3):
            for batch in loader:
                of = part.slide if balance == "slide" else part.label
                assert of is not None
                seen.update(of[batch["tile"].numpy()].tolist())
                hard = torch.as_tensor(part.label)[batch["tile"]]  # labels are those of the tiles
                assert torch.equal(batch["labels"].argmax(1), hard.long())
    assert abs(seen[0] - seen[1]) <= 3
    assert sum(seen.values()) == 48


def test_soft_labels_are_those_of_the_tiles_that_are_shown(table: TileTable) -> None:
    """In a shuffled order, and where a tile was replaced by another."""
    shares = np.random.default_rng(0).dirichlet(np.ones(3), len(table)).astype(np.float32)
    soft = table.with_labels(shares)
    with train_loader(soft, num_classes=3, batch_size=8, method=None, seed=4) as loader:
        for row in (3, 11, 20):
            loader.source.mark_bad(row, "It is damaged.")
        shown: list[int] = []
        for batch in loader:
            np.testing.assert_allclose(batch["labels"], shares[batch["tile"].numpy()], atol=1e-6)
            shown += batch["tile"].tolist()
    assert not {3, 11, 20} & set(shown)
    assert len(set(shown)) < len(shown)  # substitutes came
    with train_loader(soft, num_classes=3, batch_size=8, method="CutMix", p=1.0, seed=4) as loader:
        for number, batch in enumerate(loader):
            weights = make_mixer("CutMix", seed=4).draw(8, 256, epoch=0, iteration=number).weights
            np.testing.assert_allclose(batch["labels"], weights @ shares[batch["tile"].numpy()], atol=1e-5)


def pixels(loader: Any) -> NDArray[np.float32]:
    with loader:
        found: NDArray[np.float32] = next(iter(loader))["images"].numpy()
    return found


@pytest.mark.parametrize("kind", ["images", "tiles"])
@pytest.mark.parametrize("training", [True, False])
def test_mean_std_and_dtype_reach_the_graph(files: list[str], table: TileTable, kind: str, training: bool) -> None:
    """Each off its default, and no two numbers alike."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    extra: dict[str, Any] = {"method": None, "flips": False, "shuffle": False, "num_classes": 3} if training else {}

    def make(**options: Any) -> Any:
        if kind == "images":
            maker = train_image_loader if training else evaluate_image_loader
            return maker(files, np.arange(32) % 3, batch_size=BATCH, image_size=SIDE, **extra, **options)
        return (train_loader if training else evaluate_loader)(table, batch_size=BATCH, **extra, **options)

    for engine in ("native", "numba"):
        plain = pixels(make(mean=(0, 0, 0), std=(1, 1, 1), engine=engine))
        want = (plain - np.array(mean).reshape(3, 1, 1)) / np.array(std).reshape(3, 1, 1)
        got = pixels(make(mean=mean, std=std, engine=engine))
        np.testing.assert_allclose(got, want, atol=1e-4)
        half = pixels(make(mean=mean, std=std, engine=engine, dtype="float16"))
        assert half.dtype == np.float16
        np.testing.assert_allclose(half, got, atol=0.01)


def test_flips_can_be_turned_off(files: list[str]) -> None:
    options: dict[str, Any] = {"num_classes": 3, "batch_size": 32, "image_size": SIDE, "method": None, "shuffle": False}
    plain = pixels(train_image_loader(files, np.arange(32) % 3, flips=False, **options))
    flipped = pixels(train_image_loader(files, np.arange(32) % 3, flips=True, seed=2, **options))
    drawn = drawn_flips(32, seed=2, epoch=0, iteration=0, rank=0)
    assert {tuple(pair) for pair in drawn.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for one, other, (across, down) in zip(plain, flipped, drawn.tolist(), strict=True):
        want = one[:, :, ::-1] if across else one
        np.testing.assert_array_equal(other, want[:, ::-1] if down else want)


def test_prefetch_and_threads_reach_the_pipeline(table: TileTable) -> None:
    with train_loader(table, num_classes=3, batch_size=4, method=None, num_threads=3, prefetch_queue_depth=4) as loader:
        assert loader.pipeline is not None
        assert (loader.pipeline.num_threads, loader.pipeline.prefetch_queue_depth) == (3, 4)
    with evaluate_loader(table, batch_size=4, num_threads=1, prefetch_queue_depth=3, num_workers=3) as loader:
        assert loader.pipeline is not None
        assert (loader.pipeline.num_threads, loader.pipeline.prefetch_queue_depth) == (1, 3)
        assert loader.source._delivery._workers._max_workers == 3


def test_faults_go_to_the_file_of_either_loader(table: TileTable, tmp_path: Path) -> None:
    for number, make in enumerate((train_loader, evaluate_loader)):
        own: dict[str, Any] = {"method": None} if make is train_loader else {"on_error": "replace"}
        path = tmp_path / f"{number}.jsonl"
        with make(table, num_classes=3, batch_size=8, fault_file=path, **own) as loader:  # type: ignore[operator]
            loader.source.mark_bad(5, "It is damaged.")
            list(loader)
        assert "It is damaged." in path.read_text()


def test_the_pipeline_over_an_image_source_is_the_loaders(files: list[str]) -> None:
    """Every argument of it off its default, pixels and labels together."""
    graph: dict[str, Any] = {
        "engine": "native",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.5, 0.25, 0.125),
        "dtype": "float16",
        "num_threads": 1,
        "prefetch_queue_depth": 1,
        "augment": lambda images, draw: fn.cast(images * draw.uniform(0.5, 0.9), dtype=types.UINT8),
    }
    shape = {"batch_size": BATCH, "seed": 5}
    labels = np.arange(32) % 3
    plans = PlanSource(make_mixer("CutMix", seed=5, p=1.0), tile_size=SIDE, batch_size=BATCH)
    source = ImageSource(files, labels, image_size=SIDE, plans=plans, num_classes=3, flips=True, **shape)
    pipeline = source_pipeline(source, GraphOptions(**graph))
    assert (pipeline.num_threads, pipeline.prefetch_queue_depth) == (1, 1)
    pipeline.build()
    pictures, soft, items, applied = (np.array(each.as_array()) for each in pipeline.run())
    loader = train_image_loader(files, labels, num_classes=3, image_size=SIDE, method="CutMix", p=1.0, **shape, **graph)
    with loader:
        batch = next(iter(loader))
    np.testing.assert_array_equal(pictures, batch["images"].numpy())
    np.testing.assert_array_equal(soft, batch["labels"].numpy())
    np.testing.assert_array_equal(items[:, 0], batch["item"].numpy())
    assert applied.shape == (BATCH, 7)
    assert pictures.dtype == np.float16
    for name, other in (("mean", (0, 0, 0)), ("std", (1, 1, 1)), ("augment", None), ("dtype", "float32")):
        changed = source_pipeline(source, GraphOptions(**graph | {name: other}))
        changed.build()
        assert not np.array_equal(np.array(changed.run()[0].as_array()), pictures) or name == "dtype"
    bare = ImageSource(files, labels, image_size=SIDE, plans=plans, **shape)
    with pytest.raises(ArgumentError, match=r"must mix the labels, too: ImageSource\(\.\.\., num_classes="):
        source_pipeline(bare)
    assert len(source) == 32 // BATCH


def test_what_an_image_source_cannot_use(files: list[str]) -> None:
    labels = np.arange(32) % 3
    plans = PlanSource(make_mixer("CutMix"), tile_size=SIDE, batch_size=BATCH)
    for given, words in (
        ({"batch_size": BATCH + 1, "plans": plans}, "Plans are drawn for 4 images"),
        ({"image_size": SIDE + 1, "plans": plans}, r"a batch has 4 of \(17, 17\)"),
        ({"plans": plans, "drop_last": False}, "use drop_last=True"),
        ({"batch_size": 0}, "batch_size"),
        ({"image_size": 0}, "image_size"),
        ({"num_classes": 2}, "2"),
    ):
        with pytest.raises(ArgumentError, match=words):
            ImageSource(files, labels, **{"batch_size": BATCH, "image_size": SIDE, **given})  # type: ignore[arg-type]
