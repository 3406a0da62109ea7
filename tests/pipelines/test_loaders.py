"""The training and evaluation loaders: what comes out is what was drawn, mixed and normalised."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closed_loader import check_closed_within_a_pass
from numpy.typing import NDArray

from cellmix_dali import CellMix, Curriculum, TileTable, grid_tiles, open_slide
from cellmix_dali._random import generator
from cellmix_dali.errors import ArgumentError, CellMixDaliError, MissingDependencyError
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.synthetic import RenderedSlide

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def pixels(table: TileTable) -> NDArray[np.uint8]:
    """The tiles as OpenSlide shows them."""
    slides = [open_slide(path) for path in table.slides]
    size = int(table.size[0])
    return np.stack(
        [
            slides[number].read_region(int(level), int(x), int(y), size, size)
            for number, level, x, y in zip(table.slide, table.level, table.x, table.y, strict=True)
        ]
    )


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    scaled = (images.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return scaled.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("engine", ["native", "numba"])
def test_training_batches(table: TileTable, engine: str) -> None:
    """Tiles, flipped by the batch's key, mixed by its plan, normalised: rebuilt here step by step."""
    batch_size, seed = 8, 13
    source = pixels(table)
    mixer = CellMix("CellMix-Group4", p=0.7, seed=seed)
    loader = train_loader(
        table,
        num_classes=3,
        batch_size=batch_size,
        patch_size=64,
        fix_ratio=0.25,
        method="CellMix-Group4",
        p=0.7,
        seed=seed,
        mean=MEAN,
        std=STD,
        engine=engine,
    )
    triggered = []
    with loader:
        assert len(loader) == 4
        for epoch in range(2):
            rows = []
            for number, batch in enumerate(loader):
                tile = batch["tile"].flatten().numpy()
                flips = generator(seed, epoch=epoch, iteration=number, stream=2).integers(0, 2, (batch_size, 2))
                flipped = [
                    image[:: -1 if vertical else 1, :: -1 if horizontal else 1]
                    for image, (horizontal, vertical) in zip(source[tile], flips, strict=True)
                ]
                plan = mixer.draw(batch_size, 256, 64, 0.25, epoch=epoch, iteration=number)
                want = normalised(plan.apply(np.stack(flipped)))
                np.testing.assert_allclose(batch["images"].numpy(), want, atol=1e-5)
                assert table.label is not None
                soft = plan.soft_labels(table.label[tile], 3)
                np.testing.assert_allclose(batch["labels"].numpy(), soft, atol=1e-6)
                triggered.append(plan.triggered)
                rows += tile.tolist()
            assert sorted(rows) == list(range(len(table)))
    assert {True, False} == set(triggered)


def test_two_loaders_of_one_seed_give_the_same(table: TileTable) -> None:
    def run(seed: int) -> list[dict[str, torch.Tensor]]:
        curriculum = Curriculum(epochs=2, tile_size=256)
        with train_loader(table, num_classes=3, batch_size=8, curriculum=curriculum, seed=seed) as loader:
            first = list(loader)
            curriculum.step(0.1)
            return [*first, *loader]

    first, again, other = run(4), run(4), run(5)
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one["tile"], two["tile"]) for one, two in zip(first, other, strict=True))


def test_evaluation_sees_every_tile_once_unmixed(table: TileTable) -> None:
    source = pixels(table)
    with evaluate_loader(table, batch_size=12, num_classes=3, mean=MEAN, std=STD) as loader:
        assert len(loader) == 3
        for _ in range(2):
            batches = list(loader)
            assert [len(batch["images"]) for batch in batches] == [12, 12, 8]
            images = torch.cat([batch["images"] for batch in batches]).numpy()
            np.testing.assert_allclose(images, normalised(source), atol=1e-5)
            assert table.label is not None
            labels = torch.cat([batch["labels"] for batch in batches]).flatten().tolist()
            assert labels == table.label.tolist()


def test_ranks_share_the_epoch(table: TileTable) -> None:
    seen = []
    for rank in range(2):
        with evaluate_loader(table, batch_size=5, rank=rank, world_size=2) as loader:
            seen += [batch["tile"].flatten().tolist() for batch in loader]
    assert sorted(chain(*seen)) == list(range(len(table)))

    steps, rows = [], []
    for rank in range(2):
        with train_loader(
            table, num_classes=3, batch_size=4, patch_size=64, fix_ratio=0.5, rank=rank, world_size=2
        ) as loader:
            rows.append([batch["tile"].flatten().tolist() for batch in loader])
            steps.append(len(rows[-1]))
    assert steps == [4, 4]
    assert sorted(chain(*chain(*rows))) == list(range(len(table)))


