"""Contestants timed alternately: every round runs each of them once, so that a busy moment hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Contestant", "Series", "alternate", "quotients", "rounds_of"]


@dataclass
class Contestant:
    """Something that hands out tiles.

    Attributes
    ----------
    name : str
        As in the table.
    run : callable
        Makes one pass and returns its number of tiles.
    close : callable
        Lets go of threads, processes and files.
    """

    name: str
    run: Callable[[], int]
    close: Callable[[], None] = lambda: None


@dataclass
class Series:
    """One contestant's figures, a round each.

    Attributes
    ----------
    tiles_per_s : list of float
        By the clock.
    cpu_us_per_tile : list of float
        Processor time of this process, all threads: what others do at the same time disturbs it least. Worker
        processes are not in it.
    """

    tiles_per_s: list[float] = field(default_factory=list)
    cpu_us_per_tile: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.tiles_per_s)

    def as_dict(self) -> dict[str, Any]:
        return {
            "median_tiles_per_s": round(self.median, 1),
            "tiles_per_s": [round(value, 1) for value in self.tiles_per_s],
            "cpu_us_per_tile": [round(value, 1) for value in self.cpu_us_per_tile],
        }


def alternate(contestants: Sequence[Contestant], rounds: int) -> dict[str, Series]:
    """Run all once to warm up, then `rounds` times in turn, every second round backwards; close them."""
    series = {each.name: Series() for each in contestants}
    try:
        for each in contestants:
            each.run()
        for number in range(rounds):
            for each in contestants if number % 2 == 0 else reversed(contestants):
                wall, cpu = time.perf_counter(), time.process_time()
                tiles = each.run()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                series[each.name].tiles_per_s.append(tiles / wall)
                series[each.name].cpu_us_per_tile.append(cpu / tiles * 1e6)
    finally:
        for each in contestants:
            each.close()
    return series


def rounds_of(series: dict[str, Series], over: str, under: str) -> list[float]:
    """Return each round's ratio of two contestants; nothing if one of them did not run."""
    if over not in series or under not in series:
        return []
    return quotients(series[over].tiles_per_s, series[under].tiles_per_s)


def quotients(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return one figure over another, round by round."""
    return [round(a / b, 4) for a, b in zip(over, under, strict=True)]
