"""What an index holds of each slide beside where its blocks lie."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .._arguments import integer
from ..errors import ArgumentError
from ..slides import Slide
from ..slides.resolution import check_resolution, choose_level
from ..tissue.looking import picture_size
from ..tissue.methods import DEFAULT_METHOD, find_method

__all__ = ["IndexSettings"]


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What an index holds of each slide beside where its blocks lie. It is checked when it is made.

    Attributes
    ----------
    tissue : bool, default True
        Whether tissue is looked for.
    tissue_method : str, default "density"
        How, see `cellmix_dali.tissue.tissue_mask`: a name, or ``module:function``.
    tile_size, mpp, level, magnification, mpp_override
        The tiles whose shares of tissue are to be measured, as in `cellmix_dali.tables.TileRecipe`: the smaller they
        are on the slide, the larger is the picture on which tissue is looked for.
    thumbnail : int, default 1024
        Pixels of the longer side of the thumbnail that is kept, a JPEG; 0: none.
    """

    tissue: bool = True
    tissue_method: str = DEFAULT_METHOD
    tile_size: int = 256
    mpp: float | None = None
    level: int | None = None
    magnification: float | None = None
    mpp_override: float | None = None
    thumbnail: int = 1024

    def __post_init__(self) -> None:
        if not isinstance(self.tissue_method, str):
            raise ArgumentError(
                f"tissue_method={self.tissue_method!r}: an index names the method of its masks, so give a name, or "
                "'module:function'."
            )
        find_method(self.tissue_method)
        integer("thumbnail", self.thumbnail, low=0)
        integer("tile_size", self.tile_size, low=1)
        check_resolution(self.tile_size, **self._resolution(None))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    def picture_size(self, slide: Slide, mpp: float | None) -> int:
        """Return how large a slide's picture must be; `mpp` is the slide's own, instead of `mpp_override`.

        Raises
        ------
        ArgumentError, SlideError
            If the slide has no such resolution.
        """
        choice = choose_level(slide, self.tile_size, **self._resolution(mpp))
        return picture_size(slide, choice.size * slide.levels[choice.level].downsample)

    def _resolution(self, mpp: float | None) -> dict[str, Any]:
        names = "mpp", "level", "magnification", "mpp_override"
        return {name: getattr(self, name) for name in names} | ({} if mpp is None else {"mpp_override": mpp})
