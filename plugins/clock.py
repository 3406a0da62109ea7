"""The epoch clock: a batch source that ends its epochs itself."""

from __future__ import annotations

from typing import Protocol

from cellmix_dali.errors import ArgumentError

__all__ = ["BatchPosition", "DrawClock", "EpochClock"]


class BatchPosition(Protocol):
    """What the clock reads of `nvidia.dali.types.BatchInfo`."""

    epoch_idx: int
    iteration: int


class DrawClock(Protocol):
    """What draws read of a clock."""

    def at(self, info: BatchPosition) -> tuple[int, int]:
        """Return (epoch, iteration) of a batch."""
        ...


class EpochClock:
    """Turns DALI's batch numbers into (epoch, iteration) and ends the epoch after its last batch.

    A source that raises `StopIteration` at the epoch's end keeps DALI from fetching batches of the next epoch ahead:
    whatever is changed between two epochs (a curriculum) takes effect at the first batch of the next. A clock has
    no state that a batch changes, so a pipeline restored at (epoch, iteration) goes on just there.

    Parameters
    ----------
    epoch_size : int or None
        Batches in an epoch; None: the epoch never ends by this clock (a DALI reader may end it).
    epoch, iteration : int, default 0
        Where to start.

    Raises
    ------
    ArgumentError
        If an epoch holds no batch, or the start lies outside it.
    """

    def __init__(self, epoch_size: int | None, *, epoch: int = 0, iteration: int = 0) -> None:
        if epoch_size is not None and epoch_size < 1:
            raise ArgumentError(
                f"epoch_size={epoch_size}: an epoch needs at least one batch. Use more tiles or a smaller batch."
            )
        self.epoch_size = epoch_size
        self._cut_short = False
        self.start(epoch, iteration)

    def start(self, epoch: int, iteration: int = 0) -> None:
        """Set where a pipeline that is built next begins."""
        if epoch < 0 or iteration < 0 or (self.epoch_size is not None and iteration > self.epoch_size):
            raise ArgumentError(
                f"Cannot start at epoch {epoch}, iteration {iteration}: an epoch has {self.epoch_size} batches."
            )
        self._epoch, self._iteration = epoch, iteration

    def cut_short(self, cut: bool = True) -> None:
        """Make the epoch end before its next batch, or (False) let epochs run in full again."""
        self._cut_short = cut

    def at(self, info: BatchPosition) -> tuple[int, int]:
        """Return (epoch, iteration) of a batch.

        Raises
        ------
        StopIteration
            At the epoch's end.
        """
        iteration = info.iteration + (self._iteration if info.epoch_idx == 0 else 0)
        if self._cut_short or (self.epoch_size is not None and iteration >= self.epoch_size):
            raise StopIteration
        return self._epoch + info.epoch_idx, iteration
