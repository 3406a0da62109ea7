"""How the curricula acted: what changed, when, in how many batches; and what the authors' schedulers would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..curriculum import patch_scheduler, ratio_scheduler
from ..curriculum.curriculum import LOSS_DRIVEN
from .arms import Arm
from .records import RunRecord

__all__ = ["QUANTITIES", "Acting", "Change", "Replay", "how_curricula_acted", "replay_authors"]

#: What a curriculum sets, as the epochs' entries name it.
QUANTITIES = ("patch_size", "fix_ratio", "threshold")

_AUTHORS_BATCH = 8  # the authors' T = 4.0 is a sum over so many samples
_TOKEN, _BASIC_RATIO = 16, 0.5  # those of our trainings and of the authors' best runs
_LEAST_LOSS = 1e-6  # for losses that were rounded to 0, which stands for "none known" in the authors' code


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one quantity of a curriculum changed; means are over runs.

    Attributes
    ----------
    epochs : float
        Epochs that had another value than the epoch before, as a mean.
    batches : int
        Batches in those epochs, of all runs together.
    start, end : float
        Value of the first and of the last epoch, as means.
    low, high : float
        Least and greatest value of any run.
    runs : int
        Runs in which it changed at all.
    first_epoch : float or None
        The first epoch with another value than the one before, counted from 0, as a mean over those runs.
    """

    epochs: float
    batches: int
    start: float
    end: float
    low: float
    high: float
    runs: int
    first_epoch: float | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the authors' schedulers would have done in the same batches.

    Attributes
    ----------
    batches : int
        How many there were.
    by_batch_loss : int
        Batches with another patch size or ratio than the schedulers' plan for the epoch, the schedulers being called
        with each batch's own training loss.
    by_validation_loss : int or None
        The same, called with the validation loss as it stood, as the authors' script does; None where it is not known.
    """

    batches: int
    by_batch_loss: int
    by_validation_loss: int | None


@dataclass(frozen=True, kw_only=True)
class Acting:
    """How the curriculum of an arm acted.

    Attributes
    ----------
    arm, curriculum : str
        Which.
    loss_driven : tuple of str
        Of "patch_size" and "fix_ratio" those that follow the loss.
    runs, epochs, batches : int
        Runs, epochs of one run, and batches of all runs together.
    changes : mapping of str to Change
        By `QUANTITIES`.
    moved : int or None
        Batches with another patch size or ratio than at the start, of those that follow the loss; None if none does.
    authors : Replay or None
        The authors' schedulers on the same losses; None if nothing follows the loss.
    """

    arm: str
    curriculum: str
    loss_driven: tuple[str, ...]
    runs: int
    epochs: int
    batches: int
    changes: Mapping[str, Change]
    moved: int | None
    authors: Replay | None


def how_curricula_acted(runs: Sequence[RunRecord], image_size: int) -> list[Acting]:
    """Tell of every arm with a curriculum how it acted.

    Parameters
    ----------
    runs : sequence of RunRecord
        Those that count, see `choose`.
    image_size : int
        Side of the images in pixels.

    Returns
    -------
    list of Acting
        In the order of the arms' first run.
    """
    arms: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.curriculum is not None:
            arms.setdefault(run.arm, []).append(run)
    return [_acting(arm, of, image_size) for arm, of in arms.items()]


def replay_authors(run: RunRecord, image_size: int) -> Replay:
    """Call the authors' schedulers in every batch of a run, and count where they deviate from their plan.

    As their script: once per batch, no warm-up, basic ratio 0.5, and a loss that is summed over 8 samples against T, 8
    times the threshold that the run started with (4.0 for 0.5 per sample). T shrinks with every call below it. Their
    plan is what the schedulers return without a loss, which changes with the epoch alone.

    Parameters
    ----------
    run : RunRecord
        Of an arm whose curriculum follows the loss.
    image_size : int
        Side of the images in pixels.

    Returns
    -------
    Replay
        Only quantities that follow the loss in this arm count.
    """
    known: list[float | None] = [0.0, *(entry.get("validation_loss") for entry in run.epochs[:-1])]
    by_validation = None
    if all(loss is not None for loss in known):
        losses = [[loss or 0.0] * len(each) for loss, each in zip(known, run.batch_losses, strict=True)]
        by_validation = _leaned(run, losses, image_size)
    own = [[max(loss, _LEAST_LOSS) for loss in each] for each in run.batch_losses]
    return Replay(
        batches=sum(map(len, own)), by_batch_loss=_leaned(run, own, image_size), by_validation_loss=by_validation
    )


def _leaned(run: RunRecord, losses: Sequence[Sequence[float]], image_size: int) -> int:
    """Count the batches whose patch size or ratio is not the plan's, given a loss per sample for every batch."""
    patch_strategy, ratio_strategy = _arm(run).strategies
    threshold = _AUTHORS_BATCH * run.epochs[0]["threshold"]
    epochs = len(run.epochs)
    patch = ratio = None
    if patch_strategy in LOSS_DRIVEN:
        patch = patch_scheduler(epochs, 0, image_size, _TOKEN, patch_strategy, threshold)
    if ratio_strategy in LOSS_DRIVEN:
        ratio = ratio_scheduler(epochs, 0, _BASIC_RATIO, ratio_strategy, threshold)
    count = 0
    for epoch, each in enumerate(losses):
        # Without a loss a call returns the plan and changes nothing.
        plans = [scheduler(epoch) for scheduler in (patch, ratio) if scheduler is not None]
        for loss in each:
            summed = _AUTHORS_BATCH * loss
            count += [scheduler(epoch, summed) for scheduler in (patch, ratio) if scheduler is not None] != plans
    return count


