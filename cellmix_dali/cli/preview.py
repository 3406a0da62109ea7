"""`cellmix-dali preview`: what mixing does to a user's own tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import ArgumentError
from ..mixing import METHODS, canonical_method, make_mixer
from ._grouped import takes
from ._options import MppOverride, StoreOptions, Tissue, TissueMethodName, tile_recipe
from ._picture_file import PictureOut, ready_picture_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..previews import ChosenTiles
    from ..previews.augmented_tiles import AugmentedTiles
    from ..previews.mixed_tiles import MixedTiles

__all__ = ["preview"]

_ALL = "all"
_TILE_SIZE = 256


@takes(StoreOptions)
def preview(
    source: Annotated[
        Path, typer.Argument(help="A slide; a tile table (.parquet, .arrow); or a folder made by `cellmix-dali tile`.")
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"May be given several times: {', '.join(METHODS.names())}, or all, which is the default."),
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="An augmentation: light, strong, dinov2, midnight, one by its name, a recipe (.yaml), or "
            "module:function; may be given several times.",
        ),
    ] = None,
    out: PictureOut = Path("preview.png"),
    batch_size: Annotated[int, typer.Option(min=2, max=64, help="Tiles, all in one batch.")] = 8,
    tile_size: Annotated[
        int | None, typer.Option(min=16, help="Side of a tile in pixels; by default 256 of a slide, and a table's own.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of a slide's tiles; by default those of its finest level.")
    ] = None,
    mpp_override: MppOverride = None,
    tissue: Tissue = 0.5,
    tissue_method: TissueMethodName = "density",
    patch_size: Annotated[
        int | None, typer.Option(min=1, help="CellMix's patches in pixels; by default about a quarter of the tile.")
    ] = None,
    fix_ratio: Annotated[float, typer.Option(help="CellMix's share of patches that stay, from 0 to 1.")] = 0.5,
    labels: Annotated[
        bool, typer.Option(help="Colour by a table's labels, where it has them; otherwise by the tile.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of tiles and of the mixing.")] = 0,
) -> None:
    """Draw a batch of your own tiles as each method would mix it, with its soft labels.

    The first row is the batch as it is. Every batch is mixed (p=1), by the operators that training uses. With --augment
    the batch is shown as each augmentation changes it, and mixed only if --method is given as well. Of a slide, tiles
    with tissue are taken from all over it.
    """
    console = Console()
    methods, left_out = _methods(method or ([] if augment else [_ALL]), batch_size)
    recipe = tile_recipe(
        tile_size or _TILE_SIZE, mpp=mpp, mpp_override=mpp_override, tissue=tissue, tissue_method=tissue_method
    )
    ready_picture_file(out)
    from ..previews import choose_tiles

    chosen = choose_tiles(source, batch_size, recipe, tile_size=tile_size, labels=labels, seed=seed)
    from ..previews.mixed_tiles import middle_patch_size, mix_tiles  # takes seconds

    patch = patch_size or middle_patch_size(chosen.tile_size)
    with console.status("augmenting and mixing"):
        changed = _augmented(chosen, augment or [], seed)
        images, mixed = mix_tiles(chosen, methods, patch_size=patch, fix_ratio=fix_ratio, seed=seed)
        title = f"{source.name}: tiles of {chosen.tile_size} px"
        if any(METHODS[name].is_cellmix for name in methods):
            title += f"; CellMix with patches of {patch} px, of which {fix_ratio:.0%} stay"
        _draw(out, chosen, images, changed, mixed, title)
    for of in changed:
        console.print(f"{escape(of.name)}: {escape(of.told)}", soft_wrap=True)
    for name, reason in left_out.items():
        console.print(f"{name} is left out: {escape(reason)}", soft_wrap=True)
    console.print(f"written to {escape(str(out))}", soft_wrap=True)


def _methods(wanted: list[str], batch_size: int) -> tuple[list[str], dict[str, str]]:
    """The methods asked for, each once; of "all", those that can mix such a batch, and why the others cannot."""
    named = list(dict.fromkeys(canonical_method(name) for name in wanted if name.lower() != _ALL))
    for name in named:
        make_mixer(name).check_batch_size(batch_size)
    if _ALL not in map(str.lower, wanted):
        return named, {}
    fitting, left_out = [], {}
    for name in METHODS:
        try:
            make_mixer(name).check_batch_size(batch_size)
            fitting.append(name)
        except ArgumentError as error:
            left_out[name] = str(error)
    return fitting, left_out


def _augmented(chosen: ChosenTiles, names: list[str], seed: int) -> list[AugmentedTiles]:
    if not names:
        return []
    from ..previews.augmented_tiles import augment_tiles

    return augment_tiles(chosen, names, seed=seed)


def _draw(
    out: Path,
    chosen: ChosenTiles,
    images: NDArray[np.uint8],
    changed: list[AugmentedTiles],
    mixed: list[MixedTiles],
    title: str,
) -> None:
    from ..mixing import METHODS
    from ..pictures import MethodRow, methods_picture

    labels = chosen.labels()
    rows = [MethodRow("as they are", f"a batch of {len(labels)}", images, labels)]
    rows += [MethodRow(of.name, "augmented", of.images, labels) for of in changed]
    rows += [MethodRow(of.method, f"arXiv {METHODS[of.method].paper}", of.images, of.weights @ labels) for of in mixed]
    methods_picture(out, rows, title=title, names=chosen.classes)
