"""From a DALI pipeline to PyTorch: what all loaders do, exact epochs and exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from torch import Tensor
from typing_extensions import Self

from cellmix_dali._arguments import integer
from cellmix_dali._plain import plain
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.jobs.asked import differences
from cellmix_dali.plugins import Source
from cellmix_dali.plugins.dali import Pipeline
from cellmix_dali.reading.faults import Fault
from cellmix_dali.slides.stream_kinds import DecoderRoute

from ._named_batch import named
from ._of_one_process import OfOneProcess
from .graph import GraphOptions, source_pipeline
from .timing import Stopwatch, Timing

if TYPE_CHECKING:
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

__all__ = ["Loader", "loader_over"]

SourceT = TypeVar("SourceT", bound=Source)


class Loader(OfOneProcess, Generic[SourceT]):
    """Iterates over a pipeline whose source ends its epochs itself, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes takes effect at the first batch of the next pass and in none before.
    A pass that is left early is over: the next one begins the next epoch, or, after a single batch (a mere look), the
    same epoch again. `state_dict` says where it was left. A pass that is overtaken by another one raises.

    Parameters
    ----------
    build : callable
        Defines the pipeline over `source`, whose outputs are ``source.outputs``; called again where a pipeline must be
        made anew.
    source : TileSource or ImageSource
        The pipeline's source.
    follows_group : bool, default False
        Whether the source's rank was not asked for, so that it must be that of the process group, if there is one.
    seen : mapping, optional
        What else changes the batches' tensors, such as the mean that is taken out: part of the state's settings.
    outputs : sequence of str, optional
        Names of the pipeline's outputs; by default the source's.
    """

    def __init__(
        self,
        build: Callable[[], Pipeline],
        source: SourceT,
        *,
        follows_group: bool = False,
        seen: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(source, follows_group)
        self.source = source
        self.pipeline: Pipeline | None = None
        self._build = build
        curriculum = None if source.plans is None else source.plans.curriculum
        self._curriculum: Any = curriculum if hasattr(curriculum, "state_dict") else None  # one that has a state
        self._seen = dict(seen or {})
        self._watch = Stopwatch()
        self._outputs = source.outputs if outputs is None else list(outputs)
        self._epoch = self._iteration = 0
        self._begun_at = 0  # the iteration at which the latest pass began
        # The pass under way, or the one that was left. One that is no longer this one raises when it is asked to go on.
        self._pass: object | None = None
        self._iterator: DALIGenericIterator | None = None  # None: to be made anew when a batch is asked for
        self._used = self._left = False
        self._make_iterator()  # what cannot work is refused now

    @property
    def batch_size(self) -> int:
        """Samples per batch."""
        return self.source.batch_size

    @property
    def faults(self) -> list[Fault]:
        """Samples that could not be read so far, each once."""
        return self.source.faults

    @property
    def routes(self) -> dict[str, DecoderRoute]:
        """Where each kind of blocks is decoded, why, and how far the GPU's decoder was from the CPU's."""
        return self.source.routes

    @property
    def epoch(self) -> int:
        """Number of the epoch that runs, or, where no loop is inside a pass, that the next pass will be."""
        return self._next_pass()[0] if self._left else self._place()[0]

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.source.order)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Go through one epoch, or, after `load_state_dict`, through the rest of one.

        A pass may be left at any batch; `state_dict` then says where. The next pass begins the next epoch, or, after a
        single batch (a mere look), the same epoch again, unless the curriculum was stepped since.

        Yields
        ------
        dict of str to Tensor
            One tensor per output; the batch is its first dimension.

        Raises
        ------
        CellMixDaliError
            If DALI cannot make a batch; says why, and names the tiles or files to blame, as far as it can be known.
            The pass is then over; the next one begins at that batch.
            If another pass has begun, or a state was loaded, while this pass was under way. If the process group has
            other ranks than the loader, which was made before it. If the curriculum was not stepped exactly once for
            every epoch before this one.
        """
        self._require_open()
        self._require_ranks()
        self._leave()
        self._require_curriculum()
        self.source.count_anew()
        self._begin()
        self._pass = mine = object()
        self._begun_at, self._left = self._iteration, False
        self._watch.start()
        try:
            while self._iteration < len(self):
                self._require_open()
                self._watch.asked()
                batch = self._next()
                self._watch.handed_over()
                self._iteration += 1
                yield batch
                self._require_under_way(mine)
            self._finish()
        finally:
            if self._pass is mine:
                self._left = True  # nothing more is done here: this may run when the interpreter ends

    def timing(self) -> Timing:
        """Return how long the latest pass waited for batches and how long it did something else, and what was read.

        Costs nothing to speak of, so it may be asked after every batch; `cellmix_dali.pipelines.timing` compares ranks.
        """
        return self._watch.read(ready=self.source.batches_ready, counts=dict(self.source.counts), rank=self._order.rank)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass; otherwise epochs count up by themselves.

        For trainers that count the epochs themselves, as PyTorch's ``DistributedSampler`` has it. Within that epoch
        nothing changes; otherwise a pass under way is over, and the next one begins the epoch at its first batch.
        """
        epoch = integer("epoch", epoch, low=0)
        self._require_process()
        if epoch == self.epoch:
            return
        if self._pass is not None and self._next_pass() == (epoch, 0):
            self._leave()
            return
        self._pass, self._left = None, False
        self._epoch, self._iteration = epoch, 0
        self._restart()

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Where Lightning looks for what counts the epochs (``batch_sampler.sampler.set_epoch``): the loader itself."""
        return SimpleNamespace(sampler=self)

    def state_dict(self) -> dict[str, Any]:
        """Return what a new loader needs to go on with exactly the batches that this one would make next.

        Small, of plain numbers, strings, lists and dicts: fit for JSON and for ``torch.load(weights_only=True)``.
        Within a pass, and after one that was left (by ``break``, ``return`` or an exception), the batch that was handed
        out last counts as done; after an epoch's last batch, the next epoch's first is the next. After an error, the
        batch that could not be made is the next.

        A state taken between an epoch's last batch and ``curriculum.step`` goes on only after that step: make it with
        the loader that has loaded the state, before the next pass, which is refused otherwise.
        """
        self._require_process()
        epoch, iteration = self._place()
        return {
            "epoch": epoch,
            "iteration": iteration,
            "settings": self._settings(),
            **self.source.state_dict(),
            "curriculum": None if self._curriculum is None else self._curriculum.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader that gave the state stood, and its curriculum; a pass under way is over.

        Raises
        ------
        ArgumentError
            If the state is of a loader that was set up otherwise; says what differs. The loader is then as it was.
        """
        theirs = state.get("settings") if isinstance(state, Mapping) else None
        if not isinstance(theirs, Mapping):
            raise ArgumentError(
                f"This is not a state of a loader: pass the dict that {type(self).__name__}.state_dict() returned."
            )
        differing = self._differing(theirs)
        if differing:
            raise ArgumentError(
                f"The state is of a loader that was set up otherwise, so batches would differ: {differing}."
            )
        epoch = integer("state['epoch']", state.get("epoch"), low=0)
        iteration = integer("state['iteration']", state.get("iteration"), low=0, high=len(self))
        if self._curriculum is not None:
            self._curriculum.load_state_dict(state["curriculum"])
        self._pass, self._left = None, False
        self._epoch, self._iteration = (epoch, iteration) if iteration < len(self) else (epoch + 1, 0)
        self.source.load_state_dict(state)
        self._restart()

    def close(self) -> None:
        """Let go the pipeline and what the source holds; a pass under way ends with an error."""
        self._closed = True
        self._iterator = self.pipeline = None
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_curriculum(self) -> None:
        """Refuse an epoch that the curriculum has not reached, or has left behind."""
        if self.source.plans is not None:
            self.source.plans.require_epoch(self._epoch)

    def _require_under_way(self, mine: object) -> None:
        """Refuse to end a pass as if it were complete."""
        if self._pass is not mine:
            raise ArgumentError(
                "This pass over the loader is no longer under way: another pass was begun, or a state loaded, before "
                f"all its {len(self)} batches were handed out. Use one loader for each loop that runs at the same time."
            )

    def _make_iterator(self) -> None:
        """Define the pipeline, and the iterator over it; no batch is fetched yet."""
        self.pipeline = self._build()
        from nvidia.dali.plugin.pytorch import (
            DALIGenericIterator,  # after `plugins.dali`, which says it if DALI is missing
        )

        self._iterator = DALIGenericIterator(
            [self.pipeline], self._outputs, size=-1, auto_reset=False, prepare_first_batch=False
        )
        self._used = False

    def _begin(self) -> None:
        """Have an iterator that stands before the batch that is the next."""
        if self._iterator is None:
            self._make_iterator()
        elif self._used:
            self._iterator.reset()
        self._used = True

    def _restart(self) -> None:
        """Go on from the present epoch and iteration, with a new pipeline if this one has been used."""
        self.source.forget()
        self.source.clock.start(self._epoch, self._iteration)
        if self._used:
            self._iterator = None

    def _next(self) -> dict[str, Tensor]:
        """One batch; or an error that names the samples to blame, after which the loader can go on at that batch."""
        while True:
            try:
                try:
                    return self._fetch()
                except CellMixDaliError:  # raised by the source
                    raise
                except RuntimeError as error:
                    self.source.mend(error, self._epoch, self._fetched())
            except CellMixDaliError:
                self._pass = None
                self._restart()  # DALI's pipeline is no longer valid
                raise
            self._restart()
            self._begin()

    def _fetch(self) -> dict[str, Tensor]:
        """Take the iterator's next batch."""
        assert self._iterator is not None
        batch: dict[str, Tensor] = next(self._iterator)[0]
        return named(batch)

    def _fetched(self) -> range:
        """Numbers of the batch that is the next, and of those that DALI has read ahead when it comes out."""
        assert self.pipeline is not None
        return range(self._iteration, min(len(self), self._iteration + self.pipeline.prefetch_queue_depth + 1))

    def _finish(self) -> None:
        """End a pass that gave all its batches: take the StopIteration, so that the iterator can be reset."""
        try:
            self._fetch()
        except StopIteration:
            self._pass = None
            self._epoch, self._iteration = self._epoch + 1, 0
        else:
            raise CellMixDaliError(f"The {type(self.source).__name__} gave more batches than an epoch has.")

    def _place(self) -> tuple[int, int]:
        """Epoch and iteration of the batch that is the next; after an epoch's last, the next epoch's first.

        So also when the curriculum was stepped after some batches, which says that they were the epoch.
        """
        over = self._iteration >= len(self) or (self._iteration > 0 and self._stepped())
        return (self._epoch + 1, 0) if over else (self._epoch, self._iteration)

    def _stepped(self) -> bool:
        """Whether the curriculum, if there is one, was stepped since the epoch began."""
        steps = None if self.source.plans is None else self.source.plans.curriculum_epoch
        return steps is not None and steps > self._epoch

    def _next_pass(self) -> tuple[int, int]:
        """Epoch and iteration at which the pass begins that follows one that was left."""
        looked = self._iteration - self._begun_at <= 1 and self._place()[0] == self._epoch
        return (self._epoch, self._begun_at) if looked else (self._epoch + 1, 0)

    def _leave(self) -> None:
        """Give up a pass that was left, or that is under way elsewhere: stand where the next one begins."""
        if self._pass is None:
            return
        place, again = self._next_pass(), self._iteration == self._begun_at
        moved = place[0] != self._epoch
        self._pass, self._left = None, False
        self._epoch, self._iteration = place
        if moved and not again:
            self._drop_fetched()
        else:
            self._restart()

    def _drop_fetched(self) -> None:
        """Empty the pipeline, and keep it: a new one costs more than the batches that are dropped."""
        if self._iterator is None:  # it could not be made anew
            self._restart()
            return
        self.source.clock.cut_short()
        try:
            while True:
                self._fetch()
        except StopIteration:
            self.source.forget()
        except RuntimeError:
            self._restart()  # a batch fetched ahead could not be made: it is not missed, but the pipeline is lost
        finally:
            self.source.clock.cut_short(False)

    def _settings(self) -> dict[str, Any]:
        """All that the batches depend on, as far as the loader knows it, but for the rank."""
        plans = self.source.plans
        settings: dict[str, Any] = {
            **self.source.settings(),
            **self._seen,
            "curriculum": None if self._curriculum is None else type(self._curriculum).__name__,
        }
        if plans is not None and self._curriculum is None:
            settings["patch_size"], settings["fix_ratio"] = plans.parameters()
        return cast("dict[str, Any]", plain(settings))

    def _differing(self, theirs: Mapping[str, Any]) -> str:
        """Say which settings of another loader differ from this one's."""
        mine, digests = self._settings(), self.source.digests
        told = differences(*({name: of[name] for name in of if name not in digests} for of in (theirs, mine)))
        return "; ".join(told or [digests[name] for name in digests if theirs.get(name) != mine.get(name)])


def loader_over(source: SourceT, options: GraphOptions, *, follows_group: bool = False) -> Loader[SourceT]:
    """Make the loader over a source's pipeline, which mixes (where plans are drawn) and normalises.

    Parameters
    ----------
    source : TileSource or ImageSource
        The source.
    options : GraphOptions
        Of the graph.
    follows_group : bool, default False
        See `Loader`.

    Returns
    -------
    Loader
    """
    return Loader(partial(source_pipeline, source, options), source, follows_group=follows_group, seen=options.seen())
