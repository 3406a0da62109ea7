"""The ground that all rooms stand on: checks of arguments at their limits, keys of random numbers, ranks, the clock."""

from __future__ import annotations

import errno
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellmix_dali._arguments import fitting_patch_size, integer, mean_loss, number, tile_shape
from cellmix_dali._cached import cached_property
from cellmix_dali._random import generator
from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError, MissingDependencyError, needing
from cellmix_dali.plugins import EpochClock

# What checks, the values that it takes, those that it refuses, and its words.
LIMITS: list[tuple[Callable[[Any], object], tuple[Any, ...], tuple[Any, ...], str]] = [
    (
        lambda v: integer("n", v, 2),
        (2, 3, np.int8(2)),
        (1, True, 2.0, "2"),
        "n=.*: it must be a whole number, 2 or more",
    ),
    (lambda v: integer("n", v, 0, 4), (0, 4, np.uint8(4)), (-1, 5, False), "n=.*: .* a whole number from 0 to 4"),
    (lambda v: integer("n", v, 0, 0), (0,), (1,), "from 0 to 0"),
    (
        lambda v: number("x", v, 0.5),
        (0.5, 1, 1e300),
        (0.4999, math.nan, math.inf, True, "1"),
        "a number 0.5 or more[.]",
    ),
    (lambda v: number("x", v, 0.5, above_low=True), (0.5001,), (0.5, 0.4), "a number above 0.5[.]"),
    (lambda v: number("x", v, 0, 2), (0, 2, np.float32(1)), (-1e-9, 2.0001), "a number 0 or more and at most 2[.]"),
    (lambda v: number("x", v, -math.inf), (-1e300, 0), (-math.inf, math.nan, 10**400), "a finite number"),
    (tile_shape, (1, [2, 1], (1, 2)), (0, (0, 1), (1, 0), (1,), (1, 1, 1), "11"), "tile_size"),
    (lambda v: fitting_patch_size("side", v, 8, 8), (1, 2, 4), (8, 3, 0, 16), "one of 1, 2, 4[.]|number, 1 or more"),
    (lambda v: fitting_patch_size("side", v, 8, 12), (1, 2, 4), (8, 3, 12), "8x12 pixels .*one of 1, 2, 4[.]"),
    (lambda v: fitting_patch_size("side", v, 8, 16), (8, 4), (16, 3), "one of 1, 2, 4, 8[.]"),
    (lambda v: fitting_patch_size("side", v, 1, 1), (), (1,), "none, so use a larger tile"),
    (mean_loss, (0, -1.5, np.float32(2)), (True, "1", b"1", None, [1, 2]), "is not one number"),
    (mean_loss, (1e308,), (math.nan, math.inf, -math.inf), "is not finite"),
]


@pytest.mark.parametrize(("call", "taken", "refused", "words"), LIMITS)
def test_arguments_at_their_limits(
    call: Callable[[Any], object], taken: tuple[Any, ...], refused: tuple[Any, ...], words: str
) -> None:
    for value in taken:
        call(value)
    for value in refused:
        with pytest.raises(ArgumentError, match=words):
            call(value)


def test_what_is_taken_comes_back_as_plain_numbers() -> None:
    assert type(integer("n", np.int16(3), 0)) is int
    assert type(number("x", np.float32(0.5), 0)) is float
    assert tile_shape(5) == (5, 5)
    assert tile_shape([3, 7]) == (3, 7)
    assert fitting_patch_size("side", np.int64(4), 8, 12) == 4
    assert mean_loss(np.float64(0.25)) == 0.25


def test_random_numbers_are_philoxs_under_the_key_and_the_counter_that_are_said() -> None:
    """Seed and stream are the key; iteration, epoch and rank the upper words of the counter, the lowest counts."""
    said = {"seed": 11, "stream": 5, "iteration": 7, "epoch": 2, "rank": 3}
    want = np.random.Philox(key=np.array([11, 5], np.uint64), counter=np.array([0, 7, 2, 3], np.uint64))
    np.testing.assert_array_equal(generator(**said).random(9), np.random.Generator(want).random(9))
    plain = np.random.Philox(key=np.array([11, 0], np.uint64), counter=np.zeros(4, np.uint64))
    np.testing.assert_array_equal(generator(11).random(9), np.random.Generator(plain).random(9))
    for name in said:
        generator(**said | {name: 2**64 - 1})
        generator(**said | {name: 0})
        for wrong in (-1, 2**64):
            with pytest.raises(ArgumentError, match=f"{name}={wrong} cannot key a random draw"):
                generator(**said | {name: wrong})


