"""The report: files for people and programs, and nothing hidden in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from rich.console import Console

from cellmix_dali.comparison.differences import METRICS
from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.comparison.report import Report, print_report, write_report
from cellmix_dali.comparison.words import arm_name, question
from cellmix_dali.pictures import CurriculumRow, DifferenceRow, curricula_picture, differences_picture
from cellmix_dali.pictures._style import COLOURS

Make = Callable[..., RunRecord]
SETTINGS = {
    "folder": "/somewhere/herlev917",
    "images": 917,
    "only": "magnification=400x",
    "image_size": 128,
    "epochs": 10,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, many_records: list[RunRecord]) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("report")
    return folder, write_report(folder, many_records, settings=SETTINGS, failed={"Mixup, fold 9": "It\ndiverged."})


def printed(report: Report, width: int = 110) -> str:
    text = io.StringIO()
    print_report(report, Console(file=text, width=width))
    return text.getvalue()


def share_of(path: Path, colour: str) -> float:
    """Share of a picture's pixels that have a colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return float((np.abs(pixels - np.rint(255 * np.array(to_rgb(colour)))).max(axis=-1) <= 2).mean())


def test_all_files_are_there_and_agree(written: tuple[Path, Report], many_records: list[RunRecord]) -> None:
    folder, report = written
    names = {"report.md", "report.json", "results.csv", "differences.csv", "differences.png", "curricula.png"}
    assert {path.name for path in folder.iterdir()} == names
    content = json.loads((folder / "report.json").read_text())
    assert content == json.loads(json.dumps(report.to_json()))
    with (folder / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    assert len(results) == len(many_records) == 11 * 15
    assert float(results[0]["test_balanced_accuracy"]) == many_records[0].test["balanced_accuracy"]
    with (folder / "differences.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 10 * len(METRICS)
    for line, each in zip(lines, content["differences"], strict=True):
        assert (line["arm"], line["metric"], line["verdict"]) == (each["arm"], each["metric"], each["verdict"])
        assert [float(line[name]) for name in ("mean", "low", "high")] == [each["mean"], *each["interval"]]
        figures = {(row["arm"], row["fold"], row["seed"]): float(row[f"test_{each['metric']}"]) for row in results}
        for pair in each["pairs"]:
            fold, seed = pair["fold"], str(pair["seed"])
            expected = figures[each["arm"], fold, seed] - figures["none", fold, seed]
            assert pair["difference"] == pytest.approx(expected)


def test_what_a_person_reads(written: tuple[Path, Report]) -> None:
    folder, report = written
    text = (folder / "report.md").read_text()
    assert text.startswith("# Does mixing help? herlev917, magnification=400x\n")
    assert "5 folds x 3 seeds" in text
    assert "10 arms would still give 0.5 false alarms" in text
    for arm in report.arms:
        mean = np.mean([100 * run.test["balanced_accuracy"] for choice in report.choices
                        if choice.arm == arm.arm for run in choice.runs])  # fmt: skip
        assert f"| {arm.arm} | 15 | {mean:.1f} ± " in text
    for each in report.differences:
        assert each.mean is not None
        assert each.interval is not None
        line = next(line for line in text.splitlines() if line.startswith(f"| {each.arm} | ") and each.verdict in line)
        assert f"[{100 * each.interval[0]:+.1f}, {100 * each.interval[1]:+.1f}]".replace("-0.0", "+0.0") in line
    assert "- Mixup, fold 9: It diverged.\n" in text
    assert "The training sets of the folds overlap" in text
    assert "on the authors' own logs it was 15 of 22,250" in text.replace("On the", "on the")
    assert "](differences.png)" in text
    assert "](curricula.png)" in text
    assert "What was chosen" not in text  # there was one candidate only


def test_what_is_printed(written: tuple[Path, Report]) -> None:
    _, report = written
    text = printed(report)
    assert "compared with" in text
    for each in report.differences:
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{each.arm} "))
        assert each.verdict in line
    assert "CellMix-Group, off: patch 32 px, ratio 0.50: never changed" in text


def test_the_candidates_chosen_are_told(tmp_path: Path, make_run: Make) -> None:
    records = [make_run("none", fold, seed) for fold in "abc" for seed in (0, 1)]
    for fold, best in (("a", 0.5), ("b", 1.0), ("c", 1.0)):
        for p in (0.5, 1.0):
            records += [
                make_run("CutMix", fold, seed, candidate={"p": p}, validation=0.9 if p == best else 0.5, test=p)
                for seed in (0, 1)
            ]
    report = write_report(tmp_path, records, settings=SETTINGS, failed={})
    text = (tmp_path / "report.md").read_text()
    assert "| CutMix | p 1 | 2 |" in text
    assert "| CutMix | p 0.5 | 1 |" in text
    assert report.arms[1].scores["balanced_accuracy"][0] == pytest.approx((0.5 + 1 + 1) / 3)
    with (tmp_path / "results.csv").open(newline="") as file:
        chosen = {(row["fold"], row["p"]) for row in csv.DictReader(file) if row["arm"] == "CutMix"}
    assert chosen == {("a", "0.5"), ("b", "1.0"), ("c", "1.0")}
    assert not (tmp_path / "curricula.png").exists()


@pytest.mark.slow
def test_another_arm_can_be_compared_with(tmp_path: Path, many_records: list[RunRecord]) -> None:
    to_none = {
        each.arm: each for each in write_report(tmp_path, many_records, settings=SETTINGS, failed={}).differences
    }
    report = write_report(tmp_path, many_records, settings=SETTINGS, failed={}, baseline="CutMix")
    to_cutmix = {each.arm: each for each in report.differences}
    assert set(to_cutmix) == {*to_none, "none"} - {"CutMix"}
    assert to_cutmix["none"].mean == pytest.approx(-(to_none["CutMix"].mean or 0))
    assert to_cutmix["Mixup"].mean == pytest.approx((to_none["Mixup"].mean or 0) - (to_none["CutMix"].mean or 0))
    text = (tmp_path / "report.md").read_text()
    assert "## Differences to CutMix" in text
    assert "against CutMix, in balanced accuracy" in text
    assert "no mixing" not in text
    assert json.loads((tmp_path / "report.json").read_text())["baseline"] == "CutMix"


def test_failed_pairs_and_one_fold_are_said(tmp_path: Path, make_run: Make) -> None:
    records = [make_run("none", "a", 0), make_run("none", "a", 1), make_run("CutMix", "a", 1, test=0.7)]
    report = write_report(tmp_path, records, settings=SETTINGS, failed={"CutMix, fold a, seed 0": "diverged"})
    text = (tmp_path / "report.md").read_text()
    assert "1 pair left out" in text
    assert "an interval over folds cannot be made" in text
    assert "| CutMix | +10.0 | none: one pair only | too few pairs | 1 | 1 |  |" in text
    assert "none: one pair only" in printed(report)


def test_without_a_baseline_there_is_a_report_all_the_same(tmp_path: Path, make_run: Make) -> None:
    (tmp_path / "differences.png").write_bytes(b"of an earlier report")
    report = write_report(tmp_path, [make_run("CutMix")], settings={}, failed={"none, fold 1": "diverged"})
    assert "none: no pair" in printed(report)
    assert not (tmp_path / "differences.png").exists()
    assert "differences.png" not in (tmp_path / "report.md").read_text()


def test_verdicts_have_colours(tmp_path: Path) -> None:
    def draw(verdict: str) -> Path:
        path = tmp_path / f"{verdict}.png"
        row = DifferenceRow("CutMix", [0.01, 0.03], 0.02, (0.01, 0.03), verdict)
        differences_picture(path, [row, row], title="title", metric="accuracy")
        return path

    # The legend has both colours; the rows have their own.
    better, worse, neither, few = map(draw, ("better", "worse", "no difference seen", "too few pairs"))
    assert share_of(few, COLOURS[3]) > share_of(neither, COLOURS[3]) == 0
    assert share_of(better, COLOURS[2]) > 1.5 * share_of(neither, COLOURS[2]) > 0
    assert share_of(worse, COLOURS[1]) > 1.5 * share_of(neither, COLOURS[1]) > 0


def test_the_mean_is_where_it_is(tmp_path: Path) -> None:
    def mark_from_zero(mean: float) -> int:
        row = DifferenceRow("CutMix", [-0.1, 0.1], mean, (mean, mean), "better")
        differences_picture(tmp_path / "d.png", [row] * 9, title="", metric="accuracy")
        with Image.open(tmp_path / "d.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)[: picture.height // 2]
        pixels = pixels[:, : int(0.8 * pixels.shape[1])]  # without the figures in the margin
        zero = int((pixels.max(axis=-1) < 120).sum(axis=0).argmax())
        green = (np.abs(pixels - np.rint(255 * np.array(to_rgb(COLOURS[2])))).max(axis=-1) <= 2).sum(axis=0)
        return int(green.argmax()) - zero

    far, near = mark_from_zero(0.08), mark_from_zero(0.04)
    assert far > 100
    assert near == pytest.approx(far / 2, abs=3)
    assert mark_from_zero(-0.08) == pytest.approx(-far, abs=3)


def test_many_arms_make_tall_pictures(tmp_path: Path) -> None:
    epochs = [
        {"epoch": n, "patch_size": 64 >> n, "fix_ratio": 0.9 - 0.1 * n, "threshold": 0.5, "train_loss": 0.6}
        for n in range(3)
    ]
    heights = []
    for count in (1, 6):
        row = CurriculumRow("CellMix-Group", "one\ntwo", [epochs, epochs], True)
        curricula_picture(tmp_path / "c.png", [row] * count, title="title")
        with Image.open(tmp_path / "c.png") as picture:
            heights.append(picture.height)
        assert share_of(tmp_path / "c.png", COLOURS[0]) > 0.0005
    assert heights[1] > 3.5 * heights[0]


def test_what_changed_images_do_is_told_with_an_interval(tmp_path: Path, make_run: Make) -> None:
    """Of every arm against itself: pairs of one fold and seed, here 0.10 to 0.15 below."""
    records = []
    for arm, augment, loss in (("none", None, 0.10), ("hed_jitter", "hed_jitter", 0.02)):
        for fold in "abc":
            for seed in (0, 1):
                run = replace(make_run("none", fold, seed, test=0.6), arm=arm, augment=augment)
                changed = run.test | {"balanced_accuracy": 0.6 - loss - 0.05 * seed}
                records.append(replace(run, also_tested={"restained.yaml": changed}))
    report = write_report(tmp_path, records, settings=SETTINGS, failed={})
    (also,) = report.also_tested
    none, jitter = also.to_unchanged
    assert (none.arm, jitter.arm) == ("none", "hed_jitter")
    assert none.mean == pytest.approx(-0.125)
    assert none.verdict == jitter.verdict == "worse"
    assert none.interval is not None
    assert -0.15 < none.interval[0] < none.interval[1] < -0.10
    assert list(none.pairs.values()) == [pytest.approx(of) for of in (-0.10, -0.15) * 3]
    assert jitter.mean == pytest.approx(-0.045)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Does augmentation help? ")
    assert "against no augmentation, in balanced accuracy" in text
    assert "| none | 47.5 ± 2.7 | -12.5 | [-14." in text
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    under = [float(row["test_under_restained.yaml_balanced_accuracy"]) for row in rows if row["arm"] == "none"]
    assert under == [pytest.approx(value) for value in (0.5, 0.45) * 3]
    with (tmp_path / "differences.csv").open(newline="") as file:
        told = {(row["arm"], row["metric"], row["against"]): row for row in csv.DictReader(file) if row["test_under"]}
    assert set(told) == {
        ("hed_jitter", "balanced_accuracy", "none"),
        ("none", "balanced_accuracy", "unchanged images"),
        ("hed_jitter", "balanced_accuracy", "unchanged images"),
    }
    assert float(told["none", "balanced_accuracy", "unchanged images"]["mean"]) == pytest.approx(-0.125)


@pytest.mark.parametrize(
    ("compared", "asked", "against"),
    [
        ((), "Does mixing help?", "no mixing"),
        (("mixing",), "Does mixing help?", "no mixing"),
        (("augmentation",), "Does augmentation help?", "no augmentation"),
        (("mixing", "augmentation"), "Do mixing and augmentation help?", "neither mixing nor augmentation"),
    ],
)
def test_words_say_what_is_compared(compared: tuple[str, ...], asked: str, against: str) -> None:
    assert question(compared) == asked
    assert arm_name("none", compared) == against
    assert arm_name("CutMix", compared) == "CutMix"
