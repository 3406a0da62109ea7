"""Resuming: what a new process goes on with is, to the byte, what the killed one would have made."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resume_worker
import torch
from resume_worker import EPOCHS, WAYS, digest, make_curriculum, make_loader, train_all

from cellmix_dali import Curriculum, TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.synthetic import RenderedSlide

WORKER = Path(resume_worker.__file__)
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def windows(rendered: list[RenderedSlide]) -> TileTable:
    """32 windows that lie on four blocks each, labels 0, 1, 2 in turn."""
    x, y = (30 + 200 * place.ravel() for place in np.meshgrid(np.arange(4), np.arange(4)))
    whole = TileTable.concat([TileTable.from_columns(slide.path, x=x, y=y, size=256) for slide in rendered])
    return whole.with_labels(np.arange(len(whole)) % 3)


@pytest.fixture
def tables(table: TileTable, windows: TileTable) -> dict[str, TileTable]:
    return {"blocks": table, "windows": windows}


# ------------------------------------------------------------------------------------------------ killed processes


class Worker:
    """A training process; see resume_worker.py."""

    def __init__(self, folder: Path, rank: int, world_size: int, stop_at: str | None = None) -> None:
        stop = [] if stop_at is None else [stop_at]
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), str(rank), str(world_size), *stop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill_at(self, point: str | int) -> None:
        """Kill it when it tells of a point where it stops, or of so many points while it goes on."""
        assert self._process.stdout is not None
        for number, line in enumerate(self._process.stdout, 1):
            if point in (number, line.strip()):
                break
        self._process.kill()
        self._process.communicate()
        assert self._process.returncode == -signal.SIGKILL, f"it ended before {point}"

    def finish(self) -> None:
        told, _ = self._process.communicate(timeout=300)
        assert self._process.returncode == 0
        assert told.splitlines()[-1] == "done"


def prepare(folder: Path, tables: dict[str, TileTable]) -> Path:
    folder.mkdir()
    for name, content in tables.items():
        content.to_parquet(folder / f"{name}.parquet")
    return folder


def trained(folder: Path, way: str, rank: int) -> tuple[Lines, dict[str, Any]]:
    """All batches that were logged, and the state at the end."""
    log = folder / f"{way}-{rank}" / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()], saved(folder, way, rank)


def saved(folder: Path, way: str, rank: int) -> dict[str, Any]:
    state: dict[str, Any] = pickle.loads((folder / f"{way}-{rank}" / "state.pickle").read_bytes())
    return state


def place(folder: Path, way: str, rank: int) -> tuple[int, int]:
    """Epoch and iteration of the saved state."""
    loader = saved(folder, way, rank)["loader"]
    return loader["epoch"], loader["iteration"]


@pytest.mark.slow
def test_processes_killed_again_and_again(tables: dict[str, TileTable], tmp_path: Path) -> None:
    """Two ranks, three ways of reading, three kills each."""
    killed, whole = prepare(tmp_path / "killed", tables), prepare(tmp_path / "whole", tables)

    # At the last batch of an epoch; when a batch was logged and its state not yet saved.
    first, second = Worker(killed, 0, 2, "windows saved 0 3"), Worker(killed, 1, 2, "blocks logged 0 2")
    first.kill_at("windows saved 0 3")
    second.kill_at("blocks logged 0 2")
    assert place(killed, "windows", 0) == (1, 0)
    assert place(killed, "blocks", 1) == (0, 2)
    before = trained(killed, "blocks", 1)[0]

    # Between two epochs; anywhere, while it goes on: it could come no further than its stop.
    first, second = Worker(killed, 0, 2, "windows over 1"), Worker(killed, 1, 2, "windows saved 1 2")
    second.kill_at(8)
    first.kill_at("windows over 1")
    assert place(killed, "windows", 0) == (2, 0)
    assert trained(killed, "blocks", 1)[0][len(before)] == before[-1]  # was logged but not saved: made a second time

    # Anywhere; between two epochs, when the curriculum's step was not yet saved.
    first, second = Worker(killed, 0, 2, "windows saved 2 3"), Worker(killed, 1, 2, "windows stepped 1")
    first.kill_at(8)
    second.kill_at("windows stepped 1")
    assert place(killed, "windows", 1) == (2, 0)

    first, second = Worker(killed, 0, 2), Worker(killed, 1, 2)
    for rank in range(2):
        for _ in train_all(whole, rank, 2):
            pass  # meanwhile, here, without a break
    first.finish()
    second.finish()
    for way in WAYS:
        both: Lines = []
        for rank in range(2):
            expected, end = trained(whole, way, rank)
            assert len(expected) == EPOCHS * 4
            assert len({tuple(line["patch_size"]) for line in expected}) > 1  # the curriculum moved
            made, end_of_killed = trained(killed, way, rank)
            assert [line for line, _ in groupby(made)] == expected, (way, rank)
            assert end_of_killed == end
            both += expected
        for epoch in range(EPOCHS):
            rows = [row for line in both if line["epoch"] == [epoch] for row in line["tile"]]
            assert sorted(rows) == list(range(32))


# ---------------------------------------------------------------------------------------------------- in one process


def go_through(loader: Loader[TileSource], epochs: int) -> tuple[Lines, list[dict[str, Any]]]:
    """Train to the end; give all batches, and the state before each and at the end."""
    lines, states = [], [loader.state_dict()]
    while loader.epoch < epochs:
        for batch in loader:
            lines.append(digest(batch))
            states.append(loader.state_dict())
        if loader._curriculum is not None:
            loader._curriculum.step(0.1)  # type: ignore[attr-defined]
    return lines, [*states, loader.state_dict()]


@pytest.mark.parametrize("way", ["blocks", "windows"])
def test_every_place_of_an_epoch(tables: dict[str, TileTable], way: str) -> None:
    table = tables[WAYS[way][0]]
    with make_loader(way, table) as loader:
        lines, states = go_through(loader, 2)
        assert set(loader.source.read) == {WAYS[way][1]}
    assert len(lines) == 16
    assert len({line["sha256"] for line in lines}) == 16
    for number, state in enumerate(states[:9]):
        curriculum = make_curriculum()
        with make_loader(way, table, curriculum=curriculum) as loader:
            loader.load_state_dict(pickle.loads(pickle.dumps(state)))
            assert loader.epoch == number // 8
            assert loader.state_dict() == state
            if number < 8:
                assert [digest(batch) for batch in loader] == lines[number:8]
            assert loader.epoch == 1
            curriculum.step(0.1)
            assert digest(next(iter(loader))) == lines[8]


def test_every_place_in_a_slide_that_only_openslide_reads(only_openslide: Path) -> None:
    with open_slide(only_openslide) as slide:
        table = grid_tiles(slide, 96, stride=70)
    table = table.select(np.arange(24)).with_labels(np.arange(24) % 3)

    def make() -> Loader[TileSource]:
        return train_loader(table, num_classes=3, batch_size=4, patch_size=32, fix_ratio=0.25, p=0.7, seed=4)

    with make() as loader:
        lines, states = go_through(loader, 1)
        assert set(loader.source.read) == {"openslide"}
    for number, state in enumerate(states[: len(lines)]):
        with make() as loader:
            loader.load_state_dict(state)
            assert [digest(batch) for batch in loader] == lines[number:]


def test_an_epoch_that_was_all_but_over(table: TileTable) -> None:
    """Its last batch was made, and nothing after it: the next epoch's first is due, once the curriculum is stepped."""
    curriculum = Curriculum(epochs=3, tile_size=256)
    with make_loader("blocks", table, curriculum=curriculum) as loader:
        for _ in loader:
            state = loader.state_dict()
        curriculum.step(0.1)
        lines = [digest(batch) for batch in loader]
    assert (state["epoch"], state["iteration"], state["curriculum"]["epoch"]) == (1, 0, 0)
    curriculum = Curriculum(epochs=3, tile_size=256)
    with make_loader("blocks", table, curriculum=curriculum) as loader:
        loader.load_state_dict(state)
        with pytest.raises(ArgumentError, match="stepped 0 times, and a batch of epoch 1"):
            list(loader)
        assert loader.epoch == 1
        curriculum.step(0.1)
        assert [digest(batch) for batch in loader] == lines
        assert lines[0]["patch_size"] == [curriculum.patch_size]


