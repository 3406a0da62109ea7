"""The models that `--model` names: two small ones of ours, or any of timm's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from ..errors import ArgumentError, MissingDependencyError, unknown_name
from .model import small_cnn
from .vit import SmallViT

__all__ = ["MODELS", "check_model", "default_learning_rate", "make_model"]

#: Our own models, and the learning rates (AdamW) that suit them when they are trained from nothing.
MODELS = {"cnn": 3e-3, "vit": 1e-3}
_TIMM, _TIMM_RATE = "timm:", 3e-4
_VIT_PATCH = 16


def check_model(name: str, image_size: int, *, pretrained: bool = False) -> None:
    """Refuse a model that cannot be made.

    Raises
    ------
    ArgumentError
        If there is no such model, it does not take images of this size, or has no weights to begin with.
    MissingDependencyError
        If it is timm's, and timm is not installed.
    """
    if name.startswith(_TIMM):
        timm, wanted = _timm(), name.removeprefix(_TIMM)
        if not timm.is_model(wanted):
            near = timm.list_models(f"*{wanted}*")[:5]
            hint = f" Some that are like it: {', '.join(near)}." if near else " timm.list_models() tells all."
            raise ArgumentError(f"timm has no model {wanted!r}.{hint}")
        return
    if name not in MODELS:
        raise unknown_name("model", name, (*MODELS, f"{_TIMM}NAME"))
    if pretrained:
        raise ArgumentError(f"The model {name!r} has no pretrained weights: leave --pretrained out, or use timm:NAME.")
    if image_size < 32:
        raise ArgumentError(f"image_size={image_size}: the models take images of 32 pixels and more.")
    if name == "vit" and image_size % _VIT_PATCH:
        raise ArgumentError(
            f"image_size={image_size}: the model 'vit' cuts images into patches of {_VIT_PATCH} pixels; give a "
            f"multiple of it, such as {image_size // _VIT_PATCH * _VIT_PATCH}."
        )


def default_learning_rate(name: str) -> float:
    """Return the highest learning rate that suits a model."""
    return MODELS.get(name, _TIMM_RATE)


def make_model(name: str, num_classes: int, image_size: int, *, pretrained: bool = False) -> nn.Module:
    """Make a model with fresh weights, drawn by torch's seed.

    Parameters
    ----------
    name : str
        "cnn", "vit", or "timm:NAME".
    num_classes : int
        Number of classes.
    image_size : int
        Side of the images in pixels.
    pretrained : bool, default False
        Of timm's models: begin with timm's weights, which it downloads.

    Raises
    ------
    CellMixDaliError
        If it cannot be made.
    """
    check_model(name, image_size, pretrained=pretrained)
    if name == "cnn":
        return small_cnn(num_classes)
    if name == "vit":
        return SmallViT(num_classes, image_size, patch=_VIT_PATCH)
    timm, wanted = _timm(), name.removeprefix(_TIMM)
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": num_classes}
    try:
        model: nn.Module = timm.create_model(wanted, img_size=image_size, **options)
    except TypeError:  # convolutional networks take any size, and no such argument
        model = timm.create_model(wanted, **options)
    return model


def _timm() -> Any:
    try:
        return import_module("timm")
    except ImportError as error:
        raise MissingDependencyError(
            f"--model timm:NAME needs timm, which cannot be imported ({error}). Install it (pip install timm), or use "
            f"one of {', '.join(MODELS)}."
        ) from error
