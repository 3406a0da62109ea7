"""What users of PyTorch's loaders rely on: where a loop was left, one pass at a time, ranks, forks, pickles."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from resume_worker import digest, make_loader

from cellmix_dali import TileTable
from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_image_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import RenderedSlide

CONSTANT = {"patch_size": 64, "fix_ratio": 0.5}


@pytest.fixture
def loader(table: TileTable) -> Iterator[Loader[TileSource]]:
    with make_loader("blocks", table, **CONSTANT) as made:
        yield made


def left_by_break(loader: Loader[TileSource]) -> None:
    for number, _ in enumerate(loader, 1):
        if number == 3:
            break


def left_by_return(loader: Loader[TileSource]) -> Any:
    for number, batch in enumerate(loader, 1):
        if number == 3:
            return batch
    raise AssertionError


def interrupted(loader: Loader[TileSource]) -> None:
    for number, _ in enumerate(loader, 1):
        if number == 3:
            raise KeyboardInterrupt


def left_by_exception(loader: Loader[TileSource]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(loader)


def left_alive(loader: Loader[TileSource]) -> Any:
    running = iter(loader)
    for _ in range(3):
        next(running)
    return running


@pytest.mark.parametrize("leave", [left_by_break, left_by_return, left_by_exception, left_alive])
@pytest.mark.parametrize("way", ["blocks", "windows"])
def test_the_state_after_a_loop_that_was_left(table: TileTable, leave: Callable[..., Any], way: str) -> None:
    """It is that after the last batch that was handed over; the same loader goes on with the next epoch."""
    with make_loader(way, table, **CONSTANT) as one:
        whole = [digest(batch) for batch in one]
        following = [digest(batch) for batch in one]
    with make_loader(way, table, **CONSTANT) as one:
        kept = leave(one)
        state = one.state_dict()
        assert (state["epoch"], state["iteration"]) == (0, 3)
        assert one.state_dict() == state
        if kept is None or leave is not left_alive:
            assert one.epoch == 1  # that of the next pass
        assert [digest(batch) for batch in one] == following
        assert kept is None or one.epoch == 2
    with make_loader(way, table, **CONSTANT) as one:
        one.load_state_dict(json.loads(json.dumps(state)))
        assert [digest(batch) for batch in one] == whole[3:]
        assert [digest(batch) for batch in one] == following


def test_a_look_does_not_use_up_an_epoch(loader: Loader[TileSource], table: TileTable) -> None:
    with make_loader("blocks", table, **CONSTANT) as other:
        whole = [digest(batch) for batch in other]
    for _ in range(2):
        assert digest(next(iter(loader))) == whole[0]
        assert loader.epoch == 0
        assert loader.state_dict()["iteration"] == 1
    assert [digest(batch) for batch in loader] == whole
    assert loader.epoch == 1


def test_a_look_into_the_rest_of_an_epoch(loader: Loader[TileSource], table: TileTable) -> None:
    with make_loader("blocks", table, **CONSTANT) as other:
        whole = [digest(batch) for batch in other]
    loader.load_state_dict(loader.state_dict() | {"iteration": 5})
    assert digest(next(iter(loader))) == whole[5]
    assert [digest(batch) for batch in loader] == whole[5:]


@pytest.mark.parametrize(
    ("begun", "handed", "then"),
    [(0, 0, (0, 0)), (0, 1, (0, 0)), (0, 2, (1, 0)), (0, 8, (1, 0)), (5, 0, (0, 5)), (5, 1, (0, 5)), (5, 2, (1, 0))],
)
def test_where_the_pass_after_one_that_was_left_begins(
    loader: Loader[TileSource], begun: int, handed: int, then: tuple[int, int]
) -> None:
    loader.load_state_dict(loader.state_dict() | {"iteration": begun})
    running = iter(loader)
    for _ in range(handed):
        next(running)
    running.close()  # type: ignore[attr-defined]
    assert loader.epoch == then[0]
    first = loader.source.order.batch(*then)
    np.testing.assert_array_equal(next(iter(loader))["tile"], first)
    assert loader.state_dict()["epoch"] == then[0]
    assert loader.state_dict()["iteration"] == then[1] + 1


def test_limits_of_a_state(loader: Loader[TileSource]) -> None:
    state, last = loader.state_dict(), len(loader)
    for given, then in (((0, 0), (0, 0)), ((3, last - 1), (3, last - 1)), ((3, last), (4, 0))):
        loader.load_state_dict(state | {"epoch": given[0], "iteration": given[1]})
        found = loader.state_dict()
        assert (found["epoch"], found["iteration"]) == then
    for wrong, words in (
        ({"iteration": -1}, r"state\['iteration'\]=-1"),
        ({"iteration": last + 1}, rf"state\['iteration'\]={last + 1}"),
        ({"iteration": None}, r"state\['iteration'\]=None"),
        ({"epoch": -1}, r"state\['epoch'\]=-1"),
        ({"settings": None}, "This is not a state of a loader"),
    ):
        with pytest.raises(ArgumentError, match=words):
            loader.load_state_dict(state | wrong)
    assert (loader.state_dict()["epoch"], loader.state_dict()["iteration"]) == (4, 0)  # as it was


def test_epochs_that_a_trainer_counts(loader: Loader[TileSource]) -> None:
    def tiles(*passes: Any) -> list[list[int]]:
        return [batch["tile"].tolist() for batches in passes for batch in batches]

    def order(epoch: int) -> list[list[int]]:
        return [loader.source.order.batch(epoch, number).tolist() for number in range(len(loader))]

    loader.set_epoch(2)
    assert loader.state_dict()["epoch"] == 2
    assert tiles(loader, loader) == order(2) + order(3)
    running = iter(loader)
    begun = [next(running), next(running)]
    loader.set_epoch(4)  # it is: nothing changes
    assert tiles(begun, running) == order(4)
    running = iter(loader)
    next(running)
    loader.set_epoch(1)
    with pytest.raises(ArgumentError, match="no longer under way"):
        next(running)
    assert tiles(loader) == order(1)
    running = iter(loader)
    begun = [next(running), next(running)]
    loader.set_epoch(3)  # the one after the pass that is under way
    with pytest.raises(ArgumentError, match="no longer under way"):
        next(running)
    assert loader.batch_sampler.sampler is loader
    assert (loader.epoch, loader.state_dict()["epoch"], loader.state_dict()["iteration"]) == (3, 3, 0)
    assert tiles(begun, loader) == order(2)[:2] + order(3)
    assert loader.batch_size == len(order(0)[0])
    for handed in (1, 3):  # a pass that was left, and the epoch that would be the next, or the one after it
        for further in (0, 1):
            before = loader.epoch
            for number, _ in enumerate(loader, 1):
                if number == handed:
                    break
            assert loader.epoch == before + (handed > 1)
            loader.set_epoch(before + 1 + further)
            assert loader.epoch == before + 1 + further
            assert tiles(loader) == order(before + 1 + further)
    for wrong in (-1, 1.5):
        with pytest.raises(ArgumentError, match="epoch"):
            loader.set_epoch(wrong)  # type: ignore[arg-type]
    loader.set_epoch(0)
    assert tiles(loader) == order(0)


def test_a_second_pass_ends_the_first_loudly(table: TileTable) -> None:
    """Validation begun within validation: no figures from a part of the tiles."""
    with evaluate_loader(table, batch_size=5, num_classes=3) as loader:
        outer = iter(loader)
        assert len(next(outer)["tile"]) == 5
        assert sum(len(inner["tile"]) for inner in loader) == len(table)
        with pytest.raises(ArgumentError, match="no longer under way"):
            next(outer)
        assert sum(len(batch["tile"]) for batch in loader) == len(table)


@pytest.mark.slow
def test_an_iterator_that_lives_to_the_end_leaves_no_traceback(rendered: list[RenderedSlide]) -> None:
    code = (
        "import sys, numpy as np\n"
        "from cellmix_dali import grid_tiles, open_slide\n"
        "from cellmix_dali.pipelines import train_loader\n"
        "with open_slide(sys.argv[1]) as slide: tiles = grid_tiles(slide, 256)\n"
        "tiles = tiles.with_labels(np.arange(len(tiles)) % 2)\n"
        "loader = train_loader(tiles, num_classes=2, batch_size=4, patch_size=64, fix_ratio=0.5, engine='native')\n"
        "running = iter(loader)\n"
        "next(running), next(running)\n"
        "print('told')\n"
    )
    command = [sys.executable, "-c", code, str(rendered[0].path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "told\n"
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stderr


# ------------------------------------------------------------------------------------------------------------ ranks


def test_ranks_come_from_the_launcher_or_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks_of(None, None) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ranks_of(None, None) == (0, 1)  # without a rank the launcher has not begun
    monkeypatch.setenv("RANK", "3")
    assert ranks_of(None, None) == (3, 4)
    assert ranks_of(1, 2) == (1, 2)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 5)
    monkeypatch.setattr(dist, "get_world_size", lambda: 8)
    assert ranks_of(None, None) == (5, 8)
    assert ranks_of(1, 2) == (1, 2)


@pytest.mark.parametrize("given", [{"rank": 1}, {"world_size": 2}])
def test_half_of_it_is_refused(table: TileTable, given: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="Give both, or neither"):
        evaluate_loader(table, batch_size=4, **given)


def test_an_environment_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="RANK='first'"):
        ranks_of(None, None)


def test_ranks_share_the_tiles(table: TileTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and the mixing's draws: what each rank gets is its own."""
    rows, parameters, states = [], [], []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        options = {"num_classes": 3, "batch_size": 4, "patch_size": 64, "fix_ratio": 0.5}
        with train_loader(table, **options) as loader:
            rows += [row for batch in loader for row in batch["tile"].flatten().tolist()]
            states.append(loader.state_dict())
            parameters.append(loader.source.plans.draw(0, 0).in_ids.tolist())
    assert sorted(rows) == list(range(len(table)))
    assert parameters[0] != parameters[1]
    assert states[0] == states[1]  # one checkpoint, that of the first rank, serves all