def test_the_curriculum_goes_on_with_the_loader(table: TileTable) -> None:
    curriculum = Curriculum(epochs=5, tile_size=256)
    with make_loader("blocks", table, curriculum=curriculum) as loader:
        for loss in (0.1, 0.9, 0.1):
            list(loader)
            curriculum.step(loss)
        state = loader.state_dict()
    other = Curriculum(epochs=5, tile_size=256)
    with make_loader("blocks", table, curriculum=other) as loader:
        loader.load_state_dict(state)
        assert (other.epoch, loader.epoch) == (3, 3)
        assert (other.patch_size, other.fix_ratio) == (curriculum.patch_size, curriculum.fix_ratio) != (128, 0.9)
        assert {line["patch_size"][0] for line in map(digest, loader)} == {other.patch_size}


def test_the_state_is_small_and_plain(table: TileTable, tmp_path: Path) -> None:
    with make_loader("blocks", table) as loader:
        loader.source.mark_bad(3, "It is damaged.")
        running = iter(loader)
        next(running)
        state = loader.state_dict()
        rest = [digest(batch) for batch in running]
    assert len(pickle.dumps(state)) < 2000
    torch.save(state, tmp_path / "state.pt")
    for copy in (
        pickle.loads(pickle.dumps(state)),
        torch.load(tmp_path / "state.pt", weights_only=True),
        json.loads(json.dumps(state)),
    ):
        with make_loader("blocks", table) as loader:
            loader.load_state_dict(copy)
            assert loader.state_dict() == state
            assert [digest(batch) for batch in loader] == rest


