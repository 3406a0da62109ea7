"""Where a loop's time goes: waiting is told from computing, reading is counted, ranks are compared."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch.distributed as dist

from cellmix_dali import TileTable, evaluate_loader, grid_tiles, open_slide
from cellmix_dali.pipelines import timing
from cellmix_dali.pipelines.timing import Stopwatch, Timing, timings_of_ranks
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import RenderedSlide


def test_waiting_is_told_from_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 5.0, 6.0, 8.0, 12.0, 12.5])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    watch = Stopwatch()
    for _ in range(3):
        watch.asked()
        watch.handed_over()
    told = watch.read(ready=1.5, counts={"bytes": 3_000_000, "blocks": 7, "shared": 2}, rank=3)
    assert (told.batches, told.first, told.wait, told.compute, told.longest) == (3, 5.0, 2.5, 5.0, 2.0)
    assert told.waiting == pytest.approx(1 / 3)
    assert str(told) == (
        "3 batches: waited 2.5 s (33%), computed 5.0 s, 1.5 batches ready, 3.0 MB in 7 blocks, 2 shared"
    )


def test_a_loader_tells_of_its_latest_pass(table: TileTable) -> None:
    with evaluate_loader(table, batch_size=8) as loader:
        assert (loader.timing().batches, loader.timing().waiting) == (0, 0.0)
        for _ in range(2):
            for number, _ in enumerate(loader):
                assert loader.timing().batches == number + 1
                time.sleep(0.02)
            told = loader.timing()
            assert told.batches == 4
            assert told.compute >= 0.06
            assert told.first > 0
            assert told.counts["direct"] == told.counts["blocks"] == 32
            assert told.counts["shared"] == 0
            assert told.ready is not None
            assert 0 <= told.ready <= 3
    with open_slide(table.slides[0]) as slide:
        row = table.select(table.slide == 0)
        sizes = sum(len(slide.block(0, int(x) // 256, int(y) // 256) or b"") for x, y in zip(row.x, row.y, strict=True))
        assert 0 < sizes < told.counts["bytes"]


def test_blocks_that_tiles_share_are_counted_once(rendered: list[RenderedSlide]) -> None:
    with open_slide(rendered[0].path) as slide:
        table = grid_tiles(slide, 256, stride=128)
    source = TileSource(table, batch_size=len(table), shuffle=False)
    source.deliver(0, 0)
    counts = source.counts
    source.close()
    assert counts["blocks"] == 16
    assert counts["blocks"] + counts["shared"] == sum(
        (1 + (x % 256 > 0)) * (1 + (y % 256 > 0)) for x, y in table.positions
    )


def test_ranks_are_compared(tmp_path: Path) -> None:
    alone = Timing(1, 0.0, 0.0, 1.0, 0.0)
    assert timings_of_ranks(alone) == [alone]
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        assert timings_of_ranks(alone) == [alone]
    finally:
        dist.destroy_process_group()
