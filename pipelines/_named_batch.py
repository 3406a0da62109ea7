"""A batch as a loader hands it on: what was applied by name, whole numbers as PyTorch wants them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["named"]

# As `cellmix_dali.plugins.MixParameters` has them.
_PARAMETERS = {
    "patch_size": torch.int32,
    "fix_ratio": torch.float32,
    "triggered": torch.int32,
    "epoch": torch.int64,
    "iteration": torch.int64,
}
_ONE_A_SAMPLE = {"labels", "tile", "item"}


def named(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the parameters of a batch of DALI's, in place, and make class and row numbers int64 of shape (batch,)."""
    # The mixing's parameters come in one tensor: taking them apart in the graph costs much more.
    applied = batch.pop("parameters", None)
    if applied is not None:
        for column, (name, dtype) in enumerate(_PARAMETERS.items()):
            batch[name] = applied[:, column].to(dtype)
    if "source_map" in batch:
        batch["source_map"] = batch["source_map"].long()
    # One number per sample: in shape (batch, 1) a comparison with predictions, (batch,), would make (batch, batch).
    for name in _ONE_A_SAMPLE & set(batch):
        if not batch[name].is_floating_point():
            batch[name] = batch[name][:, 0].long()
    return batch
