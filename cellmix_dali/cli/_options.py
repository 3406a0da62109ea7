"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ArgumentError
from ..tissue.methods import METHODS

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training tiles.")]
Out = Annotated[Path, typer.Option(help="Folder for report.json, mixed.png, curriculum.png and model.pt.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Tiles per batch.")]
Method = Annotated[
    str,
    typer.Option(
        help="CellMix, CellMix-Group, CellMix-Random4, ..., or CutMix, Mixup, Cutout, FMix, ResizeMix, SaliencyMix."
    ),
]
Probability = Annotated[float, typer.Option("--p", help="Probability that a batch is mixed, from 0 to 1.")]
PatchStrategy = Annotated[
    str, typer.Option(help="Patch sizes over the epochs: linear, reverse, random, loop, loss_hold, loss_back, fixed.")
]
RatioStrategy = Annotated[str, typer.Option(help="Fix ratio over the epochs: decay, loss_hold, loss_back, fixed.")]
PatchSize = Annotated[int | None, typer.Option(help="Constant patch size in pixels; implies --patch-strategy fixed.")]
FixRatio = Annotated[
    float | None,
    typer.Option(help="Constant share of patches that stay, from 0 to 1; implies --ratio-strategy fixed."),
]
Threshold = Annotated[float, typer.Option(help="Loss per sample at which the curriculum makes the next epoch harder.")]
Device = Annotated[str, typer.Option(help="cpu or gpu.")]
Engine = Annotated[
    str | None,
    typer.Option(help="What mixes the pixels: native or numba; the result is the same. By default the faster one."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of slides, order, mixing and weights.")]
Folds = Annotated[
    Path | None,
    typer.Option(help="With --images: CSV with the columns path (within DIR), class, fold, and optionally group."),
]
Only = Annotated[
    str | None, typer.Option(help="COLUMN=VALUE: use only these rows of --folds, such as magnification=400x.")
]
ClassColumn = Annotated[str, typer.Option(help="The column of --folds that names the class.")]
ImageSize = Annotated[int, typer.Option(help="With --images: side in pixels to which they are resized.")]
Model = Annotated[
    str, typer.Option(help="With --images: cnn or vit (small ones), or timm:NAME where timm is installed.")
]
Pretrained = Annotated[bool, typer.Option(help="Begin with timm's weights, which it downloads.")]
SkipBadImages = Annotated[
    bool, typer.Option(help="Leave out images that cannot be decoded, and report them, instead of stopping.")
]
AnnotationsOrigin = Annotated[
    str,
    typer.Option(
        help="Where coordinates of annotations begin, and what masks show: bounds (the slide's, as QuPath exports "
        "them), or level0 (the whole first level)."
    ),
]
MixedResolutions = Annotated[
    bool,
    typer.Option(
        "--mixed-resolutions",
        help="Take slides of different mpp although no --mpp or --magnification is asked for: tiles differ in scale.",
    ),
]
TissueMethodName = Annotated[
    str,
    typer.Option(
        "--tissue-method",
        help=f"How tissue is found: {', '.join(METHODS.names())}; or MODULE:FUNCTION of your own, from a picture "
        "to a mask.",
    ),
]
MppOverride = Annotated[
    float | None,
    typer.Option(help="Microns per pixel of level 0, where the file says none or a wrong one."),
]


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
