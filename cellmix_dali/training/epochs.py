"""The epochs of a training: train, tell the curriculum, validate; stopped after any batch, they go on from there."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..curriculum import Curriculum
from ..errors import ArgumentError, StoppedError
from ..losses import SoftTargetCrossEntropy
from ..pipelines import Loader
from ..pipelines.timing import Timing
from .loop import on_device

__all__ = ["Entry", "Epochs", "Listener", "Optimisation", "Restart"]

#: An epoch's figures by name, its number (from 1) among them, and what the curriculum said, where there is one.
Entry: TypeAlias = "dict[str, Any]"
_ADVICE = "Lower --learning-rate."


@dataclass(frozen=True)
class Optimisation:
    """What changes a model.

    Attributes
    ----------
    model, optimizer, schedule
        As usual; the schedule goes a step per batch.
    device : torch.device
        Where the model is.
    scaler : torch.amp.GradScaler, optional
        Turns on automatic mixed precision.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    device: torch.device
    scaler: torch.amp.GradScaler | None = None

    def step(self, batch: Mapping[str, Tensor], criterion: nn.Module) -> float:
        """Learn from a batch; give its mean loss per sample."""
        with torch.autocast(self.device.type, enabled=self.scaler is not None):
            logits = self.model(on_device(batch, self.device))
        loss = criterion(logits.float(), batch["labels"].to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.schedule.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts, and of PyTorch's random numbers, by which models drop out."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])


@dataclass(frozen=True)
class Listener:
    """Who is told of a training.

    Attributes
    ----------
    on_batch : callable
        Called after every batch with what is known of the epoch, samples per second and the mean loss so far.
    on_epoch : callable
        Called with every epoch's figures.
    on_timing : callable
        Called after every epoch with where its time went.
    """

    on_batch: Callable[[Entry, float, float], None] = lambda *_: None
    on_epoch: Callable[[Entry], None] = lambda _: None
    on_timing: Callable[[Timing], None] = lambda _: None


@dataclass(frozen=True)
class Restart:
    """How a training is kept, so that it can go on.

    Attributes
    ----------
    save : callable
        Given the state after every epoch, and where the training is stopped.
    signal : callable
        Asked after every batch: the number of a signal that asks for the training's end, or None.
    path : Path
        Where the state goes, for the message.
    """

    save: Callable[[Mapping[str, Any]], None]
    signal: Callable[[], int | None]
    path: Path


class Epochs:
    """The epochs of a training.

    Parameters
    ----------
    count : int
        Epochs.
    optimisation : Optimisation
        The model, and what changes it.
    loader : Loader
        Of the training, with soft labels; keeps the curriculum's state with its own.
    curriculum : Curriculum, optional
        Stepped after every epoch's last batch.
    validate : callable, optional
        Gives figures of the held-out images, "loss" among them, after every epoch.
    goodness : callable, optional
        What makes an epoch's figures the best: the model of the greatest is kept. By default that of the last one.

    Attributes
    ----------
    entries : list of dict
        Figures of every finished epoch; None is one that cannot be known.
    batch_losses : list of list of float
        Training loss per sample of every batch, by finished epoch.
    best : int
        The epoch whose model is kept, counted from 1.
    """

    def __init__(
        self,
        count: int,
        optimisation: Optimisation,
        loader: Loader[Any],
        *,
        curriculum: Curriculum | None = None,
        validate: Callable[[], Mapping[str, float | None]] | None = None,
        goodness: Callable[[Entry], Any] | None = None,
    ) -> None:
        self.count, self.optimisation, self.loader = count, optimisation, loader
        self.entries: list[Entry] = []
        self.batch_losses: list[list[float]] = []
        self.best = count
        self._curriculum, self._validate, self._goodness = curriculum, validate, goodness
        self._criterion = SoftTargetCrossEntropy()
        self._kept: dict[str, Tensor] | None = None
        # Of the epoch under way: what is known of it, its batches' losses, the sum of its samples' and their number.
        self._entry: Entry | None = None
        self._losses: list[float] = []
        self._total, self._samples = 0.0, 0

    def run(self, listener: Listener, restart: Restart | None = None) -> None:
        """Train to the end; leave the model as it was in the epoch that is kept.

        Raises
        ------
        ArgumentError
            If the training diverges.
        StoppedError
            After a signal, when the state has been saved.
        """
        for epoch in range(len(self.entries) + 1, self.count + 1):
            entry = self._entry = self._begun(epoch) if self._entry is None else self._entry
            self._train(entry, listener, restart)
            if self._validate is not None:
                figures = dict(self._validate())
                entry |= {"validation_loss": figures.pop("loss")} | figures
            self._finish(entry)
            listener.on_epoch(entry)
            listener.on_timing(self.loader.timing())
            if restart is not None:
                restart.save(self.state_dict())
                self._stop_if_asked(restart, saved=True)
        if self._kept is not None:
            self.optimisation.model.load_state_dict(self._kept)

    def _begun(self, epoch: int) -> Entry:
        """What is known of an epoch beforehand."""
        entry: Entry = {"epoch": epoch, "learning_rate": float(self.optimisation.schedule.get_last_lr()[0])}
        if self._curriculum is not None:
            entry["patch_size"] = self._curriculum.patch_size
            entry["fix_ratio"] = self._curriculum.fix_ratio
            entry["threshold"] = self._curriculum.threshold
            if self._curriculum.drives_augmentations:
                entry["augment_strength"] = self._curriculum.augment_strength
        self._losses, self._total, self._samples = [], 0.0, 0
        return entry

    def _train(self, entry: Entry, listener: Listener, restart: Restart | None) -> None:
        """Make what is left of a pass over the training samples; then step the curriculum."""
        self.optimisation.model.train()
        seen, began = 0, time.perf_counter()
        for batch in self.loader:
            loss, samples = self.optimisation.step(batch, self._criterion), len(batch["images"])
            self._losses.append(loss)
            self._total, self._samples, seen = self._total + loss * samples, self._samples + samples, seen + samples
            listener.on_batch(entry, seen / (time.perf_counter() - began), self._total / self._samples)
            if restart is not None and len(self._losses) < len(self.loader):
                self._stop_if_asked(restart, saved=False)
        mean = self._total / self._samples
        if not math.isfinite(mean):
            raise ArgumentError(f"The loss of epoch {entry['epoch']} is not a number: the training diverged. {_ADVICE}")
        entry |= {"train_loss": mean, "samples_per_second": round(seen / (time.perf_counter() - began), 1)}
        if self._curriculum is not None:
            self._curriculum.step(mean)

    def _stop_if_asked(self, restart: Restart, *, saved: bool) -> None:
        """End the training after a signal, its state saved."""
        number = restart.signal()
        if number is None:
            return
        if not saved:
            restart.save(self.state_dict())
        raise StoppedError(number, restart.path)

    def _finish(self, entry: Entry) -> None:
        """Put an epoch to the finished ones; keep its model, if it is the best."""
        self.entries.append(entry)
        self.batch_losses.append(self._losses)
        if self._goodness is not None and entry is max(self.entries, key=self._goodness):
            self.best, self._kept = int(entry["epoch"]), copy.deepcopy(self.optimisation.model.state_dict())
        self._entry = None

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest depends on."""
        return {
            **self.optimisation.state_dict(),
            "loader": self.loader.state_dict(),
            "entries": self.entries,
            "batch_losses": self.batch_losses,
            "best": self.best,
            "kept": self._kept,
            "entry": self._entry,
            "losses": self._losses,
            "total": self._total,
            "samples": self._samples,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the training stood that gave the state."""
        self.optimisation.load_state_dict(state)
        self.loader.load_state_dict(state["loader"])
        self.entries, self.batch_losses = list(state["entries"]), list(state["batch_losses"])
        self.best, self._kept, self._entry = state["best"], state["kept"], state["entry"]
        self._losses, self._total, self._samples = list(state["losses"]), state["total"], state["samples"]

    @property
    def batches_done(self) -> int:
        """Batches that were trained on so far, in all epochs."""
        return sum(map(len, self.batch_losses)) + (0 if self._entry is None else len(self._losses))
