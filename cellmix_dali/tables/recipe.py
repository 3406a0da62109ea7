"""Which tiles are taken of a slide: a recipe, and the one function that follows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arguments import integer, number
from ..annotations.origin import Origin, annotations_of, beyond_the_tissue, check_origin
from ..errors import ArgumentError
from ..slides import Slide
from ..slides.resolution import LevelChoice, check_resolution, choose_level
from ..storage.moment import is_folder, may_be_file
from ..tissue.methods import DEFAULT_METHOD, TissueMethod, find_method
from ..tissue.slide_mask import TissueMask, find_tissue, mask_from_geojson, mask_from_png
from ..tissue.thumbnails import thumbnail_of
from .grids import Edge, check_grid, grid_tiles, thumbnail_size, tissue_shares
from .positions import level0_windows
from .tile_table import TileTable

__all__ = ["LaidTiles", "SlideFiles", "TileRecipe", "lay_tiles"]

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
        The resolution, see `cellmix_dali.slides.resolution.choose_level`; by default level 0. `mpp_override` is of all
        slides for which a list says no mpp of their own.
    overlap : int, default 0
        Pixels of the finished tile that neighbours share.
    stride : int, optional
        Distance of neighbours in pixels of the finished tile, instead of `overlap`.
    edge : {"skip", "pad"}, default "skip"
        Tiles over the slide's right and lower edge: left out, or filled up with white.
    tissue : float, default 0.5
        Least share of tissue in a tile, 0 to 1; 0 takes all tiles. It holds for annotated tiles, too.
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
        check_resolution(self.tile_size, **self._resolution(None))
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
            object.__setattr__(self, name, Path(folder).absolute())
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
        """Whether no resolution is asked for, so that tiles of several slides may be of different scale."""
        return self.mpp is None and self.magnification is None

    def choose_level(self, slide: Slide, mpp: float | None = None) -> LevelChoice:
        """Choose the level of a slide and the window, see `cellmix_dali.slides.resolution.choose_level`.

        Parameters
        ----------
        slide : Slide
            An open slide.
        mpp : float, optional
            Microns per pixel of its first level, instead of `mpp_override`.
        """
        return choose_level(slide, self.tile_size, **self._resolution(mpp))

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

    def _resolution(self, mpp: float | None) -> dict[str, Any]:
        """What `choose_level` asks for; `mpp` is the slide's own."""
        names = "mpp", "level", "magnification", "mpp_override"
        return {name: getattr(self, name) for name in names} | ({} if mpp is None else {"mpp_override": mpp})


@dataclass(frozen=True, eq=False)
class LaidTiles:
    """The tiles that a recipe lays over one slide.

    Attributes
    ----------
    table : TileTable
        Those with tissue and a label enough, row by row; perhaps none.
    grid : int
        Places of the grid.
    tissue : float32 array (n,) or None
        Each tile's share of tissue; None where it was not looked for.
    mask : TissueMask or None
        Where the slide has tissue.
    picture : uint8 array (height, width, 3) or None
        What tissue was looked for on, grey where the slide cannot be read.
    empty : str
        Why there is no tile, for a person; empty where there is one.
    notes : tuple of str
        What a person should know: levels that have another scale than their size says; annotations or a mask that begin
        at the slide's bounds; annotations that lie mostly outside it or its tissue.
    """

    table: TileTable
    grid: int
    tissue: NDArray[np.float32] | None = None
    mask: TissueMask | None = None
    picture: NDArray[np.uint8] | None = None
    empty: str = ""
    notes: tuple[str, ...] = ()


