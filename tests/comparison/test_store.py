"""The folder of a comparison: runs are found again, and only those that belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cellmix_dali.comparison.arms import Arm, recipe_of
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.comparison.runs import Run
from cellmix_dali.comparison.store import RunStore
from cellmix_dali.errors import ArgumentError

COMMON = {"epochs": 2, "model": "cnn", "data": "abc"}
ABOUT = {"versions": {"torch": "1"}}
RUN = Run(Arm("CellMix, off", "CellMix", "off"), "1", 0, (("learning_rate", 0.003), ("p", 0.5)))
SCORES = {"loss": 0.5, "accuracy": 0.8, "balanced_accuracy": 0.7, "macro_f1": 0.6, "auroc": 0.9}
RECORD = RunRecord(
    arm="CellMix, off",
    method="CellMix",
    curriculum="off",
    fold="1",
    seed=0,
    candidate={"learning_rate": 0.003, "p": 0.5},
    best_epoch=0,
    validation=SCORES,
    test=SCORES,
    confusion=[[3, 1], [0, 4]],
    epochs=[{"epoch": 0, "train_loss": 0.7}],
    batch_losses=[[0.75, 0.65]],
    seconds=1.5,
)


def test_a_run_is_found_again_under_any_name_of_its_arm(tmp_path: Path) -> None:
    with RunStore(tmp_path, COMMON, ABOUT) as store:
        assert store.record(RUN) is None
        store.keep(RUN, RECORD)
    with RunStore(tmp_path, COMMON, ABOUT) as store:
        assert store.record(RUN) == RECORD
        assert store.record(replace(RUN, arm=replace(RUN.arm, name="CellMix"))) == RECORD
        others = (
            replace(RUN, arm=Arm("CellMix", "CellMix", "linear")),
            replace(RUN, fold="2"),
            replace(RUN, seed=1),
            replace(RUN, values=(("learning_rate", 0.001), ("p", 0.5))),
        )
        assert [store.record(other) for other in others] == [None] * 4
    written = tmp_path / "runs" / "cellmix_off" / "fold-1_seed-0_learning-rate-0.003_p-0.5.json"
    assert json.loads(written.read_text()) == RECORD.to_json()


def test_a_recipe_that_says_something_else_now_is_told(tmp_path: Path) -> None:
    """The file's name is the same; what it says is kept with the run."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- hed_jitter: {p: 0.5}\n")
    arm = Arm("x", "none", None, str(recipe))
    run = replace(RUN, arm=arm)
    record = replace(RECORD, method="none", curriculum=None, augment=str(recipe), recipe=recipe_of(str(recipe)))
    assert record.recipe is not None
    assert "HEDJitter" in record.recipe
    assert "p=0.5" in record.recipe
    with RunStore(tmp_path / "out", COMMON, ABOUT) as store:
        store.keep(run, record)
        assert store.record(run) == record
        assert store.record(replace(run, arm=replace(arm, augment=None))) is None
        recipe.write_text("- hed_jitter: {p: 0.75}\n")
        with pytest.raises(ArgumentError, match=r"under another augmentation: .*p=0\.5.*p=0\.75"):
            store.record(run)


def test_records_of_former_versions_are_read() -> None:
    before = {name: value for name, value in RECORD.to_json().items() if name not in ("augment", "recipe")}
    assert RunRecord.from_json(before) == RECORD
    with pytest.raises(ArgumentError, match="augment is 3, not a text"):
        RunRecord.from_json(before | {"augment": 3})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a record|Expecting value"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1, 2]", "not a record"),
        (json.dumps(RECORD.to_json()).encode()[:100], "Unterminated|Expecting|delimiter"),
        (json.dumps(RECORD.to_json() | {"seed": 3}).encode(), "of another run"),
        (json.dumps(RECORD.to_json() | {"candidate": {"learning_rate": 0.1, "p": 0.5}}).encode(), "of another run"),
    ],
)
def test_a_bad_record_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    with RunStore(tmp_path, COMMON, ABOUT) as store:
        store.keep(RUN, RECORD)
        store.file_of(RUN).write_bytes(content)
        with pytest.raises(ArgumentError, match=words) as told:
            store.record(RUN)
        assert str(store.file_of(RUN)) in str(told.value)


def test_other_settings_are_refused_saying_which(tmp_path: Path) -> None:
    RunStore(tmp_path, COMMON, ABOUT).close()
    before = (tmp_path / "comparison.json").read_bytes()
    with pytest.raises(ArgumentError, match=r'epochs was 2, is 3; model was "cnn", is "vit"\. Give the same'):
        RunStore(tmp_path, COMMON | {"epochs": 3, "model": "vit"}, ABOUT)
    with pytest.raises(ArgumentError, match="only was null, is"):
        RunStore(tmp_path, COMMON | {"only": "a=b"}, ABOUT)
    assert (tmp_path / "comparison.json").read_bytes() == before
    with RunStore(tmp_path, COMMON, {"versions": {"torch": "2"}}) as store:
        assert store.changed == {"versions": ({"torch": "1"}, {"torch": "2"})}


def test_one_comparison_at_a_time(tmp_path: Path) -> None:
    with RunStore(tmp_path, COMMON, ABOUT), pytest.raises(ArgumentError, match="Another comparison is running"):
        RunStore(tmp_path, COMMON, ABOUT)
    RunStore(tmp_path, COMMON, ABOUT).close()


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="give another one"):
        RunStore(tmp_path / "file", COMMON, ABOUT)
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(ArgumentError, match=r"comparison\.json cannot be read"):
        RunStore(tmp_path, COMMON, ABOUT)


def test_what_a_killed_comparison_left_half_written_is_removed(tmp_path: Path) -> None:
    with RunStore(tmp_path, COMMON, ABOUT) as store:
        store.keep(RUN, RECORD)
        left = store.file_of(RUN).with_name(store.file_of(RUN).name + ".0123456789ab.part")
        left.write_text("{")
    with RunStore(tmp_path, COMMON, ABOUT) as store:
        assert not left.exists()
        assert store.record(RUN) == RECORD