def test_ranks_are_what_is_given_or_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ranks_of(None, None) == (0, 1)
    assert ranks_of(2, 5) == (2, 5)
    monkeypatch.setenv("RANK", "3")
    assert ranks_of(None, None) == (0, 1)  # one of the two says nothing
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ranks_of(None, None) == (3, 4)
    assert ranks_of(0, 1) == (0, 1)
    monkeypatch.delenv("RANK")
    assert ranks_of(None, None) == (0, 1)
    monkeypatch.setenv("RANK", "three")
    with pytest.raises(ArgumentError, match="RANK='three' and WORLD_SIZE='4' are not both whole numbers"):
        ranks_of(None, None)
    with pytest.raises(ArgumentError, match="rank is given and world_size is not"):
        ranks_of(0, None)
    with pytest.raises(ArgumentError, match="world_size is given and rank is not"):
        ranks_of(None, 1)


def at(clock: EpochClock, epoch: int, iteration: int) -> tuple[int, int] | None:
    try:
        return clock.at(SimpleNamespace(epoch_idx=epoch, iteration=iteration))
    except StopIteration:
        return None


def test_the_clock_counts_from_where_it_starts_to_the_epochs_end() -> None:
    clock = EpochClock(3, epoch=4, iteration=2)
    assert [at(clock, 0, number) for number in range(2)] == [(4, 2), None]
    assert [at(clock, 1, number) for number in range(4)] == [(5, 0), (5, 1), (5, 2), None]
    clock.start(7)
    assert [at(clock, 0, 0), at(clock, 2, 2), at(clock, 2, 3)] == [(7, 0), (9, 2), None]
    clock.cut_short()
    assert at(clock, 0, 0) is None
    clock.cut_short(False)
    assert at(clock, 0, 0) == (7, 0)
    endless = EpochClock(None)
    assert at(endless, 1, 10**9) == (1, 10**9)
    endless.start(0, 10**9)


@pytest.mark.parametrize("start", [(-1, 0), (0, -1), (0, 4)])
def test_the_clock_refuses_what_lies_outside_an_epoch(start: tuple[int, int]) -> None:
    clock = EpochClock(3)
    clock.start(0, 3)  # after the last batch: the next one is of the next epoch
    with pytest.raises(ArgumentError, match="an epoch has 3 batches"):
        clock.start(*start)
    with pytest.raises(ArgumentError, match="epoch_size=0"):
        EpochClock(0)
    assert EpochClock(1).epoch_size == 1


def test_what_is_found_out_once_is_found_out_for_two_objects_at_the_same_time() -> None:
    """Neither waits for the other, as they do where a property's lock is that of the class (Python before 3.12)."""
    both = threading.Barrier(2)

    class Thing:
        asked = 0

        @cached_property
        def number(self) -> int:
            self.asked += 1
            both.wait(timeout=10)
            return self.asked

    things = [Thing(), Thing()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda thing: thing.number, things)) == [1, 1]
    assert [thing.number for thing in things] == [1, 1]
    assert Thing.number.__doc__ is None


def test_a_package_that_is_not_there_is_named_with_its_remedy() -> None:
    with pytest.raises(MissingDependencyError) as caught, needing("Reading needs x", "Install it: pip install x."):
        raise ImportError("No module named 'x'")
    assert str(caught.value) == (
        "Reading needs x, which cannot be imported here (No module named 'x'). Install it: pip install x."
    )
    with pytest.raises(MissingDependencyError), needing("Reading needs x", "Install it."):
        raise OSError("libx.so: cannot open shared object file")  # as ctypes says it
    with pytest.raises(OSError, match="Too many") as moment, needing("Reading needs x", "Install it."):
        raise OSError(errno.EMFILE, "Too many open files")
    assert not isinstance(moment.value, MissingDependencyError)
    with pytest.raises(KeyError), needing("Reading needs x", "Install it."):
        raise KeyError("x")