def lay_tiles(
    slide: Slide,
    recipe: TileRecipe,
    *,
    label: int | None = None,
    mpp: float | None = None,
    files: SlideFiles | None = None,
    look: bool = False,
) -> LaidTiles:
    """Lay tiles over one slide.

    What cannot be seen for damage may be tissue: such tiles are among those that are laid.

    Parameters
    ----------
    slide : Slide
        An open slide.
    recipe : TileRecipe
        Which tiles.
    label : int, optional
        Class index of all its tiles, where annotations do not label them.
    mpp : float, optional
        Microns per pixel of its first level, instead of the recipe's `mpp_override`.
    files : SlideFiles, optional
        Its mask and annotations; by default those that have its name in the recipe's folders.
    look : bool, default False
        Whether to measure tissue, and make the picture of the slide, also where neither decides over a tile.

    Returns
    -------
    LaidTiles

    Raises
    ------
    ArgumentError, SlideError
        If the slide, its mask or its annotations cannot be read or do not fit.
    """
    files = recipe.files_of([slide.path])[0] if files is None else files
    grid = grid_tiles(
        slide,
        recipe.tile_size,
        **recipe._resolution(mpp),
        overlap=recipe.overlap,
        stride=recipe.stride,
        edge=recipe.edge,
    )
    table, empty = grid, ""
    notes = []
    if recipe.labelled:
        table, told = _labelled(slide, recipe, grid, files.annotations)
        notes.append(told)
        empty = "" if len(table) else "none of its tiles is covered enough by the annotations"
    elif label is not None:
        table = table.with_labels(np.full(len(table), label, np.int32))
    mask = picture = shares = None
    if look or (recipe.tissue and len(table)):
        picture, mask, told = _tissue(slide, recipe, files, grid, look)
        shares = tissue_shares(slide, table, mask=mask)
        enough = shares >= recipe.tissue
        notes += [told, beyond_the_tissue(slide, recipe.annotations_origin, enough) if recipe.labelled else ""]
        table, shares = table.select(enough), shares[enough]
        if not empty and not len(table):
            empty = f"none of its {len(grid)} tiles has {recipe.tissue:g} of tissue"
    told_of = tuple(each for each in (*notes, *slide.notes) if each)
    return LaidTiles(table, len(grid), shares, mask, picture, empty, told_of)


def _labelled(slide: Slide, recipe: TileRecipe, grid: TileTable, path: Path | None) -> tuple[TileTable, str]:
    """Tiles that a class covers, with its label, and what a person should know of the annotations."""
    assert path is not None
    assert recipe.classes is not None
    if not may_be_file(path):
        raise ArgumentError(
            f"There are no annotations for {slide.path} in {path.parent}: looked for {slide.path.name}.geojson and "
            f"{slide.path.stem}.geojson. Export them from QuPath as GeoJSON, or leave the slide out."
        )
    x, y, size = level0_windows(slide, grid)
    try:
        annotations, told = annotations_of(path, slide, origin=recipe.annotations_origin)
        labels = annotations.label_tiles(x, y, size, size, recipe.classes, min_share=recipe.min_share)
    except ArgumentError as error:
        raise error if str(path) in str(error) else ArgumentError(f"{path}: {error}") from error
    return grid.with_labels(labels).select(labels >= 0), told


def _tissue(
    slide: Slide, recipe: TileRecipe, files: SlideFiles, grid: TileTable, look: bool
) -> tuple[NDArray[np.uint8] | None, TissueMask, str]:
    """A picture of the slide if need be, where it has tissue, and what a person should know of that."""
    regions = None if recipe.labelled else files.annotations
    if files.mask is None and regions is None:
        picture, unread = thumbnail_of(slide, thumbnail_size(slide, grid))
        mask = find_tissue(slide, thumbnail=picture, method=recipe.tissue_method)
        # What cannot be seen may be tissue: its tiles are tried, and reported where they cannot be read either.
        return picture, replace(mask, pixels=mask.pixels | unread), ""
    shown, origin = thumbnail_of(slide, thumbnail_size(slide, grid))[0] if look else None, recipe.annotations_origin
    if files.mask is not None:
        mask = mask_from_png(files.mask, slide, origin=origin)
        x, y = mask.origin
        return shown, mask, f"the mask begins at the bounds ({x:.0f}, {y:.0f})" if x or y else ""
    assert regions is not None
    _, told = annotations_of(regions, slide, origin=origin, unclassified="")
    return shown, mask_from_geojson(regions, slide, origin=origin), told


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
