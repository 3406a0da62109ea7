"""Arguments that no reader, order, plan or loss can use: each is refused in words that name it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cellmix_dali import TileTable, evaluate_loader, train_loader
from cellmix_dali._random import generator
from cellmix_dali.curriculum import Curriculum
from cellmix_dali.errors import ArgumentError
from cellmix_dali.losses import SoftCrossEntropy, SoftTargetCrossEntropy
from cellmix_dali.mixing import PatchPlan, ResizeMix, make_mixer
from cellmix_dali.mixing.cellmix import check_group_size
from cellmix_dali.mixing.resampling import resample
from cellmix_dali.mixing.saliency import SALIENCY_SIDE, scaled_peaks
from cellmix_dali.plugins import PlanSource, TileSource
from cellmix_dali.reading.slides import TileReader

TWO, FEW = torch.zeros(4, 2), np.zeros((2, 3, 3, 3), np.uint8)

REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("seed", lambda: generator(-1), "seed=-1 cannot key"),
    ("seed of 65 bits", lambda: generator(2**64), "cannot key a random draw"),
    ("rank", lambda: generator(0, rank=-1), "rank=-1 cannot key"),
    ("no samples", lambda: check_group_size(1, 0), "batch_size=0 is not a batch"),
    ("group of none", lambda: check_group_size(0, 4), "group_size=0 does not divide batch_size=4"),
    ("group of -2", lambda: check_group_size(-2, 4), "group_size=-2 does not divide"),
    ("group of 3", lambda: check_group_size(3, 4, "CellMix-Group"), "of method 'CellMix-Group' does not divide"),
    ("interpolation", lambda: resample(FEW[0], (2, 2), "cubic"), "cubic"),
    ("interpolation of a mixer", lambda: ResizeMix(interpolation="cubic"), "cubic"),
    ("low above high", lambda: ResizeMix(low=0.5, high=0.4), "low=0.5 is above high=0.4"),
    ("copies across", lambda: scaled_peaks(np.zeros((1, SALIENCY_SIDE, 9, 3), np.uint8), (9, 9)), "copies must be"),
    ("copies down", lambda: scaled_peaks(np.zeros((1, 9, SALIENCY_SIDE, 3), np.uint8), (9, 9)), "copies must be"),
    ("two indices", lambda: PatchPlan.identity(2, (1, 2)).soft_labels(np.zeros((2, 2), int), 3), "got 2 numbers per"),
    ("class 3 of 3", lambda: PatchPlan.identity(2, (1, 2)).soft_labels(np.array([0, 3]), 3), "Label 3 of sample 1"),
    ("class -1", lambda: PatchPlan.identity(2, (1, 2)).soft_labels(np.array([-1, 0]), 3), "Label -1 of sample 0"),
    ("patch strategy", lambda: Curriculum(epochs=2, tile_size=64, patch_strategy="x"), "patch_strategy"),
    ("ratio strategy", lambda: Curriculum(epochs=2, tile_size=64, ratio_strategy="x"), "ratio_strategy"),
    ("jump", lambda: Curriculum(epochs=2, tile_size=64, jump="x"), "jump"),
    ("reduction", lambda: SoftTargetCrossEntropy("x"), "reduction"),
    ("the authors' reduction", lambda: SoftCrossEntropy(reduction="x"), "reduction"),
    ("labels alone", lambda: SoftCrossEntropy(None, TWO), "neither of them"),  # type: ignore[call-overload]
    ("logits alone", lambda: SoftCrossEntropy(TWO, None), "neither of them"),  # type: ignore[call-overload]
    ("shapes", lambda: SoftCrossEntropy(TWO, torch.zeros(4, 3)), "do not fit logits"),
    ("indices", lambda: SoftTargetCrossEntropy()(torch.zeros(4), torch.zeros(4)), "do not fit logits"),
    ("a name for a mixer", lambda: PlanSource("CutMix", tile_size=4, batch_size=2), "'CutMix' is not a mixer whose"),  # type: ignore[arg-type]
    ("patch size of CutMix", lambda: _plans("CutMix", patch_size=2, fix_ratio=0.5), "has no patches"),
    ("patch size alone", lambda: _plans("CellMix-Split", patch_size=2), "both patch_size and fix_ratio"),
    ("fix ratio alone", lambda: _plans("CellMix-Split", fix_ratio=0.5), "both patch_size and fix_ratio"),
    ("nothing for CellMix", lambda: _plans("CellMix-Split"), "both patch_size and fix_ratio"),
    ("patches that do not fit", lambda: _plans("CellMix-Split", patch_size=3, fix_ratio=0.5), "3"),
    ("ratio above 1", lambda: _plans("CellMix-Split", patch_size=2, fix_ratio=1.01), "fix_ratio=1.01"),
    ("ratio below 0", lambda: _plans("CellMix-Split", patch_size=2, fix_ratio=-0.01), "fix_ratio=-0.01"),
    ("groups that do not fit", lambda: _plans("CellMix-Group", batch_size=3, patch_size=2, fix_ratio=0.5), "group"),
]  # fmt: skip


def _plans(method: str, *, batch_size: int = 4, **given: object) -> PlanSource:
    return PlanSource(make_mixer(method), tile_size=(4, 8), batch_size=batch_size, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("make", "words"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


def test_the_authors_loss_is_the_sum_or_the_mean_of_the_modules() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=random)
    soft = torch.softmax(torch.randn(5, 3, generator=random), dim=1)
    each = torch.stack(
        [-(share * torch.log_softmax(logit, 0)).sum() for logit, share in zip(logits, soft, strict=True)]
    )
    for reduction, want in (("sum", each.sum()), ("average", each.mean()), ("mean", each.mean())):
        torch.testing.assert_close(SoftCrossEntropy(logits, soft, reduction=reduction), want)
        torch.testing.assert_close(SoftCrossEntropy(reduction=reduction)(logits, soft), want)
    torch.testing.assert_close(SoftCrossEntropy(logits, soft), each.sum())
    torch.testing.assert_close(SoftCrossEntropy()(logits, soft), each.sum())
    torch.testing.assert_close(SoftTargetCrossEntropy()(logits, soft), each.mean())


def test_what_readers_of_slides_refuse(table: TileTable) -> None:
    plans = _plans("CellMix-Split", patch_size=2, fix_ratio=0.5)
    other = PlanSource(make_mixer("CutMix"), tile_size=256, batch_size=5)
    right = PlanSource(make_mixer("CutMix"), tile_size=256, batch_size=4)
    for make, words in (
        (lambda: TileReader(table, verify="x"), "verify"),
        (lambda: TileReader(table, verify="hash"), "which have none: use verify='scan'"),
        (lambda: TileReader(table, edge="x"), "edge"),
        (lambda: TileReader(table, slots=0), "slots=0: a tile has at least one stream"),
        (lambda: TileSource(table, batch_size=4, on_error="x"), "on_error"),
        (lambda: TileSource(table, batch_size=4, balance="x"), "balance"),
        (lambda: TileSource(table, batch_size=4, plans=other), "drawn for 5 images"),
        (lambda: TileSource(table, batch_size=4, plans=plans), r"drawn for 4 images of \(4, 8\)"),
        (lambda: TileSource(table, batch_size=4, plans=right, drop_last=False), "use drop_last=True"),
        (lambda: train_loader(table, num_classes=2, batch_size=4, method=None), "Label 2|num_classes|class"),
        (lambda: evaluate_loader(table, batch_size=4, dtype="float64"), "dtype"),
        (lambda: evaluate_loader(table, batch_size=4, mean=(0.5, 0.5)), "mean"),
        (lambda: evaluate_loader(table, batch_size=4, std=(0.5, 0.5, 0.0)), "std"),
    ):
        with pytest.raises(ArgumentError, match=words):
            make()
    TileReader(table, slots=1).close()
