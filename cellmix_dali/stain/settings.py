"""What fitting the stains of slides is asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .._arguments import integer
from ..errors import ArgumentError
from ..tables.recipe import TileRecipe
from .methods import DEFAULT_METHOD, StainMethod, find_method
from .methods._pixels import FEWEST

__all__ = ["StainSettings"]


@dataclass(frozen=True, kw_only=True)
class StainSettings(TileRecipe):
    """Everything that decides over a slide's fitted stain, apart from the slide itself.

    Attributes
    ----------
    tile_size, mpp, level, magnification, mpp_override, tissue_method, mask, annotations, ...
        Which tiles pixels are taken from, see `cellmix_dali.TileRecipe`. A coarser resolution mixes the stains of
        neighbours, so ask for that of the training. `tissue_method` is a name, or ``module:function``.
    edge : {"skip", "pad"}, default "pad"
        Tiles over the slide's edge count, too, so that a slide may be smaller than a tile.
    tissue : float, default 0.1
        Least share of tissue in a tile; of its pixels, those on tissue are taken.
    method : str or StainMethod, default "macenko"
        A name of `cellmix_dali.stain.methods.METHODS`, or a method with parameters, such as ``Macenko(alpha=2)``.
    tiles : int, default 64
        Tiles of a slide that are read, at most: drawn at random by the seed.
    pixels : int, default 250,000
        Pixels of a slide that the stain is fitted to, at most, drawn alike from those tiles; 256 or more.
    seed : int, default 0
        Of both draws.

    Raises
    ------
    ArgumentError
        If a value is out of range, or two do not go together.
    """

    edge: Literal["skip", "pad"] = "pad"
    tissue: float = 0.1
    method: str | StainMethod = DEFAULT_METHOD
    tiles: int = 64
    pixels: int = 250_000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.tissue_method, str):
            raise ArgumentError(
                f"tissue_method={self.tissue_method!r}: workers import it, so give its name, or 'module:function'."
            )
        if self.classes is not None:
            raise ArgumentError(f"classes={list(self.classes)}: stains have no classes. Leave them out.")
        object.__setattr__(self, "method", find_method(self.method))
        integer("tiles", self.tiles, 1)
        integer("pixels", self.pixels, FEWEST)
        integer("seed", self.seed, 0, 2**64 - 1)

    @property
    def fitting(self) -> StainMethod:
        """The method."""
        return find_method(self.method)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, in a fixed order."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = str(value) if isinstance(value, Path) else value
        del found["classes"], found["min_share"]  # of labels
        return {**found, "method": self.fitting.name, "parameters": self.fitting.parameters()}
