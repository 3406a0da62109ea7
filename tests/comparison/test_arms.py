"""What is compared: names, curricula, and the values to choose among."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellmix_dali.comparison.arms import (
    CURRICULA,
    Arm,
    candidates,
    make_arms,
    parse_augmentations,
    parse_curricula,
    parse_methods,
    parse_values,
)
from cellmix_dali.comparison.data import ComparedImages
from cellmix_dali.comparison.runs import Run, run_seed
from cellmix_dali.comparison.settings import ComparisonSettings
from cellmix_dali.errors import ArgumentError

VALUES = {"learning_rate": (0.003, 0.001), "p": (0.5, 1.0), "threshold": (0.5,)}


def test_none_is_always_compared_and_comes_first() -> None:
    assert parse_methods("cutmix, cellmix_group,CUTMIX") == ("none", "CutMix", "CellMix-Group")
    assert parse_methods("mixup,None") == ("none", "Mixup")


def test_curricula_by_name_or_pair() -> None:
    assert parse_curricula("loss_hold,linear+loss_hold,linear+decay,linear,fixed+fixed") == (
        "loss_hold", "linear+loss_hold", "linear", "off",
    )  # fmt: skip
    for name, strategies in CURRICULA.items():
        assert Arm("CellMix", "CellMix", name).strategies == strategies
    assert Arm("CellMix", "CellMix", "loop+loss_back").strategies == ("loop", "loss_back")


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_methods, "cutmux", "Did you mean 'CutMix'?"),
        (parse_methods, " , ", "give at least one"),
        (parse_curricula, "loss_held", "Did you mean 'loss_hold'?"),
        (parse_curricula, "linear+loss_held", "Did you mean 'loss_hold'?"),
        (parse_curricula, "+decay", "patch strategy"),
        (parse_curricula, "", "give at least one"),
    ],
)
def test_what_is_refused(parse: object, text: str, words: str) -> None:
    assert callable(parse)
    with pytest.raises(ArgumentError, match="(?s).*" + words.replace("?", r"\?")):
        parse(text)


def test_values() -> None:
    assert parse_values("--p", "0.5, 1,0.50") == (0.5, 1.0)
    with pytest.raises(ArgumentError, match="--p x: give numbers"):
        parse_values("--p", "x")


def test_a_curriculum_is_named_only_where_there_are_several() -> None:
    methods = parse_methods("CutMix,CellMix-Group,CellMix-Random4")
    one = make_arms(methods, ["loss_hold"])
    assert [arm.name for arm in one] == ["none", "CutMix", "CellMix-Group", "CellMix-Random4"]
    two = make_arms(methods, ["loss_hold", "off"])
    assert [arm.name for arm in two] == [
        "none", "CutMix", "CellMix-Group, loss_hold", "CellMix-Group, off", "CellMix-Random4, loss_hold",
        "CellMix-Random4, off",
    ]  # fmt: skip
    # The folder does not depend on what else is compared, so that finished runs are found again.
    assert one[2].slug == two[2].slug == "cellmix-group_loss_hold"
    assert len({arm.slug for arm in two}) == len(two)


def test_every_method_is_compared_under_every_augmentation() -> None:
    augmentations = parse_augmentations("hed_jitter, None,my/recipe.yaml,my-recipe.yaml,hed_jitter")
    assert augmentations == ("none", "hed_jitter", "my/recipe.yaml", "my-recipe.yaml")
    arms = make_arms(parse_methods("CellMix-Group"), ["off"], augmentations)
    assert [(arm.name, arm.method, arm.augment) for arm in arms[:4]] == [
        ("none", "none", None),
        ("CellMix-Group", "CellMix-Group", None),
        ("hed_jitter", "none", "hed_jitter"),
        ("CellMix-Group + hed_jitter", "CellMix-Group", "hed_jitter"),
    ]
    assert [arm.slug for arm in arms[:4]] == [
        "none", "cellmix-group_off", "none_with_hed_jitter", "cellmix-group_off_with_hed_jitter",
    ]  # fmt: skip
    assert len({arm.slug for arm in arms}) == len(arms) == 8
    assert arms[3].options == arms[1].options
    with pytest.raises(ArgumentError, match="--augmentations ',': give at least one"):
        parse_augmentations(",")


def test_only_options_that_change_an_arm_are_chosen_among() -> None:
    none, cutmix, off, held, mixed = (
        Arm("none", "none"),
        Arm("CutMix", "CutMix"),
        Arm("c", "CellMix", "off"),
        Arm("c", "CellMix", "loss_hold"),
        Arm("c", "CellMix", "linear+loss_back"),
    )
    assert candidates(none, VALUES) == [{"learning_rate": 0.003}, {"learning_rate": 0.001}]
    assert candidates(cutmix, VALUES) == [
        {"learning_rate": 0.003, "p": 0.5}, {"learning_rate": 0.003, "p": 1.0}, {"learning_rate": 0.001, "p": 0.5},
        {"learning_rate": 0.001, "p": 1.0},
    ]  # fmt: skip
    assert off.options == cutmix.options == ("learning_rate", "p")
    assert held.options == mixed.options == ("learning_rate", "p", "threshold")


def test_a_runs_seed_is_of_fold_and_seed_alone() -> None:
    seeds = {run_seed(seed, fold) for seed in range(20) for fold in ("0", "1", "10", "a")}
    assert len(seeds) == 80
    assert run_seed(1, "0") == 3997013699
    assert all(0 < seed < 2**32 for seed in seeds)


def test_names_of_files_tell_runs_apart() -> None:
    arm = Arm("CutMix", "CutMix")
    runs = [
        Run(arm, fold, seed, tuple(chosen.items()))
        for fold in ("0", "1", "a b", "a-b", "A-b", "a/b", "ä")
        for seed in (0, 1)
        for chosen in candidates(arm, VALUES)
    ]
    assert len({run.slug.lower() for run in runs}) == len(runs)
    assert not any("/" in run.slug for run in runs)
    assert runs[0].slug == "fold-0_seed-0_learning-rate-0.003_p-0.5"
    assert runs[0].name == "CutMix, fold 0, seed 0, learning rate 0.003, p 0.5"


def test_settings_that_cannot_work_are_refused_with_the_arm(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "data": ComparedImages(images=tmp_path, folds=tmp_path / "f.csv"),
        "methods": ("none", "CellMix"),
        "learning_rate": (0.1,),
    }
    with pytest.raises(ArgumentError, match=r"^CellMix: .*patch"):
        ComparisonSettings(**given).check(250)
    with pytest.raises(ArgumentError, match=r"^none: learning_rate=2"):
        ComparisonSettings(**given | {"learning_rate": (0.1, 2)}).check(224)
    with pytest.raises(ArgumentError, match="seeds"):
        ComparisonSettings(**given, seeds=0)
