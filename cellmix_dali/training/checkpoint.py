"""A training's state on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .._plain import plain
from ..errors import ArgumentError
from ..jobs.asked import differences
from ..storage.aside import write_aside

__all__ = ["CHECKPOINT", "Checkpoint"]

#: The file's name in the folder of the results.
CHECKPOINT = "checkpoint.pt"


class Checkpoint:
    """The file that holds how far a training is: there in full, or as it was before.

    Parameters
    ----------
    folder : Path
        Of the training's results.
    about : mapping of str to plain values
        What the training depends on: one with other values cannot go on from the file.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.path = folder / CHECKPOINT
        self._about: dict[str, Any] = plain(about)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a state.

        Raises
        ------
        WriteError
            If it cannot be written; the file is then as it was.
        """
        with write_aside(self.path) as file:
            torch.save({"about": self._about, "state": dict(state)}, file)

    def load(self) -> dict[str, Any] | None:
        """Return the state; None where there is none.

        Raises
        ------
        ArgumentError
            If it cannot be read, or is of a training that was set up otherwise; says what differs.
        """
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, weights_only=True, map_location="cpu")
            theirs, state = found["about"], found["state"]
        except Exception as error:  # torch raises nearly anything on a file that is none of its own
            raise ArgumentError(
                f"The checkpoint {self.path} cannot be read ({type(error).__name__}: {error}). Start anew with "
                "--overwrite."
            ) from error
        differing = differences(theirs, self._about)
        if differing:
            raise ArgumentError(
                f"The training in {self.path.parent} was set up otherwise, so it cannot go on: {'; '.join(differing)}. "
                "Give the options that it had, another --out, or --overwrite to start anew."
            )
        return dict(state)

    def remove(self) -> None:
        """Remove the file: the training is over."""
        self.path.unlink(missing_ok=True)