def test_an_epoch_that_is_broken_off_is_over(table: TileTable) -> None:
    with train_loader(table, num_classes=3, batch_size=4, patch_size=64, fix_ratio=0.5, seed=2) as loader:
        for number, _ in enumerate(loader):
            if number == 2:
                break
        epochs = {int(batch["epoch"][0]) for batch in loader}
        assert epochs == {1}
        assert loader.epoch == 2
        assert [int(batch["iteration"][0]) for batch in loader] == list(range(8))


def test_incomplete_batches_are_left_out_of_training(table: TileTable) -> None:
    with train_loader(table.select(np.arange(30)), num_classes=3, batch_size=8, patch_size=64, fix_ratio=0.5) as loader:
        assert len(loader) == 3
        assert [len(batch["images"]) for batch in loader] == [8, 8, 8]


def train(table: TileTable, **arguments: Any) -> Any:
    own = {"num_classes": 3, "batch_size": 8, "patch_size": 64, "fix_ratio": 0.5} | arguments
    return train_loader(table, **own)


def test_closed_within_a_pass_it_says_so_and_keeps_its_place(table: TileTable) -> None:
    check_closed_within_a_pass(train(table, num_classes=4))


def test_what_is_refused(table: TileTable, rendered: list[RenderedSlide]) -> None:
    for arguments, words in [
        (
            {"num_classes": 2},
            r"Label 2 of tile 2 \(.*slide-1\.svs, level 0, x 512, y 0, size 256\) is out of range",
        ),
        ({"method": "CellMix-Grup"}, "Did you mean 'CellMix-Group'"),
        ({"batch_size": 7}, "group_size=2 of method 'CellMix-Group' does not divide batch_size=7"),
        ({"patch_size": 60}, "patch_size=60 does not divide tiles of 256 x 256"),
        ({"fix_ratio": 2.0}, "fix_ratio=2.0 is out of range"),
        ({"device": "tpu"}, "Unknown device 'tpu'"),
        ({"engine": "numpy"}, "Unknown engine 'numpy'"),
        ({"batch_size": 100}, "32 tiles do not fill one batch of 100"),
        ({"curriculum": Curriculum(epochs=1, tile_size=256)}, "either a curriculum, or both"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            train(table, **arguments)
    with pytest.raises(ArgumentError, match="no column 'label'"), open_slide(rendered[0].path) as slide:
        train(grid_tiles(slide, 256))
    with pytest.raises(ArgumentError, match="empty: there is nothing to train on"):
        train(table.select(np.zeros(len(table), bool)))
    with pytest.raises(ArgumentError, match="empty: there is nothing to evaluate"):
        evaluate_loader(table.select(np.zeros(len(table), bool)), batch_size=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_asked_for_where_there_is_none(table: TileTable) -> None:
    with pytest.raises(MissingDependencyError, match="no usable CUDA device"):
        train(table, device="gpu")


@pytest.mark.parametrize(
    ("find", "put", "words"),
    [
        # The block does not begin as a JPEG: seen by the source, which names the place.
        (b"\xff\xd8", b"\0\0", r"Cannot read block 1, 1 \(column, row\) of level 0 of .*broken\.tiff"),
        # Its Huffman table says nonsense: seen by DALI's decoder.
        (
            b"\xff\xc4\x00\x1f\x00",
            b"\xff\xc4\x00\x1f\xff",
            "could not be decoded: its block in the slide file is damaged",
        ),
    ],
)
def test_a_damaged_block_ends_the_pass_with_a_clear_error(
    rendered: list[RenderedSlide], tmp_path: Path, find: bytes, put: bytes, words: str
) -> None:
    with open_slide(rendered[1].path) as slide:
        block = slide.block(0, 1, 1)
        table = grid_tiles(slide, 256)
    assert block is not None
    content = rendered[1].path.read_bytes()
    broken = tmp_path / "broken.tiff"
    assert content.count(block) == 1
    assert find in block
    broken.write_bytes(content.replace(block, block.replace(find, put, 1)))
    damaged = TileTable.from_columns(broken, x=table.x, y=table.y, size=256, label=np.zeros(len(table), int))
    with train(damaged, batch_size=16, patch_size=64, on_error="raise") as loader:
        for _ in range(2):  # the loader goes on at that batch
            with pytest.raises(CellMixDaliError, match=words):
                list(loader)
    with pytest.raises(ArgumentError, match="closed"):
        list(loader)
