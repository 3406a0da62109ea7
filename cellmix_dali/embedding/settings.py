"""How a model is run over tiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from .._arguments import integer, path_of
from ..errors import ArgumentError, unknown_name

__all__ = ["Amp", "FeatureType", "ModelSettings", "Tokens"]

Tokens: TypeAlias = Literal["output", "cls", "mean", "cls+mean"]
Amp: TypeAlias = Literal["off", "float16", "bfloat16"]
FeatureType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """How a model is made and run; it is checked when it is made.

    Attributes
    ----------
    weights : Path, optional
        File of the model's weights: a state dict of ``torch.save``, or safetensors.
    pretrained : bool, default False
        Of timm's models: begin with timm's weights, which it downloads.
    device : str, default "cpu"
        Where the model runs, PyTorch's name.
    batch_size : int, default 64
        Tiles per batch.
    tokens : {"output", "cls", "mean", "cls+mean"}, default "output"
        What of the model is a tile's feature: its output; of a transformer the class token, the mean of the tokens of
        patches, or both, one after the other.
    layers : tuple of str
        Names of submodules, as ``model.named_modules()`` has them: their outputs, one after the other, are the feature,
        instead of the model's.
    dtype : {"float32", "float16"}, default "float32"
        Of the features.
    amp : {"off", "float16", "bfloat16"}, default "off"
        Precision of `torch.autocast`.
    channels_last : bool, default False
        Whether the model and its images have PyTorch's memory format "channels last".
    compiled : bool, default False
        Whether the model is compiled by `torch.compile`.
    deterministic : bool, default False
        Whether every run has the same features to the bit, on one machine: a batch then holds tiles of one slide alone,
        and is filled up at the slide's end.

    Raises
    ------
    ArgumentError
        If a value is out of range, or two do not go together.
    """

    weights: Path | None = None
    pretrained: bool = False
    device: str = "cpu"
    batch_size: int = 64
    tokens: Tokens = "output"
    layers: tuple[str, ...] = ()
    dtype: FeatureType = "float32"
    amp: Amp = "off"
    channels_last: bool = False
    compiled: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", integer("batch_size", self.batch_size, low=1))
        for name, allowed in (("tokens", Tokens), ("amp", Amp), ("dtype", FeatureType)):
            if getattr(self, name) not in get_args(allowed):
                raise unknown_name(name, getattr(self, name), get_args(allowed))
        asked: object = self.layers
        layers = (asked,) if isinstance(asked, str) else tuple(self.layers)
        if not all(isinstance(layer, str) and layer for layer in layers) or len(set(layers)) < len(layers):
            raise ArgumentError(f"layers={layers!r}: give names of the model's submodules, each once.")
        object.__setattr__(self, "layers", layers)
        if layers and self.compiled:
            raise ArgumentError("layers with compiled=True: a compiled model shows no layers. Leave one out.")
        if self.weights is None:
            return
        if self.pretrained:
            raise ArgumentError("weights with pretrained=True: give a file, or take timm's weights, not both.")
        path = path_of("The file of weights", self.weights).expanduser().absolute()
        if not path.is_file():
            raise ArgumentError(f"There are no weights at {path}. Check the path.")
        object.__setattr__(self, "weights", path)

    def to_json(self) -> dict[str, Any]:
        """Return what decides over the features, as JSON values."""
        found = asdict(self) | {"layers": list(self.layers), "weights": self.weights and str(self.weights)}
        del found["device"]  # a job may go on elsewhere
        return found