def test_evaluation_goes_on_too(table: TileTable) -> None:
    def rows(loader: Loader[TileSource]) -> list[list[int]]:
        return [batch["tile"].flatten().tolist() for batch in loader]

    with evaluate_loader(table, batch_size=12, num_classes=3) as loader:
        for batch in loader:
            if batch["tile"][0] == 12:
                state = loader.state_dict()
    with evaluate_loader(table, batch_size=12, num_classes=3) as loader:
        loader.load_state_dict(state)
        assert rows(loader) == [list(range(24, 32))]
        assert rows(loader) == [list(range(12)), list(range(12, 24)), list(range(24, 32))]


def test_tiles_known_to_be_bad_stay_replaced(table: TileTable) -> None:
    with make_loader("blocks", table) as loader:
        for row in (5, 17):
            loader.source.mark_bad(row, "It is damaged.")
        lines, states = go_through(loader, 1)
    assert not {5, 17} & {row for line in lines for row in line["tile"]}
    with make_loader("blocks", table) as loader:
        good, _ = go_through(loader, 1)
    assert good != lines
    for number in (0, 3):
        with make_loader("blocks", table) as loader:
            loader.source.mark_bad(9, "Of no account: the state does not know of it.")
            loader.load_state_dict(states[number])
            assert [digest(batch) for batch in loader] == lines[number:]
            assert {fault.tile for fault in loader.faults} <= {5, 17}
            if not number:
                assert {(fault.tile, fault.reason) for fault in loader.faults} == {
                    (5, "It is damaged."),
                    (17, "It is damaged."),
                }


def test_a_state_loaded_within_a_pass(table: TileTable) -> None:
    """As one does when the loss was not finite: back to the last good state, whatever becomes of the running pass."""
    with make_loader("blocks", table) as loader:
        lines, states = go_through(loader, 1)
    with make_loader("blocks", table) as loader:
        for number, _ in enumerate(loader):
            if number == 4:
                loader.load_state_dict(states[2])
                break
        assert [digest(batch) for batch in loader] == lines[2:]
        assert loader.epoch == 1
        loader._curriculum.step(0.1)  # type: ignore[union-attr, attr-defined]

        running = iter(loader)
        next(running)
        loader.load_state_dict(states[3])
        with pytest.raises(ArgumentError, match="no longer under way: another pass was begun, or a state loaded"):
            next(running)
        assert (loader.epoch, loader.state_dict()["iteration"]) == (0, 3)
        assert [digest(batch) for batch in loader] == lines[3:]


def test_a_pass_begun_within_a_pass_ends_it(table: TileTable) -> None:
    with make_loader("blocks", table, patch_size=64, fix_ratio=0.5) as loader:
        first = iter(loader)
        next(first)
        next(first)
        second = iter(loader)
        assert digest(next(second))["epoch"] == [1]
        with pytest.raises(ArgumentError, match="before all its 8 batches were handed out"):
            next(first)
        assert [digest(batch)["iteration"] for batch in second] == [[number] for number in range(1, 8)]
        assert loader.epoch == 2


def test_after_an_error_the_place_stays(rendered: list[RenderedSlide], table: TileTable, tmp_path: Path) -> None:
    """The slide that was missing for a while is there again: on from the batch that could not be made."""
    moving = [tmp_path / slide.path.name for slide in rendered]
    for path, slide in zip(moving, rendered, strict=True):
        path.write_bytes(slide.path.read_bytes())
    columns = {name: getattr(table, name) for name in ("x", "y", "level", "size", "label")}
    copy = TileTable.from_columns([str(moving[number]) for number in table.slide], **columns)
    # In the table's order and with little fetched ahead, so that the second slide is first met in the fourth batch.
    arguments = {"shuffle": False, "on_error": "raise", "prefetch_queue_depth": 1, "num_workers": 1}
    with make_loader("blocks", copy, **arguments) as loader:
        lines, _ = go_through(loader, 1)
    loader = make_loader("blocks", copy, **arguments)
    loader.source.mark_bad(16, "It is not there.")
    done = []
    with pytest.raises(CellMixDaliError, match="It is not there"):
        done.extend(digest(batch) for batch in loader)
    state = loader.state_dict()
    assert state["epoch"] == 0
    assert 0 < state["iteration"] < 8
    state["bad"].clear()
    with make_loader("blocks", copy, **arguments) as loader:
        loader.load_state_dict(state)
        assert [digest(batch) for batch in loader] == lines[state["iteration"] :]


