"""The drop-in for torch loops against the authors' package, on the same CPU tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from measure import Contestant, alternate, rounds_of
from plain_cellmix import plain_cellmix
from settings import CLASSES, FIX_RATIO, PATCH, THREADS

from cellmix_dali import get_online_augmentation
from cellmix_dali.mixing import CELLMIX_VARIANTS, METHODS

if TYPE_CHECKING:
    from groups import Report
    from material import Material

__all__ = ["drop_in"]

_SHAPES = ((64, 3, 224, 224), (8, 3, 384, 384))
_METHODS = ("CellMix", "CellMix-Group", "CellMix-Random", *(name for name in METHODS if name not in CELLMIX_VARIANTS))
_OURS, _THEIRS, _PLAIN = "drop-in", "authors' package", "plain CellMix"
_TILES = 256  # ours a pass; the authors' makes one batch

Make = Callable[..., Callable[..., Any]]


def drop_in(material: Material, rounds: int, report: Report) -> None:  # noqa: ARG001
    """Each method at p = 1; where the authors' package cannot be imported, CellMix against plain torch."""
    make, reason = _authors()
    if reason:
        report.notes["drop-in"] = reason
    with _threads(THREADS):
        for shape in _SHAPES:
            images, labels = torch.rand(shape), torch.randint(0, CLASSES, shape[:1])
            for method in _METHODS:
                name = f"{method}, {' x '.join(map(str, shape))} float32"
                ours = _contestant(_OURS, get_online_augmentation, method, images, labels, _TILES // len(images))
                theirs, why = _rival(make, method, images, labels)
                contestants = [ours, theirs] if theirs else [ours]
                series = report.series[f"drop-in, {name}"] = alternate(contestants, rounds)
                key = f"drop_in_over_{'plain' if make is None else 'authors'}: {name}"
                report.rounds[key] = rounds_of(series, _OURS, theirs.name) if theirs else []
                if why:
                    report.notes[key] = why


def _authors() -> tuple[Make | None, str]:
    """Return the authors' maker, or why there is none."""
    try:
        from CellMix.online_augmentations import get_online_augmentation as make
    except Exception as error:  # its imports fail in more ways than ImportError
        return None, f"the authors' package cannot be imported ({error}): CellMix is compared with plain torch instead"
    return make, ""


def _rival(make: Make | None, method: str, images: torch.Tensor, labels: torch.Tensor) -> tuple[Contestant | None, str]:
    """Return what the drop-in is compared with, or why there is nothing."""
    if make is not None:
        try:
            rival = _contestant(_THEIRS, make, method, images, labels, 1)
            rival.run()
        except Exception as error:
            return None, f"the authors' {method} does not run here: {error}".splitlines()[0]
        return rival, ""
    variant = CELLMIX_VARIANTS.get(method)
    if variant is None or variant.strategy != "in-place":
        return None, "the authors' package cannot be imported"

    def run() -> int:
        options = {"num_classes": CLASSES, "patch_size": PATCH, "fix_ratio": FIX_RATIO}
        plain_cellmix(images, labels, group_size=variant.group_size, **options)
        return len(images)

    return Contestant(_PLAIN, run), ""


def _contestant(
    name: str, make: Make, method: str, images: torch.Tensor, labels: torch.Tensor, batches: int
) -> Contestant:
    """Mix one batch over and over."""
    augmentation = make(
        method, p=1.0, class_num=CLASSES, batch_size=len(images), edge_size=images.shape[2], device="cpu"
    )
    parameters = (FIX_RATIO, PATCH) if method in CELLMIX_VARIANTS else ()

    def run() -> int:
        for _ in range(batches):
            augmentation(images, labels, *parameters)
        return batches * len(images)

    return Contestant(name, run)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
