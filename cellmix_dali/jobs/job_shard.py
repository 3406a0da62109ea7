"""A part of a job's slides, for one of many processes on many hosts that share a file system: an array of Slurm's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .._arguments import integer
from ..errors import ArgumentError

__all__ = ["JOURNALS", "JobShard", "shard_journals"]

#: Folder of the job in which each of its shards has a folder of its own, until the whole is put together.
JOURNALS = "journals"
_MOST = 100_000
_Slide = TypeVar("_Slide")


@dataclass(frozen=True)
class JobShard:
    """A part of a job: of 64, the third has the slides 3, 67, 131 and so on.

    Attributes
    ----------
    number : int
        From 1 to `of`.
    of : int
        How many shards there are.

    Raises
    ------
    ArgumentError
        If there is no such shard.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        integer("The number of shards", self.of, low=1, high=_MOST)
        integer("The number of a shard", self.number, low=1, high=self.of)

    @classmethod
    def read(cls, text: str) -> JobShard:
        """Read "3/64": the third of 64.

        Raises
        ------
        ArgumentError
            If it says something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None:
            raise ArgumentError(f"shard={text!r} is not a shard: give its number and how many there are, such as 3/64.")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """Its name among files: "3-of-64"."""
        return f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def slides(self, slides: Sequence[_Slide]) -> Sequence[_Slide]:
        """Return its slides; none where there are more shards than slides."""
        return slides[self.number - 1 :: self.of]

    def folder(self, job: Path) -> Path:
        """Return its folder within a job's."""
        return job / JOURNALS / self.name


def shard_journals(job: Path, name: str) -> Iterator[Path]:
    """Yield the journals of a job's shards, in order."""
    yield from sorted(job.glob(f"{JOURNALS}/*-of-*/{name}"))
