"""Which tiles are taken of a slide: a recipe, checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._arguments import integer, number, path_of
from ..annotations.frame import Origin, check_origin
from ..errors import ArgumentError, unknown_name
from ..slides.resolution import LevelChoice, check_resolution, choose_level
from ..storage.moment import is_folder, may_be_file
from ..tissue.methods import DEFAULT_METHOD, TissueMethod, find_method

if TYPE_CHECKING:
    from ..slides import Slide

__all__ = ["Edge", "SlideFiles", "TileRecipe", "check_grid"]

Edge = Literal["skip", "pad"]
_MOST_CLASSES = 65536


class SlideFiles(NamedTuple):
    """The files of a recipe's folders that belong to one slide; looked for, but perhaps not there."""

    mask: Path | None = None
    annotations: Path | None = None


@dataclass(frozen=True)
class TileRecipe:
    """Which tiles are taken of a slide: resolution, grid, tissue and labels. It is checked when it is made.

    Attributes
    ----------
    tile_size : int, default 256
        Side of a finished tile in pixels.
    mpp, level, magnification, mpp_override
        The resolution, see `cellmix_dali.slides.resolution.choose_level`; by default level 0. `mpp_override` holds
        for all slides for which a list says no mpp of their own.
    overlap : int, default 0
        Pixels of the finished tile that neighbours share.
    stride : int, optional
        Distance of neighbours in pixels of the finished tile, instead of `overlap`.
    edge : {"skip", "pad"}, default "skip"
        Tiles over the slide's right and lower edge: left out, or filled up with white.
    tissue : float, default 0.5
        Least share of tissue in a tile, 0 to 1; 0 takes all tiles. This holds for annotated tiles, too.
    tissue_method : str or callable, default "density"
        How tissue is found where neither masks nor annotations say it: a name of `cellmix_dali.tissue.methods.METHODS`,
        ``module:function`` of your own, or a function, see `cellmix_dali.tissue.tissue_mask`.
    mask : Path, optional
        Folder of pictures that say where tissue is, one per slide: ``a.png`` or ``a.svs.png`` for ``a.svs``, in the
        slide's proportions; what is not black is tissue. By default tissue is found by its colour.
    annotations : Path, optional
        Folder of QuPath's GeoJSON files, one per slide: ``a.geojson`` or ``a.svs.geojson`` for ``a.svs``. With
        `classes` they label tiles: a tile gets the class whose polygons cover most of its area (the first of `classes`
        if two cover the same), and is left out where none covers `min_share` of it. Without `classes` their polygons
        say where tissue is, in the place of `mask`.
    annotations_origin : {"bounds", "level0"}, default "bounds"
        Where coordinates of annotations begin, and what masks show: the slide's bounds, as QuPath exports them, or the
        whole first level.
    classes : tuple of str, optional
        Class names in the order of their indices.
    min_share : float, default 0.5
        Least share of a tile that its class covers, above 0, at most 1; only with `annotations` and `classes`. Above
        0.5, a tile between two classes is left out rather than given to the larger one.

    Raises
    ------
    ArgumentError
        If a value is out of range, two do not go together, or a folder is not there.
    """

    tile_size: int = 256
    _: KW_ONLY
    mpp: float | None = None
    level: int | None = None
    magnification: float | None = None
    mpp_override: float | None = None
    overlap: int = 0
    stride: int | None = None
    edge: Edge = "skip"
    tissue: float = 0.5
    tissue_method: str | TissueMethod = DEFAULT_METHOD
    mask: Path | None = None
    annotations: Path | None = None
    annotations_origin: Origin = "bounds"
    classes: tuple[str, ...] | None = None
    min_share: float = 0.5

    def __post_init__(self) -> None:
        # Plain numbers: 1, 1.0 and NumPy's are the same setting.
        for name, low in (("tile_size", 1), ("level", 0), ("overlap", 0), ("stride", 1)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, integer(name, getattr(self, name), low))
        check_resolution(self.tile_size, **self.resolution(None))
        check_grid(self.tile_size, overlap=self.overlap, stride=self.stride, edge=self.edge)
        number("tissue", self.tissue, 0, 1)
        number("min_share", self.min_share, 0, 1, above_low=True)
        find_method(self.tissue_method)
        check_origin(self.annotations_origin)
        for name in ("mpp", "magnification", "mpp_override", "tissue", "min_share"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, float(value))
        for name in ("mask", "annotations"):
            folder = getattr(self, name)
            if folder is None:
                continue
            if not is_folder(folder):
                raise ArgumentError(f"{name}={str(folder)!r}: there is no such folder. Check the path.")
            object.__setattr__(self, name, path_of(name, folder).absolute())
        if self.classes is not None:
            asked: object = self.classes
            given = (asked,) if isinstance(asked, str) else tuple(self.classes)
            if not 0 < len(set(given)) == len(given) <= _MOST_CLASSES or not all(given):
                raise ArgumentError(f"classes={list(given)}: give one or more different names.")
            object.__setattr__(self, "classes", given)
        if self.mask is not None and self.annotations is not None and self.classes is None:
            raise ArgumentError(
                "mask and annotations both say where tissue is: give one of them, or classes=[...] to label tiles by "
                "the annotations."
            )

    @property
    def labelled(self) -> bool:
        """Whether annotations label the tiles."""
        return self.annotations is not None and self.classes is not None

    @property
    def of_any_scale(self) -> bool:
        """Whether no resolution is asked for, so that tiles of several slides may differ in scale."""
        return self.mpp is None and self.magnification is None

    def looks_for(self, *, look: bool = False) -> dict[str, Any]:
        """Return what an index is asked for that serves this recipe, see `cellmix_dali.collection.IndexSettings`.

        Parameters
        ----------
        look : bool, default False
            Whether tissue is measured where no tile depends on it, too.
        """
        named = isinstance(self.tissue_method, str)
        said = self.mask is not None or (self.annotations is not None and not self.labelled)
        looked = named and not said and (look or self.tissue > 0)
        method = {"tissue_method": self.tissue_method} if named else {}
        return {
            **method,
            **self.resolution(None),
            "tissue": looked,
            "tile_size": self.tile_size,
            **({} if looked else {"thumbnail": 0}),  # nothing is read then but where blocks lie
        }

    def choose_level(self, slide: Slide, mpp: float | None = None) -> LevelChoice:
        """Choose the level of a slide and the window, see `cellmix_dali.slides.resolution.choose_level`.

        Parameters
        ----------
        slide : Slide
            An open slide.
        mpp : float, optional
            Microns per pixel of its first level, instead of `mpp_override`.
        """
        return choose_level(slide, self.tile_size, **self.resolution(mpp))

    def files_of(self, slides: Iterable[Path]) -> list[SlideFiles]:
        """Find each slide's mask and annotations by its name.

        Raises
        ------
        ArgumentError
            If two slides would share a file.
        """
        paths = list(slides)
        masks = _companions(paths, self.mask, ".png")
        return [SlideFiles(*pair) for pair in zip(masks, _companions(paths, self.annotations, ".geojson"), strict=True)]

    def resolution(self, mpp: float | None = None) -> dict[str, Any]:
        """Return the arguments of `choose_level`; `mpp` is the slide's own, instead of `mpp_override`."""
        names = "mpp", "level", "magnification", "mpp_override"
        return {name: getattr(self, name) for name in names} | ({} if mpp is None else {"mpp_override": mpp})


