"""`augment=`: a user's function of the graph, its draws a pure function of (seed, epoch, iteration, rank, ordinal)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from cellmix_dali import Curriculum, TileTable
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_image_loader, train_loader
from cellmix_dali.plugins import Draw, EpochClock, TileSource

STEERING: dict[str, Any] = {"patch_size": 32, "fix_ratio": 0.5, "p": 1.0}


def darker(images: Any, draw: Draw, least: float = 0.2) -> Any:
    """Each image times a number of its own, and some of them upside down."""
    images = fn.flip(images, horizontal=0, vertical=draw.coin(0.5))
    return fn.cast(images * draw.uniform(least, 1.0), dtype=types.UINT8)


def loader_of(table: TileTable, **options: Any) -> Loader[TileSource]:
    chosen = {"num_classes": 3, "batch_size": 4, "seed": 3, "augment": darker, "flips": False} | STEERING | options
    return train_loader(table, **chosen)


def drawn(define: Any, *, epoch: int = 0, iteration: int = 0, seed: int = 0, rank: int = 0, count: int = 1) -> Any:
    """The numbers that a draw gives for some batches of 512, (batches, 512, ...)."""
    draw = Draw(EpochClock(8, epoch=epoch, iteration=iteration), 512, seed, rank)
    pipeline = Pipeline(batch_size=512, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        pipeline.set_outputs(define(draw))
    pipeline.build()
    return np.stack([np.array(pipeline.run()[0].as_array()) for _ in range(count)])


# ------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    ("define", "mean", "std", "kind"),
    [
        (lambda draw: draw.uniform(), 0.5, 12**-0.5, np.float32),
        (lambda draw: draw.uniform(-3.0, 5.0), 1.0, 8 * 12**-0.5, np.float32),
        (lambda draw: draw.normal(), 0.0, 1.0, np.float32),
        (lambda draw: draw.normal(2.0, 0.25, [2, 3]), 2.0, 0.25, np.float32),
        (lambda draw: draw.coin(0.3), 0.3, 0.21**0.5, np.int32),
        (lambda draw: draw.choice([1, 2, 6]), 3.0, (14 / 3) ** 0.5, np.int32),
        (lambda draw: draw.choice([0.25, 0.75], [4]), 0.5, 0.25, np.float32),
    ],
)
def test_distributions(define: Any, mean: float, std: float, kind: type) -> None:
    numbers = drawn(define, count=8)
    assert numbers.dtype == kind
    assert abs(numbers.mean() - mean) < 5 * std / numbers.size**0.5 * 1.2
    assert abs(numbers.std() - std) < 0.06 * std
    assert np.unique(numbers[0]).size > 1


def test_shapes() -> None:
    assert drawn(lambda draw: draw.uniform()).shape == (1, 512)
    assert drawn(lambda draw: draw.normal(shape=[2, 3])).shape == (1, 512, 2, 3)
    numbers = drawn(lambda draw: draw.uniform(shape=(5,)))[0]
    assert numbers.shape == (512, 5)
    assert np.unique(numbers).size > 2500


def test_limits() -> None:
    assert set(drawn(lambda draw: draw.coin(0.0))[0]) == {0}
    assert set(drawn(lambda draw: draw.coin(1.0))[0]) == {1}
    assert set(drawn(lambda draw: draw.choice([7]))[0]) == {7}
    assert set(drawn(lambda draw: draw.uniform(2.0, 2.0))[0]) == {2.0}
    assert set(drawn(lambda draw: draw.normal(1.5, 0.0))[0]) == {1.5}


def test_the_key() -> None:
    """Each part of it counts; a batch does not depend on where the pipeline began."""
    whole = drawn(lambda draw: draw.uniform(), epoch=2, count=4)
    np.testing.assert_array_equal(drawn(lambda draw: draw.uniform(), epoch=2, iteration=3)[0], whole[3])
    others = [{"epoch": 1}, {"epoch": 2, "seed": 1}, {"epoch": 2, "rank": 1}, {"epoch": 2, "iteration": 1}]
    for key in others:
        assert (drawn(lambda draw: draw.uniform(), **key)[0] == whole[0]).mean() < 0.01


def test_draws_are_apart_and_later_ones_change_none_before() -> None:
    one = drawn(lambda draw: draw.uniform())

    def first(draw: Draw) -> Any:
        numbers = draw.uniform()
        draw.uniform(shape=[3])
        return numbers

    def second(draw: Draw) -> Any:
        draw.uniform()
        return draw.uniform()

    np.testing.assert_array_equal(drawn(first), one)
    assert (drawn(second) == one).mean() < 0.01


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda draw: draw.uniform(2.0, 1.0), "low=2.0, high=1.0"),
        (lambda draw: draw.uniform("a", 1.0), "low='a' cannot be used: it must be a finite number"),
        (lambda draw: draw.uniform(0.0, float("inf")), "high=inf"),
        (lambda draw: draw.normal(0.0, -1.0), "std=-1.0"),
        (lambda draw: draw.coin(1.5), "p=1.5"),
        (lambda draw: draw.choice([]), "give a sequence of numbers"),
        (lambda draw: draw.choice(["a"]), "give a sequence of numbers"),
        (lambda draw: draw.uniform(shape=[0]), r"shape=\(0,\)"),
    ],
)
def test_draws_that_cannot_be(define: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        drawn(define)


# ----------------------------------------------------------------------------------------------------- in the loaders


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_pixels_are_those_of_the_draws(table: TileTable, engine: str) -> None:
    """Without mixing, mean 0 and std 1: the image turned and darkened by the numbers of its key, to the level."""
    options: dict[str, Any] = {
        "method": None,
        "patch_size": None,
        "fix_ratio": None,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    with loader_of(table, engine=engine, **options) as loader, loader_of(table, augment=None, **options) as bare:
        for got, plain in zip(loader, bare, strict=True):
            assert torch.equal(got["tile"], plain["tile"])
            for image, before in zip(got["images"].numpy(), plain["images"].numpy(), strict=True):
                ratios = [
                    (image.sum() / kept.sum(), np.abs(image - kept * (image.sum() / kept.sum())).max())
                    for kept in (before, before[:, ::-1])
                ]
                ratio, off = min(ratios, key=lambda each: each[1])
                assert 0.19 < ratio < 1.0
                assert off < 2.5 / 255


def test_mixing_comes_after(table: TileTable) -> None:
    """Patches of one sample have one brightness: the plan moves what was augmented."""

    def level(images: Any, draw: Draw) -> Any:
        return fn.cast(images * 0.0 + draw.uniform(10, 250), dtype=types.UINT8)

    with loader_of(table, augment=level, mean=[0.0] * 3, std=[1 / 255] * 3, p=1.0) as loader:
        for batch in loader:
            images = batch["images"].round()
            patches = images.unfold(2, 32, 32).unfold(3, 32, 32).flatten(4)
            assert (patches.amax(4) == patches.amin(4)).all()
            assert images[0].unique().numel() == 2  # CellMix-Group: two samples


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_resume(table: TileTable, engine: str) -> None:
    with loader_of(table, engine=engine) as loader:
        whole, state = [], {}
        for _ in range(2):
            for batch in loader:
                whole.append({name: value.clone() for name, value in batch.items()})
                if len(whole) == 3:
                    state = loader.state_dict()
    with loader_of(table, engine=engine) as loader:
        loader.load_state_dict(state)
        rest = [batch for _ in range(2) for batch in loader]
    assert len(rest) == len(whole) - 3
    for got, want in zip(rest, whole[3:], strict=True):
        for name in want:
            assert torch.equal(got[name], want[name]), name


def test_epochs_and_ranks_draw_apart(table: TileTable) -> None:
    def first(**options: Any) -> torch.Tensor:
        with loader_of(table, shuffle=False, p=0.0, **options) as loader:
            return next(iter(loader))["images"].clone()

    alone = first(rank=0, world_size=1)
    assert torch.equal(alone, first(rank=0, world_size=1))
    assert not torch.equal(alone, first(rank=0, world_size=1, seed=4))
    same_tiles = table.select(np.repeat(np.arange(4), 2))  # both ranks get the same tiles
    ranks = []
    for rank in range(2):
        with loader_of(same_tiles, shuffle=False, p=0.0, rank=rank, world_size=2) as loader:
            ranks.append(next(iter(loader))["images"].clone())
    assert not torch.equal(*ranks)


def test_a_state_of_another_augmentation_is_refused(table: TileTable) -> None:
    with loader_of(table, augment=partial(darker, least=0.5)) as loader:
        next(iter(loader))
        state = loader.state_dict()
    for other in (None, darker, partial(darker, least=0.4)):
        with loader_of(table, augment=other) as loader, pytest.raises(ArgumentError, match="augment was"):
            loader.load_state_dict(state)


def smaller(images: Any, _: Draw) -> Any:
    return fn.crop(images, crop=[128, 128])


def floats(images: Any, _: Draw) -> Any:
    return fn.cast(images, dtype=types.FLOAT) * 0.5


def moved(images: Any, _: Draw) -> Any:
    return fn.permute_batch(images, indices=fn.batch_permutation(seed=7, no_fixed_points=True))


def of_dalis_own(images: Any, _: Draw) -> Any:
    return fn.cast(images * fn.random.uniform(range=[0.5, 1.0]), dtype=types.UINT8)


def failing(images: Any, _: Draw) -> Any:
    return fn.crop(images, crop=[128, 128], crop_pos_x=7.0)


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (smaller, r"smaller makes images of shape \(128, 128, 3\)"),
        (floats, "and type float32"),
        (moved, "moves samples to other places"),
        (of_dalis_own, "draws random numbers of its own"),
        (failing, "failing fails on a small batch"),
    ],
)
def test_what_does_not_keep_to_what_is_agreed_is_refused(table: TileTable, augment: Any, words: str) -> None:
    """By name, before the first batch."""
    with pytest.raises(CellMixDaliError, match=words), loader_of(table, augment=augment) as loader:
        next(iter(loader))


def test_what_is_no_node_is_refused(table: TileTable) -> None:
    with pytest.raises(ArgumentError, match="returned NoneType"), loader_of(table, augment=lambda *_: None) as loader:
        next(iter(loader))


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_a_short_last_batch_is_augmented(table: TileTable, engine: str) -> None:
    """Test-time augmentation: every tile once, each changed by the draws of its place."""
    options: dict[str, Any] = {"batch_size": 5, "engine": engine, "augment": "strong"}
    with evaluate_loader(table, **options) as loader, evaluate_loader(table, **options) as again:
        sizes = []
        for batch, same in zip(loader, again, strict=True):
            sizes.append(len(batch["images"]))
            assert torch.equal(batch["images"], same["images"])
    assert sizes[-1] == len(table) % 5
    assert sum(sizes) == len(table)


def test_passes_of_an_evaluation_draw_apart(table: TileTable) -> None:
    """Test-time augmentation: the answers of several passes over one loader are averaged; the tiles' order stays."""
    with evaluate_loader(table, batch_size=5, augment=darker) as loader:
        passes = [[{"tile": b["tile"].clone(), "images": b["images"].clone()} for b in loader] for _ in range(2)]
    for first, second in zip(*passes, strict=True):
        assert torch.equal(first["tile"], second["tile"])
        assert (first["images"] != second["images"]).flatten(1).any(1).all()


