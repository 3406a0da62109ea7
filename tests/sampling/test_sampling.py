"""The order of an epoch. Statistical tests have fixed seeds; a true random order would fail one with chance 1e-6."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.sampling import EpochOrder, permuted
from cellmix_dali.sampling.permutation import Purpose, scattered

Kind = dict[str, Any]
KINDS: list[Kind] = [{}, {"shuffle": False}, {"shuffle": "blocks"}, {"shuffle": "blocks", "window_rows": 50}]
GOLDEN = {
    "drawn": [8, 5, 3, 4],
    "computed": [61042682, 36784263, 8289719, 11473268],
    "blocks": [365586, 207594, 5565, 409330],
    "balanced": [925, 207, 867, 974],
}
BEYOND_ARRAYS = 65_537  # the smallest size whose permutation is computed, not drawn


def epoch_of(order: EpochOrder, epoch: int = 0) -> NDArray[np.int64]:
    return np.concatenate([order.batch(epoch, number) for number in range(len(order))])


def assert_uniform(drawn: NDArray[np.int64], kinds: int) -> None:
    """Chi-square test at 1e-6, its bound after Wilson and Hilferty."""
    counts = np.bincount(drawn, minlength=kinds)
    assert len(counts) == kinds
    expected = len(drawn) / kinds
    assert expected >= 5
    free = kinds - 1
    bound = free * (1 - 2 / (9 * free) + NormalDist().inv_cdf(1 - 1e-6) * (2 / (9 * free)) ** 0.5) ** 3
    assert ((counts - expected) ** 2 / expected).sum() < bound


# ---------------------------------------------------------------------------------------------------- permutations


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 66_049, 66_050, 99_991, 2**17 - 1, 2**17, 2**17 + 1])
def test_large_permutations_hold_every_row_once(size: int) -> None:
    np.testing.assert_array_equal(np.sort(permuted(np.arange(size), size, seed=3, epoch=1)), np.arange(size))


@given(st.integers(1, 700), st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(0, 2**40))
@settings(deadline=None, max_examples=60)
def test_permutations_hold_every_row_once(size: int, seed: int, epoch: int, which: int) -> None:
    places = np.arange(size)
    np.testing.assert_array_equal(np.sort(permuted(places, size, seed=seed, epoch=epoch)), places)
    walked = scattered(places, size, seed=seed, epoch=epoch, purpose=Purpose.MEMBERS, which=which)
    np.testing.assert_array_equal(np.sort(walked), places)


def test_many_permutations_at_once_are_those_one_by_one() -> None:
    sizes = np.array([1, 2, 3, 10, 257, 70_000, 10**10])
    key = {"seed": 1, "epoch": 2, "purpose": Purpose.MEMBERS}
    places = sizes // 2
    together = scattered(places, sizes, which=sizes + 5, **key)
    for place, size, row in zip(places, sizes, together, strict=True):
        np.testing.assert_array_equal(scattered(place[None], int(size), which=int(size) + 5, **key), [row])


@pytest.mark.parametrize("size", [BEYOND_ARRAYS, 10**8, 2**40 + 1])
def test_rows_at_a_place_are_uniform_over_epochs_and_seeds(size: int) -> None:
    places = np.array([0, 1, size // 2, size - 1])
    epochs = np.array([permuted(places, size, seed=1, epoch=epoch) for epoch in range(2000)])
    seeds = np.array([permuted(places, size, seed=seed, epoch=1) for seed in range(2000)])
    for rows in (epochs, seeds):
        for column in rows.T:
            assert_uniform(column * 32 // size, 32)
            assert_uniform(column % 31, 31)
        # Neither neighbouring places nor consecutive keys are related.
        assert_uniform((rows[:, 1] - rows[:, 0]) % size * 32 // size, 32)
        assert_uniform((rows[1:, 0] - rows[:-1, 0]) % size * 32 // size, 32)


@pytest.mark.parametrize("size", [BEYOND_ARRAYS, 1_000_003, 10**8])
def test_one_permutation_has_no_structure(size: int) -> None:
    count = min(size, 200_000)
    rows = permuted(np.arange(count), size, seed=5, epoch=0)
    root = round(size**0.5)
    for lag in (1, 2, 256, root, root + 1):  # the network's digits are about `root` apart
        assert_uniform((rows[lag:] - rows[:-lag]) % size * 256 // size, 256)
    assert_uniform(np.arange(count) * 16 // count * 16 + rows * 16 // size, 256)
    other = permuted(np.arange(count), size, seed=5, epoch=1)
    assert (rows == other).sum() < 12  # at most 1 is expected; 12 has chance 1e-9
    assert_uniform((rows - other) % size * 256 // size, 256)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 9])
def test_tiny_permutations_are_uniform(size: int) -> None:
    count = 20_000
    rows = scattered(
        np.tile(np.arange(size), count),
        size,
        seed=0,
        epoch=0,
        purpose=Purpose.GROUPS,
        which=np.repeat(np.arange(count), size),
    ).reshape(count, size)
    for column in rows.T:
        assert_uniform(column, size)
    steps = (rows[:, 1] - rows[:, 0]) % size - 1
    # Pairs are uniform only nearly: 8 rounds leave less than 5 % on the fewest elements.
    assert abs(np.bincount(steps, minlength=size - 1) / count * (size - 1) - 1).max() < 0.1


def test_orders_stay_what_they_were() -> None:
    """A saved state names a batch by its key alone: another order under the same key would break resuming."""
    places = np.arange(4)
    assert permuted(places, 10, seed=7, epoch=2).tolist() == GOLDEN["drawn"]
    assert permuted(places, 10**8, seed=7, epoch=2).tolist() == GOLDEN["computed"]
    assert EpochOrder(10**6, 4, shuffle="blocks", seed=7).batch(2, 11).tolist() == GOLDEN["blocks"]
    groups = np.arange(1000) % 7 // 3
    assert EpochOrder(1000, 4, balance=groups, seed=7).batch(2, 11).tolist() == GOLDEN["balanced"]


# ---------------------------------------------------------------------------------------------------- every order


@given(st.integers(1, 300), st.integers(1, 40), st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, 5))
@settings(deadline=None, max_examples=80)
def test_ranks_share_every_row_once(size: int, batch: int, kind: Kind, world: int, epoch: int) -> None:
    size += batch * world
    ranks = [EpochOrder(size, batch, drop_last=False, rank=rank, world_size=world, **kind) for rank in range(world)]
    rows = np.concatenate([epoch_of(order, epoch) for order in ranks])
    np.testing.assert_array_equal(np.sort(rows), np.arange(size))
    full = [EpochOrder(size, batch, rank=rank, world_size=world, **kind) for rank in range(world)]
    assert {len(order) for order in full} == {size // (batch * world)}
    rows = np.concatenate([epoch_of(order, epoch) for order in full])
    assert len(rows) == len(set(rows.tolist())) == len(full[0]) * batch * world
    for order, short in zip(full, ranks, strict=True):
        np.testing.assert_array_equal(order.batch(epoch, len(order) - 1), short.batch(epoch, len(order) - 1))


@pytest.mark.parametrize(
    "kind", [{}, {"shuffle": "blocks", "window_rows": 24}, {"balance": np.arange(1000) // 7 % 5}, {"shuffle": False}]
)
def test_an_iteration_holds_the_same_rows_on_any_number_of_ranks(kind: Kind) -> None:
    def iterations(world: int) -> list[list[int]]:
        orders = [EpochOrder(1000, 24 // world, seed=4, rank=rank, world_size=world, **kind) for rank in range(world)]
        return [np.concatenate([order.batch(3, i) for order in orders]).tolist() for i in range(len(orders[0]))]

    assert iterations(1) == iterations(2) == iterations(4)


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("kind", [{}, {"shuffle": "blocks"}, {"balance": 3}])
def test_a_batch_depends_on_its_key_alone(size: int, kind: Kind) -> None:
    if "balance" in kind:
        kind = {"balance": np.arange(size) % kind["balance"]}
    order = EpochOrder(size, 16, seed=9, **kind)
    keys = [(epoch, iteration) for epoch in range(3) for iteration in (0, 7, len(order) - 1)]
    forwards = {key: order.batch(*key).tolist() for key in keys}
    other = pickle.loads(pickle.dumps(EpochOrder(size, 16, seed=9, **kind)))
    for key in reversed(keys):
        rows = other.batch(*key)
        assert rows.dtype == np.int64
        assert rows.tolist() == forwards[key]
        rows[:] = -1  # the caller's own
        assert other.batch(*key).tolist() == forwards[key]
    assert len({tuple(rows) for rows in forwards.values()}) == len(keys)
    assert EpochOrder(size, 16, seed=10, **kind).batch(0, 0).tolist() != forwards[0, 0]


def test_in_order() -> None:
    first, second = (EpochOrder(11, 2, shuffle=False, drop_last=False, rank=rank, world_size=2) for rank in range(2))
    assert [first.batch(5, number).tolist() for number in range(len(first))] == [[0, 1], [4, 5], [8, 9]]
    assert [second.batch(5, number).tolist() for number in range(len(second))] == [[2, 3], [6, 7], [10]]


@pytest.mark.parametrize("kind", KINDS)
def test_no_array_is_as_long_as_the_table(kind: Kind) -> None:
    order = EpochOrder(10**12, 64, **kind)
    tracemalloc.start()
    rows = order.batch(1, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(rows.tolist())) == 64
    assert peak < 200_000


# ---------------------------------------------------------------------------------------------------- blocks


def fragments(rows: NDArray[np.int64]) -> int:
    """How many places of the table the rows come from."""
    return 1 + sum(b - a != 1 for a, b in pairwise(sorted(rows.tolist())))


@pytest.mark.parametrize("size", [10_000, 10_003, 200_001])
def test_blocks_keep_neighbours_together_and_mix_them(size: int) -> None:
    order = EpochOrder(size, 64, shuffle="blocks", seed=2)
    batches = [order.batch(0, number) for number in range(0, len(order), 3)]
    for rows in batches:
        assert fragments(rows) <= 8 + 1  # 8 runs, one of them in two pieces where the ring closes
    assert np.mean([fragments(rows) for rows in batches]) > 7.5
    assert np.mean([np.mean(np.diff(rows) == 1) for rows in batches]) < 0.05  # by chance 1 in 64
    every_row = EpochOrder(size, 64, seed=2)
    assert np.mean([fragments(every_row.batch(0, number)) for number in range(20)]) > 55


def test_runs_begin_elsewhere_in_every_epoch() -> None:
    order = EpochOrder(800, 16, shuffle="blocks", block_rows=8, window_rows=16)
    together: Counter[int] = Counter()
    for epoch in range(20):
        for number in range(50):
            rows = np.sort(order.batch(epoch, number))
            together.update((rows[:-1][np.diff(rows) == 1] % 8).tolist())
    assert set(together) == set(range(8))  # cut at the same rows always, one of the eight would be rare
    assert min(together.values()) > 0.6 * max(together.values())


def test_larger_windows_spread_a_run_over_their_batches() -> None:
    wide = EpochOrder(4096, 32, shuffle="blocks", window_rows=256, seed=1)
    for window in range(16):
        rows = np.concatenate([wide.batch(0, window * 8 + number) for number in range(8)])
        assert fragments(rows) <= 256 // 8 + 2
    assert np.mean([fragments(wide.batch(0, number)) for number in range(128)]) > 20


def test_small_batches_mix_eight_runs_too() -> None:
    order = EpochOrder(4096, 16, shuffle="blocks", seed=1)
    assert np.mean([fragments(order.batch(0, number)) for number in range(128)]) > 6
    window = np.concatenate([order.batch(0, number) for number in range(4)])
    assert fragments(window) <= 9


def test_blocks_put_every_row_everywhere() -> None:
    size, count = 21, 1500  # 5 runs of 4 and a short one
    order = EpochOrder(size, 7, shuffle="blocks", block_rows=4, window_rows=7, drop_last=False)
    epochs = np.array([epoch_of(order, epoch) for epoch in range(count)])
    for column in epochs.T:
        assert_uniform(column, size)


@pytest.mark.parametrize(("size", "block_rows"), [(5, 8), (8, 8), (9, 8), (20, 1), (20, 20)])
def test_blocks_of_any_length(size: int, block_rows: int) -> None:
    order = EpochOrder(size, 2, shuffle="blocks", block_rows=block_rows, drop_last=False)
    orders = {tuple(epoch_of(order, epoch).tolist()) for epoch in range(5)}
    assert len(orders) > 1
    assert all(sorted(rows) == list(range(size)) for rows in orders)


# ---------------------------------------------------------------------------------------------------- balance


@given(
    st.lists(st.tuples(st.integers(-3, 5), st.integers(1, 30)), min_size=1, max_size=12),
    st.integers(1, 16),
    st.integers(0, 9),
    st.sampled_from([np.int8, np.int32, np.int64]),
)
@settings(deadline=None, max_examples=60)
def test_groups_come_equally_often(runs: list[tuple[int, int]], batch: int, epoch: int, dtype: type) -> None:
    groups = np.concatenate([np.full(length, number, dtype) for number, length in runs])
    size = len(groups)
    order = EpochOrder(size, batch, balance=groups, drop_last=False)
    rows = epoch_of(order, epoch)
    assert len(rows) == size
    names, sizes = np.unique(groups, return_counts=True)
    counts = np.array([(groups[rows] == name).sum() for name in names])
    assert counts.max() - counts.min() <= 1
    for number in range(len(order)):
        drawn = groups[order.batch(epoch, number)]
        inside = [(drawn == name).sum() for name in names]
        assert max(inside) - min(inside) <= 2
    for name, group_size in zip(names, sizes, strict=True):
        mine = rows[groups[rows] == name]
        for lap in range(0, len(mine), group_size):  # each lap holds every row once
            part = mine[lap : lap + group_size]
            assert len(set(part.tolist())) == len(part)


def test_balance_is_random_in_every_respect() -> None:
    groups = np.repeat([7, 3, 1], [40, 4, 16])
    order = EpochOrder(60, 60, balance=groups)
    epochs = np.array([order.batch(epoch, 0) for epoch in range(3000)])
    drawn = np.unique(groups[epochs], return_inverse=True)[1].reshape(epochs.shape)
    for place in (0, 1, 2, 30, 59):
        assert_uniform(drawn[:, place], 3)  # no group has its own place in a round
    rows = epochs.ravel()
    assert_uniform(rows[rows < 40], 40)
    first = np.array([mine[mine < 40][0] for mine in epochs])
    assert_uniform(first, 40)
    assert (epochs[1:] != epochs[:-1]).any(axis=1).all()


def test_every_lap_of_a_group_has_an_order_of_its_own() -> None:
    order = EpochOrder(400, 400, balance=np.repeat([0, 1, 2], [200, 196, 4]))
    rows = order.batch(0, 0)
    laps = rows[rows >= 396][:132].reshape(33, 4)
    assert len({tuple(lap) for lap in laps.tolist()}) > 12  # 18 of the 24 orders are expected
    # Groups of one size do not go in step.
    twins = EpochOrder(400, 400, balance=np.arange(400) // 200).batch(0, 0)
    assert (twins[twins < 200] == twins[twins >= 200] - 200).sum() < 12


def test_balance_with_more_groups_than_a_batch_holds() -> None:
    slides = np.repeat(np.arange(500), np.arange(500) % 9 + 1)
    order = EpochOrder(len(slides), 32, balance=slides, drop_last=False)
    drawn = slides[epoch_of(order)]
    counts = np.bincount(drawn, minlength=500)
    assert counts.max() - counts.min() <= 1
    assert len(set(drawn[:500].tolist())) == 500
    assert len(set(drawn[:32].tolist())) == 32


@pytest.mark.parametrize("spread", [1, 10**9])  # numbers that fit into 16 bits, and numbers that do not
def test_balance_of_groups_that_lie_among_each_other(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellmix_dali.sampling._balance._AT_ONCE", 7)  # pieces as of a longer table
    groups = (np.arange(1500) % 500 - 250) * spread
    rows = epoch_of(EpochOrder(1500, 30, balance=groups))
    np.testing.assert_array_equal(np.sort(rows), np.arange(1500))  # three draws of each group, which has three rows
    for first in range(0, 1500, 500):
        assert len(set(groups[rows[first : first + 500]].tolist())) == 500


def test_balance_of_slides_needs_next_to_no_memory() -> None:
    slides = np.repeat(np.arange(100, dtype=np.int32), 10_000)
    order = EpochOrder(10**6, 64, balance=slides)
    assert len(pickle.dumps(order)) < 10_000
    counts = np.bincount(slides[order.batch(0, 5)], minlength=100)
    assert counts.max() <= 2


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size=0 cannot be used"),
        ({"rank": 2, "world_size": 2}, "rank=2 cannot be used: it must be a whole number from 0 to 1"),
        ({"world_size": 30}, r"100 tiles do not fill one batch of 4 for each of 30 process\(es\)"),
        ({"shuffle": "block"}, "Unknown shuffle 'block'. Did you mean 'blocks'[?] Allowed: blocks, True, False"),
        ({"shuffle": 3}, "Unknown shuffle 3"),
        ({"seed": -1}, "seed=-1 cannot be used"),
        ({"shuffle": "blocks", "block_rows": 0}, "block_rows=0, window_rows=None: both are at least 1 row"),
        ({"shuffle": "blocks", "window_rows": 0}, "block_rows=8, window_rows=0"),
        ({"balance": [1, 2, 3]}, r"balance has shape \(3,\) and type int64: .* each of the 100 rows"),
        ({"balance": np.full(100, 0.5)}, "type float64: give one whole number"),
        ({"balance": np.ones((100, 3), int)}, r"shares.argmax\(axis=1\)"),
        ({"balance": np.ones(100, int), "shuffle": False}, "use shuffle=True, not False"),
        ({"balance": np.ones(100, int), "shuffle": "blocks"}, "use shuffle=True, not 'blocks'"),
    ],
)
def test_arguments_that_are_refused(arguments: Kind, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        EpochOrder(**{"size": 100, "batch_size": 4, **arguments})


@pytest.mark.parametrize(("epoch", "iteration"), [(0, 25), (0, -1), (-1, 0)])
def test_batches_that_are_not_there(epoch: int, iteration: int) -> None:
    order = EpochOrder(100, 4)
    order.batch(0, 24)
    with pytest.raises(ArgumentError, match=f"no batch {iteration} of epoch {epoch}: .* an epoch has 25 batches"):
        order.batch(epoch, iteration)
