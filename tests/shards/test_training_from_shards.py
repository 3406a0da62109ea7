"""Training from shards is training from the slides: the same batches, resume and care for bad tiles; slides may go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellmix_dali import Curriculum, TileTable, open_slide
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.shards import Encoding, ShardWriter, open_tiles, tile_rows, write_tiles
from cellmix_dali.slides.jpeg import segments
from cellmix_dali.synthetic import RenderedSlide

Collect = Callable[..., TileTable]
Batch = dict[str, torch.Tensor]
LABELS = np.arange(32) % 3


def train(table: TileTable, **arguments: Any) -> Loader[TileSource]:
    own = {"num_classes": 3, "batch_size": 4, "patch_size": 64, "fix_ratio": 0.5, "seed": 3} | arguments
    return train_loader(table, **own)


def run(loader: Loader[TileSource], epochs: int = 2) -> list[Batch]:
    """All batches; a curriculum is stepped after every epoch."""
    batches = []
    with loader:
        for _ in range(epochs):
            batches += list(loader)
            if loader._curriculum is not None:
                loader._curriculum.step(0.1)  # type: ignore[attr-defined]
    return batches


def check_equal(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.fixture
def slides(rendered: list[RenderedSlide], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(slide.path, tmp_path)) for slide in rendered]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"shuffle": "blocks"}, {"balance": "class"}, {"rank": 1, "world_size": 2}],
    ids=["shuffled", "blocks", "balanced", "ranks"],
)
def test_batches_are_those_of_the_slides(
    slides: list[Path], collect: Collect, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    table = collect(tmp_path / "made", slides, label=LABELS)
    want = run(train(table, **arguments))
    for path in slides:
        path.unlink()
    loader = train(open_tiles(shutil.move(tmp_path / "made", tmp_path / "moved")), **arguments)
    check_equal(want, run(loader))
    # A few batches more are read ahead, but not handed out.
    assert set(loader.source.read) == {"shard"}
    assert loader.source.read["shard"] >= 4 * len(want)


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff"])
def test_real_slides(real: Callable[[str], Path], collect: Collect, tmp_path: Path, name: str) -> None:
    table = collect(tmp_path, [real(name)], label=np.arange(108) % 2, max_tiles=50)
    arguments: dict[str, Any] = {"num_classes": 2, "batch_size": 32, "patch_size": int(table.size[0]) // 4}
    check_equal(run(train(table, **arguments), 1), run(train(open_tiles(tmp_path), **arguments), 1))
    want = run(evaluate_loader(table, batch_size=32), 1)
    check_equal(want, run(evaluate_loader(open_tiles(tmp_path), batch_size=32), 1))
    assert sum(len(batch["tile"]) for batch in want) == len(table)


def test_resume_goes_on_exactly(slides: list[Path], collect: Collect, tmp_path: Path) -> None:
    table = collect(tmp_path / "made", slides, label=LABELS)

    def make(tiles: TileTable) -> Loader[TileSource]:
        curriculum = Curriculum(epochs=4, tile_size=256, threshold=0.5, seed=1)
        return train(tiles, curriculum=curriculum, patch_size=None, fix_ratio=None)

    want = run(make(table), 2)
    stopped = []
    # A state of training from the slides does as well: the batches are the same.
    for tiles in (open_tiles(tmp_path / "made"), table):
        with make(tiles) as loader:
            batches = iter(loader)
            first = [next(batches) for _ in range(5)]
            stopped.append((first, json.dumps(loader.state_dict())))
    moved = shutil.move(tmp_path / "made", tmp_path / "moved")
    for first, state in stopped:
        with make(open_tiles(moved)) as loader:
            loader.load_state_dict(json.loads(state))
            rest = run(loader)
        check_equal(want, first + rest)


def damage(folder: Path, row: int, change: Callable[[bytes], bytes]) -> Path:
    """Change a tile's image in its shard."""
    table = open_tiles(folder).arrow
    path, offset, length = (table[name][row].as_py() for name in ("shard", "offset", "bytes"))
    with Path(path).open("r+b") as file:
        file.seek(offset)
        image = file.read(length)
        changed = change(image)
        assert len(changed) == length
        assert changed != image
        file.seek(offset)
        file.write(changed)
    return Path(path)


def zeroed(image: bytes) -> bytes:
    return image[: len(image) // 3] + bytes(300) + image[len(image) // 3 + 300 :]


def seen_by_dali_alone(image: bytes) -> bytes:
    """Huffman tables of another class: whole as far as a header goes, of no use to a decoder."""
    changed = bytearray(image)
    for marker, start, _ in segments(image):
        if marker == 0xC4:
            changed[start + 4] ^= 0x10
    return bytes(changed)


def test_bad_tiles_are_replaced_or_stop_the_run(slides: list[Path], collect: Collect, tmp_path: Path) -> None:
    collect(tmp_path, slides, label=LABELS)
    path = damage(tmp_path, 17, zeroed)
    damage(tmp_path, 4, seen_by_dali_alone)
    loader = train(open_tiles(tmp_path), fault_file=tmp_path / "faults.jsonl")
    batches = run(loader)
    assert len(batches) == 16
    assert not {4, 17} & {row for batch in batches for row in batch["tile"].flatten().tolist()}
    faults = {fault.tile: fault for fault in loader.faults}
    assert set(faults) == {4, 17}
    assert str(path) in faults[17].reason
    assert "DALI cannot decode" in faults[4].reason
    for row, fault in faults.items():
        assert fault.replaced_by is not None
        assert LABELS[fault.replaced_by] == LABELS[row]
    lines = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert {line["tile"]: line["slide"] for line in lines} == {4: str(slides[0]), 17: str(slides[1])}
    with pytest.raises(CellMixDaliError, match=r"slide-1-0000\d.tar"):
        run(train(open_tiles(tmp_path), on_error="raise"))


def test_a_missing_shard_is_said_before_the_first_batch(slides: list[Path], collect: Collect, tmp_path: Path) -> None:
    collect(tmp_path, slides, label=LABELS)
    (tmp_path / "slide-0-00001.tar").unlink()
    with pytest.raises(CellMixDaliError, match=r"There is no shard at .*slide-0-00001.tar"):
        train(open_tiles(tmp_path))


def test_finished_tiles_of_another_size_than_their_windows(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    with open_slide(rendered[0].path) as slide, ShardWriter(tmp_path, "a") as writer:
        x, y = (256 * place.ravel() for place in np.meshgrid(np.arange(4), np.arange(4)))
        tiles = [slide.read_region(0, int(a), int(b), 256, 256)[::2, ::2] for a, b in zip(x, y, strict=True)]
        for tile in tiles:
            writer.add(Encoding("png").encode(np.ascontiguousarray(tile)), "png")
    rows = tile_rows(
        rendered[0].path, x=x, y=y, size=256, level=0, tile_size=128, label=LABELS[:16], written=writer.close()
    )
    write_tiles(tmp_path, [rows])
    table = open_tiles(tmp_path)
    plain = {"mean": (0, 0, 0), "std": (1 / 255, 1 / 255, 1 / 255)}
    images = torch.cat([batch["images"] for batch in run(evaluate_loader(table, batch_size=4, **plain), 1)])
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).round().byte().numpy(), np.stack(tiles))
    for given, side in ((128, 128), (64, 64)):
        (batch,) = run(train(table, tile_size=given, batch_size=16, patch_size=16), 1)
        assert batch["images"].shape == (16, 3, side, side)
