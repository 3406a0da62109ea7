"""The example of token labels: it trains, and its model tells the tokens of a mixed image apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cellmix_dali.training.vit import SmallViT

Load = Callable[[str], ModuleType]
Main = Callable[..., list[str]]


def test_it_trains(example: Load, main: Main, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("train_tokens")
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "EPOCHS", 2)
    lines = main(module, folder)
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert [int(re.findall(r"patch (\d+)", line)[0]) for line in lines] == [16, 32]
    shares = [float(re.findall(r"right ([\d.]+)", line)[0]) for line in lines]
    assert all(0 < share <= 1 for share in shares)
    losses = [float(re.findall(r"loss ([\d.]+)", line)[0]) for line in lines]
    assert losses[-1] < losses[0] < 5


def test_the_mean_of_the_tokens_is_the_image() -> None:
    torch.manual_seed(0)
    model = SmallViT(3, 64, patch=16, width=32, depth=1)
    images = torch.randn(2, 3, 64, 64)
    tokens = model.token_logits(images)
    assert tokens.shape == (2, 16, 3)
    torch.testing.assert_close(tokens.mean(dim=1), model(images))
    # Row by row: a token's own pixels count most for it.
    other = images.clone()
    other[:, :, 16:32, 48:64] = 0  # row 1, column 3
    changed = (model.token_logits(other) - tokens).abs().sum(dim=2)
    assert changed.argmax(dim=1).tolist() == [7, 7]
