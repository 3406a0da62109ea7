"""The command line's classifier: small enough for two CPU cores."""

from __future__ import annotations

from torch import nn

__all__ = ["small_cnn"]


def small_cnn(num_classes: int, *, widths: tuple[int, ...] = (24, 48, 96)) -> nn.Sequential:
    """Make a convolutional network: a stride-4 stem, a stride-2 stage a width, then the mean over places.

    Takes float32 (batch, 3, height, width) of any size from 32 px up; gives logits (batch, num_classes).
    """
    layers = [*_stage(3, widths[0], kernel=7, stride=4)]
    for narrow, wide in zip(widths, (*widths[1:], widths[-1]), strict=True):
        layers += _stage(narrow, wide, kernel=3, stride=2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))


def _stage(narrow: int, wide: int, *, kernel: int, stride: int) -> list[nn.Module]:
    """Convolution, normalisation, ReLU. Group norm: batch norm's running means lag in runs of few steps."""
    return [
        nn.Conv2d(narrow, wide, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.GroupNorm(8, wide),
        nn.ReLU(inplace=True),
    ]
