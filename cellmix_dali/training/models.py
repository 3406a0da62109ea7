"""The models that `--model` names: two small ones of ours, any that timm makes, or a function of yours."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, unknown_name
from .timm_models import HUB, TIMM, timm_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "check_model", "default_learning_rate", "is_ours", "make_model", "own_model"]

#: Our own models, and the learning rates (AdamW) that suit them when they are trained from nothing.
MODELS = {"small_cnn": 3e-3, "vit": 1e-3}
_FORMERLY = {"cnn": "small_cnn"}
_OTHER_RATE = 3e-4
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
    name = _FORMERLY.get(name, name)
    of_timm = None if name in MODELS else timm_model(name)
    if of_timm is not None:
        of_timm.check()
        return
    if name not in MODELS and ":" not in name:
        raise unknown_name("model", name, (*MODELS, f"{TIMM}NAME", f"{HUB}ORG/NAME", "FOLDER", "MODULE:CALLABLE"))
    if pretrained:
        raise ArgumentError(f"The model {name!r} has no pretrained weights: leave --pretrained out, or use timm:NAME.")
    if ":" in name:
        own_model(name)
        return
    if image_size < 32:
        raise ArgumentError(f"image_size={image_size}: the models take images of 32 pixels and more.")
    if name == "vit" and image_size % _VIT_PATCH:
        raise ArgumentError(
            f"image_size={image_size}: the model 'vit' cuts images into patches of {_VIT_PATCH} pixels; give a "
            f"multiple of it, such as {image_size // _VIT_PATCH * _VIT_PATCH}."
        )


def is_ours(name: str) -> bool:
    """Return whether a model is one of `MODELS`, which say nothing of their images."""
    return _FORMERLY.get(name, name) in MODELS


def default_learning_rate(name: str) -> float:
    """Return the highest learning rate that suits a model."""
    return MODELS.get(_FORMERLY.get(name, name), _OTHER_RATE)


def make_model(name: str, num_classes: int, image_size: int, *, pretrained: bool = False) -> nn.Module:
    """Make a model with fresh weights, drawn by torch's seed.

    Parameters
    ----------
    name : str
        "small_cnn", "vit", what `cellmix_dali.training.timm_models.timm_model` knows ("timm:NAME", "hf-hub:ORG/NAME", a
        folder), or "module:callable": a function of yours that takes the number of classes and returns a model.
    num_classes : int
        Number of classes.
    image_size : int
        Side of the images in pixels.
    pretrained : bool, default False
        Of timm's own models: begin with timm's weights, which it downloads. Models of a hub or a folder have theirs.

    Raises
    ------
    CellMixDaliError
        If it cannot be made.
    """
    from .model import small_cnn
    from .vit import SmallViT

    check_model(name, image_size, pretrained=pretrained)
    name = _FORMERLY.get(name, name)
    if name == "small_cnn":
        return small_cnn(num_classes)
    if name == "vit":
        return SmallViT(num_classes, image_size, patch=_VIT_PATCH)
    of_timm = timm_model(name)
    if of_timm is not None:
        return of_timm.make(num_classes, image_size, pretrained=pretrained)
    own: nn.Module = own_model(name)(num_classes)
    return own


def own_model(place: str) -> Any:
    """Import a user's own function.

    Parameters
    ----------
    place : str
        ``module:callable``.

    Raises
    ------
    ArgumentError
        If it cannot be imported, or is not a function.
    """
    module, _, name = place.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ArgumentError(
            f"The model {place!r} cannot be imported ({error}): give module:callable, and see that Python finds the "
            "module (PYTHONPATH)."
        ) from error
    if not callable(found):
        raise ArgumentError(f"The model {place!r} is not a function but a {type(found).__name__}.")
    return found
