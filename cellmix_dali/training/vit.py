"""The command line's vision transformer: small enough for two CPU cores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SmallViT"]


class SmallViT(nn.Module):
    """A small vision transformer: patches embedded by one convolution, places learned, tokens averaged.

    After Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021, arXiv 2010.11929), with the mean over tokens
    in place of the class token (Beyer et al., "Better plain ViT baselines for ImageNet-1k", arXiv 2205.01580).

    Parameters
    ----------
    num_classes : int
        Number of classes.
    image_size : int
        Side of the images in pixels, a multiple of `patch`.
    patch : int, default 16
        Side of a token's patch in pixels.
    width, depth, heads : int
        Features a token, number of blocks, attention heads a block.
    """

    def __init__(
        self, num_classes: int, image_size: int, *, patch: int = 16, width: int = 128, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.places = nn.Parameter(torch.empty(1, (image_size // patch) ** 2, width))
        nn.init.trunc_normal_(self.places, std=0.02)
        blocks = [
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, num_classes) for float images (batch, 3, image_size, image_size)."""
        logits: Tensor = self.head(self._tokens(images).mean(dim=1))
        return logits

    def token_logits(self, images: Tensor) -> Tensor:
        """Return logits (batch, tokens, num_classes), row by row; `forward` gives their mean over the tokens."""
        logits: Tensor = self.head(self._tokens(images))
        return logits

    def _tokens(self, images: Tensor) -> Tensor:
        """The tokens' features after the last block."""
        features: Tensor = self.norm(self.blocks(self.embed(images).flatten(2).transpose(1, 2) + self.places))
        return features