def test_a_pass_broken_off_before_a_tile_that_cannot_be_decoded(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """The batch with it is fetched ahead already, and fails in DALI when it is dropped: nobody's loss."""
    with open_slide(rendered[1].path) as slide:
        block, table = slide.block(0, 2, 1), grid_tiles(slide, 256)
    assert block is not None
    content = rendered[1].path.read_bytes()
    table_segment = b"\xff\xc4\x00\x1f\x00"
    assert content.count(block) == 1
    assert table_segment in block
    broken = tmp_path / "broken.tiff"
    broken.write_bytes(content.replace(block, block.replace(table_segment, table_segment[:-1] + b"\xff", 1)))
    damaged = TileTable.from_columns(broken, x=table.x, y=table.y, size=256, label=np.zeros(len(table), int))
    # It is the seventh tile: in batch 3, which is fetched while batch 1 or 2 is handed out.
    with train_loader(
        damaged, num_classes=2, batch_size=2, patch_size=64, fix_ratio=0.5, shuffle=False, on_error="replace"
    ) as loader:
        for number, _ in enumerate(loader):
            if number == 2:
                break
        assert loader.epoch == 1
        lines = [digest(batch) for batch in loader]
        assert [line["iteration"] for line in lines] == [[number] for number in range(8)]
        assert {tuple(line["epoch"]) for line in lines} == {(1,)}
        assert 6 not in {row for line in lines for row in line["tile"]}
        assert [fault.tile for fault in loader.faults] == [6]


def test_what_is_refused(table: TileTable, windows: TileTable) -> None:
    with make_loader("blocks", table) as loader:
        state = loader.state_dict()
    with make_loader("blocks", table, patch_size=32, fix_ratio=0.5) as loader:
        constant = loader.state_dict()
    assert table.label is not None
    constants = {"patch_size": 32, "fix_ratio": 0.5}
    small = {"tile_size": 128, "curriculum": Curriculum(epochs=3, tile_size=128)}
    refused: list[tuple[dict[str, Any], TileTable, dict[str, Any], str]] = [
        (state, table, {"seed": 12}, r"differ: seed was 11, is 12\.$"),
        (state, table, {"batch_size": 8}, r"differ: batch_size was 4, is 8\.$"),
        (state, table, {"method": "CellMix"}, r'differ: method was "CellMix-Group4", is "CellMix"\.$'),
        (state, table, {"p": 0.5}, r"differ: p was 0\.7, is 0\.5\.$"),
        (state, table, {"flips": False}, r"differ: flips was true, is false\.$"),
        (state, table, {"shuffle": "blocks"}, r'differ: shuffle was true, is "blocks"\.$'),
        (state, table, {"rank": 0, "world_size": 2}, r"differ: world_size was 1, is 2\.$"),
        (state, table, {"rank": 1, "world_size": 2}, r"differ: world_size was 1, is 2\.$"),
        (state, table, {"edge": "pad"}, r'differ: edge was "skip", is "pad"\.$'),
        (state, table, small, r"differ: tile_size was 256, is 128\.$"),
        (state, table.select(np.arange(28)), {}, r"differ: tiles was 32, is 28\.$"),
        (state, windows, {}, r"differ: the tile table holds other tiles or labels\.$"),
        (state, table.with_labels(2 - table.label), {}, r"differ: the tile table holds other tiles or labels\.$"),
        (state, table, {"balance": "class"}, r'differ: balance was null, is "class"\.$'),
        (state, table, {"curriculum": Curriculum(epochs=9, tile_size=256)}, r"epochs \(saved 3, here 9\)"),
        (state, table, constants, r'differ: curriculum was "Curriculum", is null; patch_size was null, is 32; fix_'),
        (constant, table, {}, "differ: curriculum was null, is .Curriculum.; patch_size was 32, is null; fix_"),
        (constant, table, constants | {"patch_size": 64}, r"differ: patch_size was 32, is 64\.$"),
        ({}, table, {}, "This is not a state of a loader"),
        (state["curriculum"], table, {}, "set up otherwise"),
    ]
    for saved_state, own, arguments, words in refused:
        with make_loader("blocks", own, **arguments) as loader:
            before = loader.state_dict()
            with pytest.raises(ArgumentError, match=words):
                loader.load_state_dict(saved_state)
            assert loader.state_dict() == before
    with make_loader("blocks", table) as loader:
        loader.source.order = EpochOrder(32, 4, seed=5)  # as if another version drew it otherwise
        with pytest.raises(ArgumentError, match="differ: the tiles come in another order"):
            loader.load_state_dict(state)
    # What changes nothing in the batches may change.
    with make_loader("blocks", table, num_workers=3, prefetch_queue_depth=3, engine="native") as loader:
        loader.load_state_dict(state)
