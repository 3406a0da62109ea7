"""Where a loop's time goes: waiting for the loader, or computing; told by any loader, compared among ranks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch.distributed as dist

from cellmix_dali._ranks import group_ranks

__all__ = ["Stopwatch", "Timing", "timings_of_ranks"]


@dataclass(frozen=True)
class Timing:
    """What a loader has measured since its pass began; see docs/timing.md.

    Attributes
    ----------
    batches : int
        Handed over so far.
    wait : float
        Seconds in which the loop waited for a batch, all but the first: that one waits for the pipeline to fill.
    first : float
        Seconds until the first batch was there.
    compute : float
        Seconds between batches in which the loop did something else.
    longest : float
        The longest wait for a batch, but the first, in seconds.
    ready : float or None
        How many batches were read ahead and ready, on average, when DALI asked for one: near 0 the reading is what is
        waited for. None for sources that read nothing ahead.
    counts : dict of str to int
        What was read: "bytes" and "blocks", each block once per batch; "shared", how often a tile took a block that
        another one of its batch had read already; and tiles by the way they were read, "direct", "openslide", "shard".
    rank : int
        Whose it is.
    """

    batches: int
    wait: float
    first: float
    compute: float
    longest: float
    ready: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rank: int = 0

    @property
    def waiting(self) -> float:
        """The share of the time, but for the first batch, that was spent waiting: 0 to 1."""
        whole = self.wait + self.compute
        return self.wait / whole if whole > 0 else 0.0

    def __str__(self) -> str:
        """Return a line for a person."""
        told = f"{self.batches} batches: waited {self.wait:.1f} s ({self.waiting:.0%}), computed {self.compute:.1f} s"
        if self.ready is not None:
            told += f", {self.ready:.1f} batches ready"
        if "blocks" in self.counts:
            blocks, shared = self.counts["blocks"], self.counts.get("shared", 0)
            told += f", {self.counts['bytes'] / 1e6:.1f} MB in {blocks} blocks, {shared} shared"
        return told


class Stopwatch:
    """Measures a loop over a loader."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin a pass."""
        self.batches = 0
        self._wait = self._first = self._compute = self._longest = 0.0
        self._mark: float | None = None

    def asked(self) -> None:
        """Note that a batch is asked for."""
        now = time.perf_counter()
        if self.batches and self._mark is not None:
            self._compute += now - self._mark
        self._mark = now

    def handed_over(self) -> None:
        """Note that it is there."""
        now = time.perf_counter()
        waited = 0.0 if self._mark is None else now - self._mark
        if self.batches:
            self._wait, self._longest = self._wait + waited, max(self._longest, waited)
        else:
            self._first = waited
        self.batches, self._mark = self.batches + 1, now

    def read(self, *, ready: float | None, counts: dict[str, int], rank: int) -> Timing:
        """Return what was measured, with what the source says."""
        times = self._wait, self._first, self._compute, self._longest
        return Timing(self.batches, *times, ready=ready, counts=counts, rank=rank)


def timings_of_ranks(timing: Timing) -> list[Timing]:
    """Return the timings of all ranks of the process group, in their order; every rank must call it.

    A step waits for the slowest rank: the one that waits for its own loader the most holds up all others, whose waiting
    shows in their `compute`. Without a process group there is this one alone.
    """
    group = group_ranks()
    if group is None:
        return [timing]
    found: list[Timing | None] = [None] * group[1]
    dist.all_gather_object(found, timing)
    return [each for each in found if each is not None]
