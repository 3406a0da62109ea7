"""What all runs of a comparison have in common, and what makes a folder another comparison's."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparison_jobs import small, write_images

from cellmix_dali.comparison import compare
from cellmix_dali.comparison.arms import make_arms
from cellmix_dali.errors import ArgumentError

CHOSEN = {"learning_rate": 3e-3, "p": 0.5, "threshold": 0.5}


def test_what_images_are_normalised_by_is_common_to_all_runs(tmp_path: Path) -> None:
    settings = small(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    for arm in make_arms(settings.methods, settings.curricula, settings.augmentations):
        run = settings.of_run(arm, CHOSEN)
        assert (run.mean, run.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    images = write_images(tmp_path / "images")
    for model in ("small_cnn", "cnn", "vit"):
        assert {"mean", "std"}.isdisjoint(small(images, model=model).common())  # as in folders of before
    for model in ("timm:vit", "module:function", "/models/a folder"):
        assert small(images, model=model).common()["mean"] == "the model's"
    only = {"methods": ("none",), "test_folds": ("0",), "epochs": 1}
    compare(small(images, **only), tmp_path / "out", workers=0)
    with pytest.raises(ArgumentError, match=r"mean was .*is \[0\.1, 0\.2, 0\.3\]"):
        compare(small(images, **only, mean=(0.1, 0.2, 0.3)), tmp_path / "out", workers=0)
    with pytest.raises(ArgumentError, match=r"none: std"):
        small(images, std=(0.1, -0.2, 0.3)).check(32)
