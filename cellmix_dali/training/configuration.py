"""What a model says of the images that it takes: normalisation, size, resolution."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._arguments import integer, number
from .._imagenet import MEAN, STD
from ..errors import ArgumentError

__all__ = ["ModelConfiguration"]


@dataclass(frozen=True, kw_only=True)
class ModelConfiguration:
    """What a model's images are.

    Attributes
    ----------
    mean, std : tuple of 3 floats
        Of R, G and B in [0, 1]; by default ImageNet's.
    size : int or None
        Side of an image in pixels.
    mpp : float or None
        Microns per pixel.
    said_by : str
        Where this is from, for a person.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    size: int | None = None
    mpp: float | None = None
    said_by: str = "the model says nothing: ImageNet's normalisation"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            given: Any = getattr(self, name)
            if isinstance(given, str) or len(given) != 3:
                raise ArgumentError(f"{name}={given!r} of the model: give three numbers, of red, green and blue.")
            low = 0.0 if name == "std" else float("-inf")
            values = tuple(number(name, float(each), low, above_low=name == "std") for each in given)
            object.__setattr__(self, name, values)
        if self.size is not None:
            object.__setattr__(self, "size", integer("size", self.size, low=1))
        if self.mpp is not None:
            object.__setattr__(self, "mpp", number("mpp", self.mpp, low=0.0, above_low=True))

    @classmethod
    def of(cls, values: Mapping[str, Any], said_by: str) -> ModelConfiguration:
        """Read a configuration as timm keeps it: ``mean``, ``std``, ``input_size`` (3, height, width) and ``mpp``.

        Raises
        ------
        ArgumentError
            If a value cannot be used; says whose it is.
        """
        found: dict[str, Any] = {name: tuple(values[name]) for name in ("mean", "std") if values.get(name) is not None}
        size = values.get("input_size", values.get("size"))
        if size is not None:
            found["size"] = size if isinstance(size, int) else int(tuple(size)[-1])
        if values.get("mpp") is not None:
            found["mpp"] = values["mpp"]
        try:
            return cls(**found, said_by=said_by)
        except (ArgumentError, TypeError, ValueError) as error:
            raise ArgumentError(f"{said_by} cannot be used: {error}") from error

    @classmethod
    def of_module(cls, module: object) -> ModelConfiguration:
        """Read what a module says of itself: ``data_config``, ``pretrained_cfg`` or ``default_cfg``, as timm's do.

        Raises
        ------
        ArgumentError
            If a value cannot be used.
        """
        for name in ("data_config", "pretrained_cfg", "default_cfg"):
            values = getattr(module, name, None)
            if isinstance(values, Mapping) and values:
                return cls.of(values, f"the model's own {name}")
        return cls()

    @classmethod
    def beside(cls, path: Path, inside: str = "") -> ModelConfiguration:
        """Read the configuration in a model's file, or in the JSON file of its name."""
        place = path.with_suffix(".json")
        text, said_by = (inside, f"config.json in {path.name}") if inside else ("", place.name)
        try:
            text = text or place.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise ArgumentError(f"{place} cannot be read ({error.strerror}).") from error
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ArgumentError(f"{said_by} is not JSON ({error}): correct it, or remove it.") from error
        if not isinstance(values, dict):
            raise ArgumentError(f'{said_by} is not an object: expected {{"mean": [...], "std": [...], ...}}.')
        return cls.of(values, said_by)

    def to_json(self) -> dict[str, Any]:
        """Return the values, as JSON has them."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "size": self.size,
            "mpp": self.mpp,
            "from": self.said_by,
        }