def test_image_loaders_as_well(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    files = [str(slide.path.with_suffix(".png")) for slide in rendered] * 4
    settings = {"num_classes": 2, "batch_size": 2, "method": None}
    monkeypatch.setattr("cellmix_dali.pipelines.images.ImageSource", _refuse)
    with pytest.raises(ArgumentError, match="rank 1 of 2"):
        train_image_loader(files, np.arange(8) % 2, **settings)


def _refuse(*_: Any, rank: int, world_size: int, **__: Any) -> Any:
    raise ArgumentError(f"rank {rank} of {world_size}")


def test_a_group_that_begins_later_is_noticed(loader: Loader[TileSource], table: TileTable, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip  # noqa: E501
    with train_loader(table, num_classes=3, batch_size=4, patch_size=64, fix_ratio=0.5, rank=0, world_size=1) as wanted:
        monkeypatch.setattr("cellmix_dali.pipelines._of_one_process.group_ranks", lambda: (1, 2))
        assert len(list(wanted)) == 8  # by explicit wish
    with pytest.raises(ArgumentError, match=r"rank 0 of 1, before the process group, in which this process is rank 1"):
        next(iter(loader))
    with (
        evaluate_loader(table, batch_size=4) as other,
        pytest.raises(ArgumentError, match="before the process group"),
    ):
        next(iter(other))
    monkeypatch.setattr("cellmix_dali.pipelines._of_one_process.group_ranks", lambda: (0, 1))
    next(iter(loader))


# -------------------------------------------------------------------------------------------------- forks and pickles


def _in_fork(loader: Loader[TileSource], told: Any) -> None:
    for use in (lambda: next(iter(loader)), loader.state_dict):
        try:
            use()
            told.put("nothing was said")
        except ArgumentError as error:
            told.put(str(error))


def test_a_loader_that_was_carried_through_a_fork_says_so(loader: Loader[TileSource]) -> None:
    next(iter(loader))
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    process = context.Process(target=_in_fork, args=(loader, told))
    process.start()
    for _ in range(2):
        assert "carried through a fork" in told.get(timeout=30)
    process.join(timeout=30)
    assert process.exitcode == 0
    next(iter(loader))  # here it goes on


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pickling_says_what_to_do_instead(loader: Loader[TileSource], way: Callable[[Any], Any]) -> None:
    with pytest.raises(ArgumentError, match=r"state_dict\(\) is what can be carried over"):
        way(loader)
