"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .._arguments import local_only
from ..errors import ArgumentError
from ..storage import set_store_cache
from ..tissue.methods import METHODS

if TYPE_CHECKING:
    from ..tables import TileRecipe

#: Options in the panels of a command's help.
data_option, grid_option, mixing_option, model_option, run_option, store_option = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Data", "Resolution and tissue", "Mixing", "Model", "Run", "Object stores")
)

Epochs = Annotated[int, model_option(min=1, help="Passes over the training samples.")]
BatchSize = Annotated[int, model_option(min=1, help="Samples per batch.")]
Probability = Annotated[float, mixing_option("--p", help="Probability that a batch is mixed, from 0 to 1.")]
Threshold = Annotated[float, mixing_option(help="Loss per sample at which the curriculum makes the next epoch harder.")]
Device = Annotated[Literal["cpu", "gpu"], run_option(help="Where it runs.")]
Folds = Annotated[
    Path | None, data_option(help="CSV with the columns path (within DIR), class, fold, and optionally group.")
]
Only = Annotated[
    str | None, data_option(help="COLUMN=VALUE: use only these rows of --folds, such as magnification=400x.")
]
ClassColumn = Annotated[str, data_option(help="The column of --folds that names the class.")]
ImageSize = Annotated[int, data_option(help="Side in pixels to which images are resized.")]
Model = Annotated[
    str,
    model_option(
        help="small_cnn or vit (small ones); where timm is installed timm:NAME, hf-hub:ORG/NAME or the folder of such "
        "a model; or MODULE:CALLABLE of your own, which takes the number of classes."
    ),
]
Pretrained = Annotated[bool, model_option("--pretrained", help="Begin with timm's weights, which it downloads.")]
Mean = Annotated[
    tuple[float, float, float] | None,
    model_option(
        metavar="R G B",
        help="Mean by which images are normalised, in [0, 1]; by default what the model says of itself, or ImageNet's.",
        show_default=False,
    ),
]
Std = Annotated[
    tuple[float, float, float] | None,
    model_option(metavar="R G B", help="Standard deviation, likewise.", show_default=False),
]
SkipBadImages = Annotated[
    bool,
    data_option(
        "--skip-bad-images", help="Leave out images that cannot be decoded, and report them, instead of stopping."
    ),
]
SkipBadSlides = Annotated[
    bool,
    data_option(
        "--skip-bad-slides", help="Leave out slides that cannot be read, and report them, instead of stopping."
    ),
]
SlideCache = Annotated[
    str,
    data_option(help="Memory for where the blocks of slides lie, of each loader: 8 bytes for each block of a slide."),
]
IndexFile = Annotated[
    Path | None,
    data_option(
        "--index",
        help="Index of the slides (cellmix-dali index): made there, or brought up to date. By default collection.index "
        "in --out.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    data_option(
        min=0,
        help="Processes that look for tissue; by default one per core, but none for fewer than 16 slides.",
        show_default=False,
    ),
]
# Of commands that look at each slide once.
NamedSlides = Annotated[
    list[str],
    typer.Argument(
        help="Slide files, folders of slides, patterns in quotes such as '/data/**/*.svs', or one CSV list with the "
        "columns slide[, mpp].",
        show_default=False,
    ),
]
JobIndex = Annotated[
    Path | None,
    typer.Option(
        help="Index of the slides (cellmix-dali index), made there or brought up to date: they are opened by it, and "
        "its tissue is not looked for again. With --shard it must be there already.",
        show_default=False,
    ),
]
JobWorkers = Annotated[
    int | None, typer.Option(min=0, help="Worker processes; by default one per core. 0: none, for debugging.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Instead of --workers: a Dask scheduler, tcp://host:port, whose workers share the file system."),
]
RetrySeconds = Annotated[
    float, typer.Option(min=0, help="How long a slide is tried again that cannot be read just now.")
]
SlideTimeout = Annotated[
    float, typer.Option(min=0, help="Seconds that the work on a slide may take. 0: as long as it takes.")
]
TileSize = Annotated[
    int | None, data_option(min=32, help="Side in pixels to which tiles are resized; by default their own.")
]
Mpp = Annotated[
    float | None, grid_option(help="Microns per pixel of the tiles: the nearest finer level is read and resized.")
]
Level = Annotated[
    int | None, grid_option(min=0, help="Instead of --mpp: a level, 0 is the finest, and what is read by default.")
]
Magnification = Annotated[
    float | None, grid_option(help="Instead of --mpp: a magnification, by the slide's objective power.")
]
Overlap = Annotated[int, grid_option(min=0, help="Pixels that neighbouring tiles share.")]
Edge = Annotated[
    Literal["skip", "pad"], grid_option(help="Tiles over the slide's edge: left out, or filled up with white.")
]
Tissue = Annotated[float, grid_option(min=0, max=1, help="Least share of tissue in a slide's tile; 0 takes all.")]
Classes = Annotated[str | None, data_option(help="Class names, comma-separated, in the order of their indices.")]
AnnotationsOrigin = Annotated[
    Literal["bounds", "level0"],
    grid_option(
        help="Where coordinates of annotations begin, and what masks show: at the slide's bounds, as QuPath exports "
        "them, or at the whole first level."
    ),
]
MixedResolutions = Annotated[
    bool,
    grid_option(
        "--mixed-resolutions",
        help="Take slides of different mpp although no --mpp or --magnification is asked for: tiles differ in scale.",
    ),
]
TissueMethodName = Annotated[
    str,
    grid_option(
        "--tissue-method",
        help=f"How tissue is found: {', '.join(METHODS.names())}; or MODULE:FUNCTION of your own, from a picture "
        "to a mask.",
    ),
]
MppOverride = Annotated[
    float | None, grid_option(help="Microns per pixel of level 0, where the file says none or a wrong one.")
]


@dataclass(frozen=True)
class StoreOptions:
    """What is kept of slides in object stores, for every command that reads slides."""

    cache: Annotated[
        Path | None,
        store_option(
            help="Folder of this machine for what was read of slides in stores (s3://, https://). By default "
            "CELLMIX_DALI_STORE_CACHE, or one in the home folder.",
            show_default=False,
        ),
    ] = None
    cache_size: Annotated[
        str | None,
        store_option(help="Bytes that it may take, as 200GB; what was used longest ago goes.", show_default="50GB"),
    ] = None

    def apply(self) -> None:
        """Let this process and its workers go by the options."""
        set_store_cache(self.cache, self.cache_size)


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
    local_only("Results", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"The folder {folder} cannot be made ({error.strerror}): give another --out.") from error
    if overwrite:
        for name in _RESULTS:
            (folder / name).unlink(missing_ok=True)
