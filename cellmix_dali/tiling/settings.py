"""What a tiling job is asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from .._arguments import integer, path_of
from ..errors import ArgumentError, unknown_name
from ..shards import Encoding
from ..stain.change import MEDIAN
from ..tables.recipe import TileRecipe
from .augmented import augmentation_told
from .stains import stain_record

__all__ = ["Align", "Format", "Json", "Subsampling", "TilingSettings"]

Format: TypeAlias = Literal["auto", "jpeg", "png"]
Align: TypeAlias = Literal["none", "blocks"]
Subsampling: TypeAlias = Literal["4:4:4", "4:2:2", "4:2:0"]
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

# Settings that were added to the first ones, and what they are where they are not asked for.
_LATER = {"stride": None, "stains": None, "stain_target": MEDIAN, "augment": None, "augment_seed": 0}
_FORMATS = ("auto", "jpeg", "png")
_ALIGNS = ("none", "blocks")


@dataclass(frozen=True, kw_only=True)
class TilingSettings(TileRecipe):
    """Everything that decides over the bytes that a tiling job writes, apart from the slides themselves.

    Attributes
    ----------
    tile_size, mpp, level, magnification, mpp_override, overlap, stride, edge, tissue, mask, annotations, ...
        Which tiles, see `cellmix_dali.TileRecipe`; `tissue_method` is a name, or ``module:function`` of your own, which
        every worker imports.
    align : {"none", "blocks"}, default "none"
        "blocks": every window begins and ends on borders of the file's own blocks, or blocks on borders of windows, so
        that no block is decoded twice, and one that is a tile is copied; a slide with other blocks fails. "none": the
        grid begins at the level's first pixel whatever the blocks, which are still copied where they fit.
    format : {"auto", "jpeg", "png"}, default "auto"
        "auto": JPEG blocks that are tiles are copied as they are, all other tiles encoded as JPEG. "jpeg", "png": all
        tiles are decoded and encoded anew.
    quality : int, default 90
        Of JPEG, 1 to 100.
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}, default "4:2:0"
        Of the colours in JPEG.
    shard_size : int, default 4096
        Places of the grid a part of a slide has at most; a part is one unit of work and has its own shards.
    coords_only : bool, default False
        Whether to write the tile table alone, for tiling on the fly.
    device : {"cpu", "gpu"}, default "cpu"
        Where tiles are decoded.
    stains : Path, optional
        Table of fitted stains, see `cellmix_dali.stain.fit_stains`: all tiles are normalised, so none is copied as it
        is. A slide without a fitted stain fails.
    stain_target : str, default "median"
        To which, see `cellmix_dali.stain.StainTable.target`: "median", a slide of the table, or a picture.
    augment : str, optional
        What changes tiles after their stains are normalised, as `cellmix_dali.augment.augmentation` takes a text: a
        recipe's file, one augmentation's name, or ``module:function``. Only what leaves pixels in their places.
    augment_seed : int, default 0
        Of the draws. A tile's are a pure function of the seed, its slide's file name, level, x and y.

    Raises
    ------
    ArgumentError
        If a value is out of range, or two do not go together.
    """

    align: Align = "none"
    format: Format = "auto"
    quality: int = 90
    subsampling: Subsampling = "4:2:0"
    shard_size: int = 4096
    coords_only: bool = False
    device: Literal["cpu", "gpu"] = "cpu"
    stains: Path | None = None
    stain_target: str = MEDIAN
    augment: str | None = None
    augment_seed: int = 0

    @classmethod
    def of(cls, recipe: TileRecipe, **other: Any) -> TilingSettings:
        """Return the settings of a job that follows a recipe; `other` are those that a recipe does not have."""
        return cls(**{field.name: getattr(recipe, field.name) for field in fields(recipe)}, **other)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.tissue_method, str):
            raise ArgumentError(
                f"tissue_method={self.tissue_method!r}: a tiling job's workers import it, so give its name, or "
                "'module:function'."
            )
        integer("shard_size", self.shard_size, low=1)
        for name, value, allowed in (
            ("align", self.align, get_args(Align)),
            ("format", self.format, get_args(Format)),
            ("device", self.device, ("cpu", "gpu")),
        ):
            if value not in allowed:
                raise unknown_name(name, value, allowed)
        for name in ("overlap", "stride"):
            if self.align == "blocks" and getattr(self, name):
                raise ArgumentError(
                    f"align='blocks' and {name}={getattr(self, name)}: blocks do not overlap. Leave one out."
                )
        _ = self.encoding  # refuses a quality or subsampling out of range
        integer("augment_seed", self.augment_seed, low=0)
        if self.augment is None and self.augment_seed:
            raise ArgumentError(f"augment_seed={self.augment_seed} without augment: give what is drawn, too.")
        if self.augment is not None and self.coords_only:
            raise ArgumentError("augment with coords_only=True: coordinates have no pixels. Leave one out.")
        if self.augment is not None and self.augment.endswith((".yaml", ".yml")):
            object.__setattr__(self, "augment", str(Path(self.augment).absolute()))  # workers stand elsewhere
        if self.stains is None:
            if self.stain_target != MEDIAN:
                raise ArgumentError(
                    f"stain_target={self.stain_target!r} without stains: give the table of stains, too."
                )
            return
        if self.coords_only:
            raise ArgumentError("stains with coords_only=True: coordinates have no colours. Leave one out.")
        object.__setattr__(self, "stains", path_of("The table of stains", self.stains).absolute())
        _ = stain_record(self.stains, self.stain_target)  # refuses what cannot be used

    @property
    def encoding(self) -> Encoding:
        """How tiles are encoded that are not copied."""
        return Encoding("png" if self.format == "png" else "jpeg", self.quality, self.subsampling)

    @property
    def augmentation(self) -> str | None:
        """How tiles are augmented, for a person; None where they are not."""
        if self.augment is None:
            return None
        return f"{augmentation_told(self.augment)}, seed {self.augment_seed}"

    @property
    def normalisation(self) -> str | None:
        """How stains are normalised, for a person; None where they are left as scanned."""
        if self.stains is None:
            return None
        return f"{stain_record(self.stains, self.stain_target)['method']}, to {self.stain_target}"

    def to_json(self) -> dict[str, Json]:
        """Return the settings as JSON values, in a fixed order."""
        found: dict[str, Json] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _LATER and value == _LATER[field.name]:
                continue  # so that jobs go on that were begun before there was one
            found[field.name] = (
                str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            )
        if self.stains is not None:
            found["stain_fits"] = stain_record(self.stains, self.stain_target)
        if self.augment is not None:
            found["augmentation"] = self.augmentation
        return found