def check_grid(tile_size: int, *, overlap: int = 0, stride: int | None = None, edge: str = "skip") -> int:
    """Refuse arguments of `grid_tiles` that fit no slide, and work out the stride.

    Parameters
    ----------
    tile_size, overlap, stride, edge
        See `grid_tiles`.

    Returns
    -------
    int
        Distance of neighbours in pixels of the tile.

    Raises
    ------
    ArgumentError
        If a value is out of range, or both `overlap` and `stride` are given.
    """
    if edge not in ("skip", "pad"):
        raise unknown_name("edge", edge, ("skip", "pad"))
    if stride is not None and overlap:
        raise ArgumentError(f"overlap={overlap} and stride={stride} say the same twice: give only one.")
    if tile_size < 1 or (stride is not None and stride < 1):
        raise ArgumentError(f"tile_size={tile_size}, stride={stride}: both are at least 1 pixel.")
    if not 0 <= overlap < tile_size:
        raise ArgumentError(f"overlap={overlap}: with tile_size={tile_size} give 0 to {tile_size - 1} pixels.")
    return tile_size - overlap if stride is None else stride


def _companions(slides: list[Path], folder: Path | None, suffix: str) -> list[Path | None]:
    """The file in a folder that belongs to each slide; refused if two slides share one."""
    if folder is None:
        return [None] * len(slides)
    found: list[Path | None] = []
    owner: dict[Path, Path] = {}
    for slide in slides:
        full = folder / f"{slide.name}{suffix}"
        file = full if may_be_file(full) else folder / f"{slide.stem}{suffix}"
        other = owner.setdefault(file, slide)
        if other is not slide:
            raise ArgumentError(
                f"{other} and {slide} would share {file}. Name the files by the slides' full names, such as "
                f"{full.name}, or take these slides one at a time."
            )
        found.append(file)
    return found
