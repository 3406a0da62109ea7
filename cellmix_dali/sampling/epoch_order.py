"""Which samples make which batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import integer
from ..errors import ArgumentError, unknown_name
from ._balance import Balanced
from ._shuffles import InOrder, Rows, ShuffledBlocks, ShuffledRows

__all__ = ["EpochOrder"]

_RUNS_A_WINDOW = 8  # at least so many runs are mixed by default, however small the batch


class EpochOrder:
    """Which samples make which batch.

    A pure function: the same seed, epoch, iteration, rank and world size give the same batch in any process, whatever
    was asked before. No array is as long as the table, so that 100 million tiles start as fast as a hundred.

    Parameters
    ----------
    size : int
        Number of samples.
    batch_size : int
        Samples per batch and rank.
    shuffle : bool or "blocks", default True
        True: all rows in a new random order every epoch. False: the table's order. "blocks": a new random order that
        keeps neighbours together, see the notes.
    drop_last : bool, default True
        Leave out what is left over at the end, so that all ranks make equally many full batches; other samples every
        epoch, unless `shuffle` is False. False: every sample comes, the last batch is short, and a rank may have one
        batch less than another.
    seed : int, default 0
        Key of the order.
    rank, world_size : int, default 0 and 1
        This process among those that share the epoch; ranks take turns, batch by batch.
    balance : integer array (size,), optional
        A number for each row, its class or its slide: rows are drawn so that all numbers come equally often, see the
        notes. Every number is a group of its own, whatever its value. Needs ``shuffle=True``.
    block_rows : int, default 8
        Of ``shuffle="blocks"``: rows in a run of neighbours. A run of n tiles that do not lie on the file's block grid
        touches 2 (n + 1) blocks, one by one they touch 4 n: 2.25 blocks per tile with 8, and 2 with endless runs.
    window_rows : int, optional
        Of ``shuffle="blocks"``: positions that are shuffled among each other; by default the fewest whole batches that
        hold 8 runs. Larger windows mix more and spread a run over more batches.

    Raises
    ------
    ArgumentError
        If there are fewer samples than one batch needs, or the arguments do not fit together.

    Notes
    -----
    **Ranks.** An epoch is one sequence of rows, the same for all ranks; iteration i takes the next
    ``world_size * batch_size`` of them and gives each rank its share. So ranks never share a row of the sequence, and 2
    ranks with batches of 32 see in iteration i what 4 ranks with batches of 16 see (with "blocks": if `window_rows` is
    given, whose default depends on the batch size).

    **Blocks.** For tables in reading order, slide by slide and row by row of tiles, where neighbouring rows share
    blocks of the slide file. The table is cut into runs of `block_rows` rows, beginning at another row every epoch;
    the runs are permuted; and the rows within each window of `window_rows` positions are shuffled among each other,
    so that a batch mixes whole runs from ``batch_size / block_rows`` places of the table (where `block_rows` does not
    divide the window, the runs at its ends are cut in two). Every row comes once per epoch.

    **Balance.** An epoch is as long as without balance. Its positions go in rounds: each round holds every group once,
    in a new random order. So over the whole epoch the groups' counts differ by at most one, within a batch by at most
    two. Within a group the rows come in a random order, each once, and then again in a new one: a group with fewer
    rows than its share repeats its rows (their counts differ by at most one), a larger one shows a part of its rows,
    another one every epoch, and none twice. In memory lie 8 bytes (16 from 2**31 rows) for each run of neighbouring
    rows of one group.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool | str = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        balance: ArrayLike | None = None,
        block_rows: int = 8,
        window_rows: int | None = None,
    ) -> None:
        batch_size = integer("batch_size", batch_size, low=1)
        world_size = integer("world_size", world_size, low=1)
        rank = integer("rank", rank, low=0, high=world_size - 1)
        seed = integer("seed", seed, low=0, high=2**64 - 1)
        if not isinstance(shuffle, bool | np.bool_) and shuffle != "blocks":
            raise unknown_name("shuffle", shuffle, ("blocks", "True", "False"))
        self.size, self.batch_size = size, batch_size
        self.shuffle = shuffle if isinstance(shuffle, str) else bool(shuffle)
        self.drop_last, self.seed = bool(drop_last), seed
        self.rank, self.world_size = rank, world_size
        if len(self) < 1:
            raise ArgumentError(
                f"{size} tiles do not fill one batch of {batch_size} for each of {world_size} process(es): "
                "use more tiles or a smaller batch_size."
            )
        self._rows: Rows
        if balance is not None:
            if isinstance(shuffle, str) or not shuffle:
                raise ArgumentError(f"A balanced order is drawn at random: use shuffle=True, not {shuffle!r}.")
            self._rows = Balanced(balance, size, seed)
        elif isinstance(shuffle, str):
            self._rows = ShuffledBlocks(size, seed, block_rows, self._window(block_rows, window_rows))
        else:
            self._rows = ShuffledRows(size, seed) if shuffle else InOrder()

    def __len__(self) -> int:
        """Batches per epoch on this rank."""
        if self.drop_last:
            return self.size // (self.batch_size * self.world_size)
        mine = self.size - self.rank * self.batch_size
        return max(0, -(-mine // (self.batch_size * self.world_size)))

    def batch(self, epoch: int, iteration: int) -> NDArray[np.int64]:
        """Return the sample numbers of one batch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        iteration : int
            Number of the batch, from 0 to ``len(self) - 1``.

        Returns
        -------
        int64 array (batch,)

        Raises
        ------
        ArgumentError
            If there is no such epoch or batch.
        """
        if epoch < 0 or not 0 <= iteration < len(self):
            raise ArgumentError(
                f"There is no batch {iteration} of epoch {epoch}: both count from 0, an epoch has {len(self)} batches."
            )
        first = (iteration * self.world_size + self.rank) * self.batch_size
        return self._at(first, self.batch_size, epoch)

    def of_all_ranks(self, epoch: int, iteration: int) -> NDArray[np.int64]:
        """Return the sample numbers of one iteration on all ranks, one rank after the other; the same on every rank."""
        count = self.world_size * self.batch_size
        return self._at(iteration * count, count, epoch)

    def _at(self, first: int, count: int, epoch: int) -> NDArray[np.int64]:
        """Sample numbers at some positions of an epoch's sequence."""
        return self._rows(np.arange(first, min(first + count, self.size), dtype=np.int64), epoch)

    def _window(self, block_rows: int, window_rows: int | None) -> int:
        """Positions in a window of the shuffle by blocks."""
        if block_rows < 1 or (window_rows is not None and window_rows < 1):
            raise ArgumentError(f"block_rows={block_rows}, window_rows={window_rows}: both are at least 1 row.")
        batches = -(-_RUNS_A_WINDOW * block_rows // self.batch_size)
        return batches * self.batch_size if window_rows is None else window_rows