def _arm(run: RunRecord) -> Arm:
    return Arm(run.arm, run.method, run.curriculum, run.augment)


def _acting(arm: str, runs: Sequence[RunRecord], image_size: int) -> Acting:
    driven = tuple(name for name, of in zip(QUANTITIES, _arm(runs[0]).strategies, strict=False) if of in LOSS_DRIVEN)
    moved = authors = None
    if driven:
        moved = sum(
            len(losses)
            for run in runs
            for entry, losses in zip(run.epochs, run.batch_losses, strict=True)
            if any(entry[name] != run.epochs[0][name] for name in driven)
        )
        replays = [replay_authors(run, image_size) for run in runs]
        by_validation = [replay.by_validation_loss for replay in replays]
        authors = Replay(
            batches=sum(replay.batches for replay in replays),
            by_batch_loss=sum(replay.by_batch_loss for replay in replays),
            by_validation_loss=None if None in by_validation else sum(count or 0 for count in by_validation),
        )
    return Acting(
        arm=arm,
        curriculum=runs[0].curriculum or "",
        loss_driven=driven,
        runs=len(runs),
        epochs=len(runs[0].epochs),
        batches=sum(len(losses) for run in runs for losses in run.batch_losses),
        changes={name: _change(runs, name) for name in QUANTITIES},
        moved=moved,
        authors=authors,
    )


def _change(runs: Sequence[RunRecord], name: str) -> Change:
    values = [[entry[name] for entry in run.epochs] for run in runs]
    # By run, the epochs that differ from the one before.
    changed = [[epoch for epoch in range(1, len(each)) if each[epoch] != each[epoch - 1]] for each in values]
    firsts = [epochs[0] for epochs in changed if epochs]
    return Change(
        epochs=_mean([len(epochs) for epochs in changed]),
        batches=sum(len(run.batch_losses[at]) for run, epochs in zip(runs, changed, strict=True) for at in epochs),
        start=_mean([each[0] for each in values]),
        end=_mean([each[-1] for each in values]),
        low=min(map(min, values)),
        high=max(map(max, values)),
        runs=len(firsts),
        first_epoch=_mean(firsts) if firsts else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
