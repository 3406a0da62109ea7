"""A training that goes on where it was stopped: the epochs, a checkpoint, and signals that ask for an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..jobs.signals import stop_signals
from ..pipelines import ImageLoader, TileLoader
from .checkpoint import Checkpoint
from .epochs import Epochs, Listener, Restart

__all__ = ["Kept"]


@dataclass(frozen=True)
class Kept:
    """Where and how a training's state is kept.

    Attributes
    ----------
    checkpoint : Checkpoint
        The file.
    resume : bool
        Whether to go on from the file, where there is one.
    on_resume : callable
        Called with the epochs as they were loaded, before the training goes on.
    extra : callable
        Gives what else is to be kept, plain values by name.
    take_extra : callable
        Takes it.
    """

    checkpoint: Checkpoint
    resume: bool = False
    on_resume: Callable[[Epochs], None] = lambda _: None
    extra: Callable[[], Mapping[str, Any]] = field(default=dict)
    take_extra: Callable[[Mapping[str, Any]], None] = lambda _: None

    def run(self, epochs: Epochs, listener: Listener, held_out: Mapping[str, TileLoader | ImageLoader]) -> None:
        """Run the epochs, from the file if that is asked; keep them after every epoch, and where they are stopped.

        Parameters
        ----------
        epochs : Epochs
            The training.
        listener : Listener
            Told of every batch and every epoch.
        held_out : mapping of str to loader
            What the training is tested on, which must be the same when it goes on.

        Raises
        ------
        StoppedError
            After SIGTERM or Ctrl-C, when the state is in the file.
        ArgumentError
            If the file is of a training that was set up otherwise.
        """

        def save(state: Mapping[str, Any]) -> None:
            others = {name: loader.state_dict() for name, loader in held_out.items()}
            self.checkpoint.save({"epochs": dict(state), "held_out": others, "extra": dict(self.extra())})

        state = self.checkpoint.load() if self.resume else None
        if state is not None:
            for name, loader in held_out.items():
                loader.load_state_dict(state["held_out"][name])
            epochs.load_state_dict(state["epochs"])
            self.take_extra(state["extra"])
            self.on_resume(epochs)
        with stop_signals() as signal:
            epochs.run(listener, Restart(save, signal, self.checkpoint.path))
