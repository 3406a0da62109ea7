"""Augmentations by name: a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cellmix_dali._registry import Registry
from cellmix_dali.errors import ArgumentError

if TYPE_CHECKING:
    from .base import Augmentation

__all__ = ["AUGMENTATIONS", "register_augmentation"]

_Class = TypeVar("_Class", bound="type[Augmentation]")


def _adopt(name: str, found: Any) -> object:
    """Register what an entry point names."""
    return register_augmentation(name)(found)


#: Every augmentation's class by name. Packages add theirs by entry points of the group ``cellmix_dali.augmentations``.
AUGMENTATIONS: Registry[type[Augmentation]] = Registry("augmentation", "cellmix_dali.augmentations", _adopt)


def register_augmentation(name: str) -> Any:
    """Register a class of augmentations; a decorator.

    Parameters
    ----------
    name : str
        By which recipes and ``--augment`` take it, with its arguments.

    Returns
    -------
    callable
        The decorator, which returns the class itself.

    Raises
    ------
    ArgumentError
        If the name is taken or has a colon or a dot, or what is decorated is not a class of `Augmentation`.
    """
    if not isinstance(name, str) or not name or set(name) & set(":./"):
        raise ArgumentError(f"An augmentation cannot be named {name!r}: give a name without a colon, a dot or a slash.")

    def register(found: _Class) -> _Class:
        from .base import Augmentation

        if not (isinstance(found, type) and issubclass(found, Augmentation)):
            raise ArgumentError(f"{found!r} cannot be an augmentation: derive a class from Augmentation.")
        AUGMENTATIONS.add(name, found)
        found.name = name
        return found

    return register
