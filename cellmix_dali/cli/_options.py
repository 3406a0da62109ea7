"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import ArgumentError
from ..tissue.methods import METHODS

if TYPE_CHECKING:
    from ..tables import TileRecipe

#: Panels of a command's help.
DATA, RESOLUTION, MIXING, MODEL, RUN = "Data", "Resolution and tissue", "Mixing", "Model", "Run"

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training samples.", rich_help_panel=MODEL)]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples per batch.", rich_help_panel=MODEL)]
Probability = Annotated[
    float, typer.Option("--p", help="Probability that a batch is mixed, from 0 to 1.", rich_help_panel=MIXING)
]
Threshold = Annotated[
    float,
    typer.Option(help="Loss per sample at which the curriculum makes the next epoch harder.", rich_help_panel=MIXING),
]
Device = Annotated[Literal["cpu", "gpu"], typer.Option(help="Where it runs.", rich_help_panel=RUN)]
Folds = Annotated[
    Path | None,
    typer.Option(
        help="CSV with the columns path (within DIR), class, fold, and optionally group.", rich_help_panel=DATA
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        help="COLUMN=VALUE: use only these rows of --folds, such as magnification=400x.", rich_help_panel=DATA
    ),
]
ClassColumn = Annotated[str, typer.Option(help="The column of --folds that names the class.", rich_help_panel=DATA)]
ImageSize = Annotated[int, typer.Option(help="Side in pixels to which images are resized.", rich_help_panel=DATA)]
Model = Annotated[
    str,
    typer.Option(
        help="small_cnn or vit (small ones), timm:NAME where timm is installed, or MODULE:CALLABLE of your own, which "
        "takes the number of classes.",
        rich_help_panel=MODEL,
    ),
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Begin with timm's weights, which it downloads.", rich_help_panel=MODEL)
]
SkipBadImages = Annotated[
    bool,
    typer.Option(
        "--skip-bad-images",
        help="Leave out images that cannot be decoded, and report them, instead of stopping.",
        rich_help_panel=DATA,
    ),
]
SkipBadSlides = Annotated[
    bool,
    typer.Option(
        "--skip-bad-slides",
        help="Leave out slides that cannot be read, and report them, instead of stopping.",
        rich_help_panel=DATA,
    ),
]
TileSize = Annotated[
    int | None,
    typer.Option(min=32, help="Side in pixels to which tiles are resized; by default their own.", rich_help_panel=DATA),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        help="Microns per pixel of the tiles: the nearest finer level is read and resized.", rich_help_panel=RESOLUTION
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Instead of --mpp: a level, 0 is the finest, and what is read by default.",
        rich_help_panel=RESOLUTION,
    ),
]
Magnification = Annotated[
    float | None,
    typer.Option(help="Instead of --mpp: a magnification, by the slide's objective power.", rich_help_panel=RESOLUTION),
]
Overlap = Annotated[int, typer.Option(min=0, help="Pixels that neighbouring tiles share.", rich_help_panel=RESOLUTION)]
Edge = Annotated[
    Literal["skip", "pad"],
    typer.Option(
        help="Tiles over the slide's edge: left out, or filled up with white.",
        rich_help_panel=RESOLUTION,
    ),
]
Tissue = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="Least share of tissue in a slide's tile; 0 takes all.", rich_help_panel=RESOLUTION
    ),
]
Classes = Annotated[
    str | None, typer.Option(help="Class names, comma-separated, in the order of their indices.", rich_help_panel=DATA)
]
AnnotationsOrigin = Annotated[
    Literal["bounds", "level0"],
    typer.Option(
        help="Where coordinates of annotations begin, and what masks show: at the slide's bounds, as QuPath exports "
        "them, or at the whole first level.",
        rich_help_panel=RESOLUTION,
    ),
]
MixedResolutions = Annotated[
    bool,
    typer.Option(
        "--mixed-resolutions",
        help="Take slides of different mpp although no --mpp or --magnification is asked for: tiles differ in scale.",
        rich_help_panel=RESOLUTION,
    ),
]
TissueMethodName = Annotated[
    str,
    typer.Option(
        "--tissue-method",
        help=f"How tissue is found: {', '.join(METHODS.names())}; or MODULE:FUNCTION of your own, from a picture "
        "to a mask.",
        rich_help_panel=RESOLUTION,
    ),
]
MppOverride = Annotated[
    float | None,
    typer.Option(
        help="Microns per pixel of level 0, where the file says none or a wrong one.", rich_help_panel=RESOLUTION
    ),
]


@dataclass(frozen=True)
class GridOptions:
    """Resolution, grid and tissue of the tiles, for every command that lays a grid over slides."""

    mpp: Mpp = None
    level: Level = None
    magnification: Magnification = None
    mpp_override: MppOverride = None
    mixed_resolutions: MixedResolutions = False
    overlap: Overlap = 0
    edge: Edge = "skip"
    tissue: Tissue = 0.5
    tissue_method: TissueMethodName = "density"
    annotations_origin: AnnotationsOrigin = "bounds"
    classes: Classes = None

    def recipe(self, **others: Any) -> TileRecipe:
        """Return the recipe; `others` are options that not every command has."""
        return tile_recipe(**{name: of for name, of in vars(self).items() if name != "mixed_resolutions"} | others)


def tile_recipe(tile_size: int, *, classes: str | None = None, **asked: Any) -> TileRecipe:
    """Return the recipe that a command's options ask for; what a command has no option for is as by default."""
    from ..tables import TileRecipe

    names = tuple(name.strip() for name in classes.split(",")) if classes else None
    return TileRecipe(tile_size, classes=names, **asked)


# All that a training may write.
_RESULTS = (
    *("report.json", "checkpoint.pt", "model.pt", "faults.jsonl", "log.csv", "tiles.parquet"),
    *("mixed.png", "curriculum.png", "confusion.png"),
)


def may_begin(folder: Path, *, resume: bool, overwrite: bool) -> bool:
    """See whether the folder may take a training's results.

    Returns
    -------
    bool
        False if the training in it is finished, so that nothing is left to be resumed.

    Raises
    ------
    ArgumentError
        If it holds a training, finished or not, and the user does not say what is to become of it.
    """
    if resume and overwrite:
        raise ArgumentError("Give --resume, to go on, or --overwrite, to start anew: not both.")
    finished, begun = (folder / "report.json").exists(), (folder / "checkpoint.pt").exists()
    if finished and resume:
        return False
    if (finished or begun) and not (resume or overwrite):
        raise ArgumentError(
            f"{folder} holds a training that is {'finished' if finished else 'not finished'}: "
            + ("" if finished else "go on with --resume, ")
            + "give another --out, or --overwrite to start anew."
        )
    return True


def make_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Make the folder of the results; remove those of an earlier training, if they are to be overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"The folder {folder} cannot be made ({error.strerror}): give another --out.") from error
    if overwrite:
        for name in _RESULTS:
            (folder / name).unlink(missing_ok=True)
