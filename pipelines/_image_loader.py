"""From a pipeline over image files to PyTorch: exact epochs, exact resume, and errors that name the file."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from torch import Tensor

from cellmix_dali.errors import CellMixDaliError

from ._image_nodes import failure
from ._image_source import ImageSource
from .epoch_loader import EpochLoader

__all__ = ["ImageLoader"]


class ImageLoader(EpochLoader[ImageSource]):
    """Iterates over a pipeline fed by an `ImageSource`, on `DALIGenericIterator`; one pass is one epoch.

    Batches are dicts of tensors. Nothing of the next epoch is fetched before its first batch is asked for, so a
    ``curriculum.step(loss)`` between two passes is in force from the first batch of the next pass and in none before.
    A pass that is left early is over: the next one begins the next epoch, but after a single batch, a mere look, the
    same epoch again. `state_dict` says where it was left. Another pass that begins meanwhile makes the first one raise.

    Parameters
    ----------
    build : callable
        Defines the pipeline over `source`; called again where a pipeline must be made anew.
    source : ImageSource
        The pipeline's source.
    outputs : list of str
        Names of the pipeline's outputs, in order.
    curriculum : Stateful, optional
        Its state is kept with the loader's.
    follows_group : bool, default False
        Whether the source's rank was not asked for, so that it must be that of the process group, if there is one.
    seen : mapping, optional
        What else changes the batches' tensors, such as the mean that is taken out: part of the state's settings.
    """

    def _next(self) -> dict[str, Tensor]:
        """One batch, or an error that names the files; the loader can then be used again, and goes on there."""
        try:
            return self._fetch()
        except (RuntimeError, CellMixDaliError) as error:
            self._pass = None
            self._restart()  # DALI's pipeline is no longer valid
            if isinstance(error, CellMixDaliError):
                raise
            raise failure(self._tried(), error) from error

    def _tried(self) -> list[str]:
        """Files of this batch, or of one fetched ahead, that DALI was to read."""
        if self.source.cache is not None:
            return []
        batches = [self.source.order.batch(self._epoch, number).tolist() for number in self._fetched()]
        return [self.source.files[item] for items in batches for item in items]

    def _own_settings(self) -> dict[str, Any]:
        return {
            "images": len(self.source.files),
            "image_size": self.source.image_size,
            "files_and_labels": self._digest,
        }

    @cached_property
    def _digest(self) -> str:
        """A short digest of the files' names and labels."""
        digest = hashlib.sha256("\0".join(self.source.files).encode("utf-8", "surrogateescape"))
        digest.update(self.source.labels.astype("<i4").tobytes())
        return digest.hexdigest()[:16]
