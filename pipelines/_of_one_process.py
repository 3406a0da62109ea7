"""What a loader belongs to: the process that made it, and its rank."""

from __future__ import annotations

import os
from typing import NoReturn

from cellmix_dali._ranks import group_ranks
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import Source

__all__ = ["OfOneProcess"]


class OfOneProcess:
    """A loader whose threads, files and rank are those of the process that made it: others are refused in words."""

    def __init__(self, source: Source, follows_group: bool) -> None:
        self._process = os.getpid()
        self._closed = False
        self._order, self._follows_group = source.order, follows_group

    def __reduce__(self) -> NoReturn:
        raise ArgumentError(
            f"A {type(self).__name__} cannot be pickled or copied: DALI's pipeline and the reading threads belong to "
            "this process. Make the loader in the process that uses it; state_dict() is what can be carried over."
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ArgumentError("This loader is closed: make a new one.")
        self._require_process()

    def _require_process(self) -> None:
        """Refuse to go on in a fork: threads do not survive one, and the loader would wait for them for ever."""
        if os.getpid() != self._process:
            raise ArgumentError(
                f"This {type(self).__name__} was made in process {self._process} and carried through a fork into "
                f"process {os.getpid()}, where DALI's threads are missing. Make the loader in the process that uses "
                "it: after the fork, with strategy='ddp' in place of 'ddp_fork', and not inside a DataLoader's worker."
            )

    def _require_ranks(self) -> None:
        """Refuse to deliver the same batches to all ranks of a process group that began after the loader was made."""
        group, order = group_ranks(), self._order
        if self._follows_group and group is not None and group != (order.rank, order.world_size):
            raise ArgumentError(
                f"This loader was made as rank {order.rank} of {order.world_size}, before the process group, in which "
                f"this process is rank {group[0]} of {group[1]}. Make it when the group is there (in Lightning, in "
                "train_dataloader() or setup()), or give rank and world_size."
            )
