"""CellMix on a float batch in plain torch, step for step as the authors' package does it.

The authors' own (`CellMix` on PyPI) imports OpenCV, SciPy and torchvision, the first of which it does not even require,
so it does not import where only its stated requirements are installed. This is its in-place strategy, without its
printing and its trigger: patches cut out by einsum, noise sorted, patches gathered, put back by einsum.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["plain_cellmix"]


def plain_cellmix(
    images: Tensor, labels: Tensor, *, num_classes: int, patch_size: int, fix_ratio: float, group_size: int
) -> tuple[Tensor, Tensor]:
    """Mix a batch.

    Parameters
    ----------
    images : float tensor (batch, 3, height, width)
    labels : int64 tensor (batch,)
    num_classes, patch_size, fix_ratio, group_size
        Group size -1: the whole batch.

    Returns
    -------
    images : float tensor (batch, 3, height, width)
    soft_labels : float tensor (batch, num_classes)
    """
    patches = _patchify(images, patch_size)
    batch, count = patches.shape[:2]
    mask = torch.zeros(batch, count, num_classes)
    mask[torch.arange(batch), :, labels] = 1
    fixed = int(count * fix_ratio)
    noise = torch.rand(1, count).repeat_interleave(batch, dim=0)
    shuffle = torch.argsort(noise, dim=1)
    restore = torch.argsort(shuffle, dim=1)

    def pick(values: Tensor, dim: int, ids: Tensor) -> Tensor:
        return torch.gather(values, dim=dim, index=ids.unsqueeze(-1).repeat(1, 1, values.shape[-1]))

    kept, kept_mask = pick(patches, 1, shuffle[:, :fixed]), pick(mask, 1, shuffle[:, :fixed])
    moved, moved_mask = pick(patches, 1, shuffle[:, fixed:]), pick(mask, 1, shuffle[:, fixed:])
    group = batch if group_size == -1 else group_size
    noise = torch.rand(batch, count - fixed)
    exchange = torch.cat([torch.argsort(part, dim=0) + group * i for i, part in enumerate(noise.split(group))])
    moved, moved_mask = pick(moved, 0, exchange), pick(moved_mask, 0, exchange)
    patches = pick(torch.cat([kept, moved], dim=1), 1, restore)
    mask = pick(torch.cat([kept_mask, moved_mask], dim=1), 1, restore)
    return _unpatchify(patches, patch_size), mask.sum(dim=1) / count


def _patchify(images: Tensor, size: int) -> Tensor:
    batch, across = images.shape[0], images.shape[2] // size
    cut = images.reshape(batch, 3, across, size, across, size)
    return torch.einsum("nchpwq->nhwpqc", cut).reshape(batch, across * across, size * size * 3)


def _unpatchify(patches: Tensor, size: int) -> Tensor:
    batch, across = patches.shape[0], int(patches.shape[1] ** 0.5)
    cut = patches.reshape(batch, across, across, size, size, 3)
    return torch.einsum("nhwpqc->nchpwq", cut).reshape(batch, 3, across * size, across * size)
