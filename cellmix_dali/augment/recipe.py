"""Augmentations from names, recipes and files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from cellmix_dali._registry import folded
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.plugins import Augment

from ._registered import AUGMENTATIONS
from .base import Augmentation, Compose
from .presets import PRESETS

__all__ = ["AugmentLike", "augmentation"]

#: What `augmentation` makes an augmentation of.
AugmentLike: TypeAlias = "Augment | str | Path | Mapping[str, Any] | Sequence[Any]"


def augmentation(given: AugmentLike) -> Augment:
    """Return an augmentation, however it is described.

    Parameters
    ----------
    given : Augmentation, callable, str, Path, mapping or sequence
        An `Augmentation`, or a function of the graph, stays as it is. A text is the name of a preset ("light",
        "strong", "dinov2", "midnight"), of an augmentation ("hed_jitter", with its defaults), ``module:object``, or a
        YAML file (".yaml", ".yml") that holds a recipe. A recipe is a list of names and of mappings with one name and
        its arguments, such as ``["turn", {"hed_jitter": {"alpha": 0.1}}]``.

    Returns
    -------
    callable
        What ``augment=`` takes.

    Raises
    ------
    ArgumentError
        If it cannot be understood, or an argument cannot be used.
    """
    if isinstance(given, str | Path):
        return _named(str(given))
    if isinstance(given, Mapping | Sequence):
        return _composed(given)
    if callable(given):
        return given
    raise ArgumentError(f"augment={given!r}: give a preset's name, a recipe, an Augmentation or a function.")


def _named(text: str) -> Augment:
    """A preset, a single augmentation, a file's, or an object of a module."""
    if text.endswith((".yaml", ".yml")):
        return _composed(_read(Path(text)))
    if ":" in text:
        return _imported(text)
    for name, preset in PRESETS.items():
        if folded(name) == folded(text):
            return preset
    if folded(text) in map(folded, AUGMENTATIONS):
        return _made(text, {})
    raise unknown_name("augmentation", text, (*PRESETS, *AUGMENTATIONS))


def _composed(recipe: Any) -> Augmentation:
    """What a recipe says."""
    parts = [recipe] if isinstance(recipe, Mapping | str) else recipe
    if not isinstance(parts, Sequence) or not parts:
        raise ArgumentError(f"The recipe {recipe!r} is not a list of augmentations.")
    changes: list[Augmentation] = []
    for part in parts:
        if isinstance(part, Augmentation):
            changes.append(part)
        elif isinstance(part, str) and not part.endswith((".yaml", ".yml")) and ":" not in part:
            found = _named(part)
            assert isinstance(found, Augmentation)
            changes.append(found)
        elif isinstance(part, Mapping) and len(part) == 1:
            ((name, arguments),) = part.items()
            changes.append(_made(name, {} if arguments is None else arguments))
        else:
            raise ArgumentError(f"{part!r} in a recipe: give a name, or one name with its arguments (a mapping).")
    return Compose(changes)


def _made(name: Any, arguments: Any) -> Augmentation:
    """An augmentation with these arguments."""
    found = AUGMENTATIONS[AUGMENTATIONS.canonical(name)]
    if not isinstance(arguments, Mapping):
        raise ArgumentError(f"{name}: {arguments!r} are not arguments by name, such as {{p: 0.5}}.")
    try:
        return found(**arguments)
    except TypeError as error:
        raise ArgumentError(f"{name} cannot be made with {dict(arguments)} ({error}).") from error


def _read(path: Path) -> Any:
    """A YAML file."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(f"The recipe {path} cannot be read ({error}).") from error


def _imported(place: str) -> Callable[..., Any]:
    """A user's own augmentation, by the module that has it."""
    module, _, name = place.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ArgumentError(
            f"The augmentation {place!r} cannot be imported ({error}): give module:function, and see that Python finds "
            "the module (PYTHONPATH)."
        ) from error
    if not callable(found):
        raise ArgumentError(f"The augmentation {place!r} is not a function but a {type(found).__name__}.")
    return found
