"""What each mixing method costs in the graph: the training loader with it, and with none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from material import Material
from measure import Contestant, alternate, rounds_of
from settings import BATCH, CLASSES, FIX_RATIO, PATCH, THREADS

from cellmix_dali import TileTable
from cellmix_dali.mixing import METHODS
from cellmix_dali.pipelines import train_loader

if TYPE_CHECKING:
    from groups import Report

__all__ = ["methods"]

_TILES = 2048
_SHOWN = ("CellMix", "CellMix-Group", "CellMix-Random", "Cutout", "CutMix", "Mixup", "FMix", "ResizeMix", "SaliencyMix")


def methods(material: Material, rounds: int, report: Report) -> None:
    """Each method at p = 1, and CellMix at p = 0, which is none; blocks of 256 px of the TIFF."""
    table = material.blocks(material.tiff, _TILES)
    none = _contestant(table, "none", "CellMix", p=0.0)
    series = alternate([none, *(_contestant(table, method, method, p=1.0) for method in _SHOWN)], rounds)
    report.series["each method in the graph, blocks of 256 px"] = series
    for method in _SHOWN:
        report.rounds[f"{method.lower().replace('-', '_')}_over_none"] = rounds_of(series, method, none.name)


def _contestant(table: TileTable, name: str, method: str, *, p: float) -> Contestant:
    steering = {"patch_size": PATCH, "fix_ratio": FIX_RATIO} if METHODS[method].is_cellmix else {}
    loader = train_loader(
        table,
        num_classes=CLASSES,
        batch_size=BATCH,
        method=method,
        p=p,
        flips=False,
        num_threads=THREADS,
        num_workers=THREADS,
        **steering,
    )
    return Contestant(name, lambda: sum(len(batch["images"]) for batch in loader), loader.close)