@pytest.mark.parametrize("method", ["none", "CellMix-Group", "FMix", "SaliencyMix"])
def test_built_in_ones_by_name(table: TileTable, method: str) -> None:
    """Both engines see the same colours, whatever is mixed afterwards; another recipe is another state."""
    steering = STEERING if method.startswith("CellMix") else {"patch_size": None, "fix_ratio": None, "p": 1.0}
    plain: dict[str, Any] = {"method": method, "mean": [0.0] * 3, "std": [1 / 255] * 3} | steering
    recipe = ["hed_jitter", {"colour_jitter": {"brightness": 0.3}}, "noise"]
    both = []
    for engine in ("native", "numba"):
        with loader_of(table, augment=recipe, engine=engine, **plain) as loader:
            both.append(next(iter(loader))["images"].clone())
            state = loader.state_dict()
    apart = (both[0] - both[1]).abs()
    assert float(apart.quantile(0.999) if apart.numel() < 1e7 else apart.max()) <= 2.001
    with loader_of(table, augment=recipe[:2], **plain) as loader, pytest.raises(ArgumentError, match="augment was"):
        loader.load_state_dict(state)


def test_a_curriculum_drives_the_strength(table: TileTable) -> None:
    """From 0, at which nothing is added, to 1; the draws are those of the epoch."""
    curriculum = Curriculum(
        epochs=3, tile_size=256, patch_strategy="fixed", ratio_strategy="fixed", augment_strength=(0.0, 1.0)
    )
    options: dict[str, Any] = {"patch_size": None, "fix_ratio": None, "p": 0.0, "shuffle": False}
    dark = [{"colour_jitter": {"brightness": [0.2, 1.0], "contrast": 0, "saturation": 0, "hue": 0}}]
    with (
        loader_of(table, augment=None, **options, curriculum=curriculum) as bare,
        loader_of(table, augment=dark, **options, curriculum=curriculum) as loader,
    ):
        plain = next(iter(bare))["images"].clone()
        means = []
        for strength in (0.0, 0.5, 1.0):
            assert curriculum.augment_strength == strength
            first = None
            for batch in loader:
                first = batch["images"].clone() if first is None else first
            assert first is not None
            means.append(float((first - plain).mean()))
            curriculum.step(0.1)
    assert abs(means[0]) < 0.01
    assert means[2] + 0.1 < means[1] < means[0] - 0.1


def test_image_files(tmp_path: Path) -> None:
    files = []
    for number in range(8):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)).save(files[-1])
    options: dict[str, Any] = {"num_classes": 2, "batch_size": 4, "image_size": 32, "method": None, "flips": False}

    def batches(**more: Any) -> list[torch.Tensor]:
        with train_image_loader(files, [0, 1] * 4, **options, **more) as loader:
            return [batch["images"].clone() for batch in loader]

    once, again, bare = batches(augment=darker), batches(augment=darker), batches()
    assert all(map(torch.equal, once, again))
    assert not any(map(torch.equal, once, bare))
    assert all((one.mean() < other.mean()) for one, other in zip(once, bare, strict=True))
