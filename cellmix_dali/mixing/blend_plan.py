"""The blend plan: each sample is blended with a partner, by a share or by a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from .mixing_matrix import MixingMatrix
from .plan import MixPlan
from .resampling import rounded

__all__ = ["BLENDED", "BlendPlan"]

BLENDED = (
    "Blending (Mixup) makes every pixel of two samples, so a mixed pixel has no one class, and class masks cannot be "
    "mixed by it. Use a method that moves pixels, such as CellMix-Group, CutMix or FMix, or leave the masks out."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class BlendPlan(MixPlan):
    """Each sample is blended with a partner (Mixup: by a share; FMix: by a mask).

    Attributes
    ----------
    partner : int32 array (batch,)
        The other sample.
    share : float32 array (batch,)
        How much of the sample's own is in the output: with a mask its mean.
    mask : uint8 array (height, width) or (batch, height, width), or None
        1 where the pixel is the sample's own, 0 where it is the partner's; one for all samples, or one per sample.
        None: pixels are ``share * own + (1 - share) * partner``.
    """

    partner: NDArray[np.int32]
    share: NDArray[np.float32]
    mask: NDArray[np.uint8] | None = None

    @classmethod
    def identity(cls, batch_size: int) -> BlendPlan:
        """Make the plan that changes nothing."""
        return cls(
            partner=np.arange(batch_size, dtype=np.int32),
            share=np.ones(batch_size, np.float32),
            matrix=MixingMatrix.unit(batch_size),
            triggered=False,
        )

    @classmethod
    def shared(cls, partner: ArrayLike, share: ArrayLike) -> BlendPlan:
        """Make the plan that blends by shares: one per sample, or one for all."""
        other = np.asarray(partner, np.int32)
        own = np.ascontiguousarray(np.broadcast_to(np.asarray(share, np.float32), other.shape))
        return cls(partner=other, share=own, matrix=MixingMatrix.of_pairs(other, own.astype(np.float64)))

    @classmethod
    def masked(cls, partner: ArrayLike, mask: NDArray[np.uint8]) -> BlendPlan:
        """Make the plan that blends by a mask; its true mean is the label weight."""
        other = np.asarray(partner, np.int32)
        own = np.broadcast_to(mask.mean(axis=(-2, -1), dtype=np.float64), other.shape)
        return cls(partner=other, share=own.astype(np.float32), matrix=MixingMatrix.of_pairs(other, own), mask=mask)

    def for_masks(self) -> BlendPlan:
        """Return the plan itself, if a mask chooses its pixels; see `MixPlan.for_masks`."""
        if self.triggered and self.mask is None:
            raise ArgumentError(BLENDED)
        return self

    def apply(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Blend with plain NumPy; see `MixPlan.apply`. Integers are rounded to the nearest."""
        if len(images) != self.batch_size or (self.mask is not None and self.mask.shape[-2:] != images.shape[1:3]):
            of = "any size" if self.mask is None else f"{self.mask.shape[-2]} x {self.mask.shape[-1]} pixels"
            raise ArgumentError(
                f"Images of shape {images.shape} do not fit a plan for {self.batch_size} samples of {of}."
            )
        if not self.triggered:
            return images.copy()
        if self.mask is not None:
            return np.where(self.mask[..., None].astype(bool), images, images[self.partner])
        kind = np.result_type(images.dtype, np.float32)
        own = self.share[:, None, None, None].astype(kind)
        mixed = images.astype(kind) * own + images[self.partner].astype(kind) * (1 - own)
        return rounded(mixed, images.dtype)
