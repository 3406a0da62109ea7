"""Image folders and folds as training data, the figures that are reported, and the models."""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.training.epoch_log import EpochLog
from cellmix_dali.training.images import folded_images, image_folders, readable_images
from cellmix_dali.training.metrics import confusion_matrix, confusion_picture, figure, scores
from cellmix_dali.training.models import check_model, default_learning_rate, make_model
from cellmix_dali.training.run import warm_up_and_cosine

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"
Row = dict[str, str]


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (200, 10, 10)).save(path)


def write_folds(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in train, val and test, two classes."""
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("sick", "healthy"):
            for number in range(count):
                write_image(tmp_path / part / name / f"{number}.png")
    write_image(tmp_path / "train" / "sick" / "deeper" / "x.JPG")
    (tmp_path / "train" / "sick" / "Thumbs.db").write_text("no image")
    (tmp_path / "train" / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Twelve images in four folds, two classes, and who they are of."""
    made = []
    for number in range(12):
        name = f"{('b', 'a')[number % 2]}/{number}.png"
        write_image(tmp_path / name)
        fold = str(number // 2 % 4)
        power = ("100x", "400x")[number // 8]
        made.append(
            {"path": name, "class": name[0], "group": f"p{fold}", "fold": fold, "power": power, "sick": name[0]}
        )
    return made


def test_folders_of_classes(folder: Path) -> None:
    data = image_folders(folder)
    assert data.classes == ("healthy", "sick")
    assert {name: len(images) for name, images in data.sets.items()} == {"train": 9, "validation": 4, "test": 6}
    for name, images in data.sets.items():
        part = folder / {"validation": "val"}.get(name, name)
        for file, label in zip(images.files, images.labels.tolist(), strict=True):
            assert Path(file).relative_to(part).parts[0] == data.classes[label]
    assert str(folder / "train" / "sick" / "deeper" / "x.JPG") in data.train.files


def test_folds_divide_the_images(tmp_path: Path, rows: list[Row]) -> None:
    table = write_folds(tmp_path / "folds.csv", rows)
    for fold, following in (("0", "1"), ("3", "0")):
        data = folded_images(tmp_path, table, fold=fold)
        assert data.classes == ("a", "b")
        found = {Path(file).stem: name for name, images in data.sets.items() for file in images.files}
        for row in rows:
            want = {fold: "test", following: "validation"}.get(row["fold"], "train")
            assert found.pop(Path(row["path"]).stem) == want
        assert not found
        for images in data.sets.values():
            names = [Path(file).parent.name for file in images.files]
            assert [data.classes[label] for label in images.labels.tolist()] == names
    data = folded_images(tmp_path, table, fold="2", validate=False, only="power=100x")
    assert data.validation is None
    assert (len(data.train), None if data.test is None else len(data.test)) == (6, 2)


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({}, {"fold": "7"}, "no fold '7' in .*: it has 0, 1, 2, 3"),
        ({}, {"only": "power=20x"}, "its values are 100x; 400x"),
        ({}, {"only": "colour=red"}, "COLUMN=VALUE"),
        ({}, {"class_column": "kind"}, "no column 'kind'"),
        ({"class": "a"}, {}, "of one class, a"),
        ({"group": "p"}, {}, "1 groups of .* lie in several folds"),
        ({"fold": "0"}, {}, "has 1 folds"),
        ({"fold": ""}, {}, "Line 2 of .* lacks"),
        ({"path": "a/gone.png"}, {}, "more than once: a/gone.png"),
        ({"path": "./a//0.png"}, {}, "more than once: a/0.png"),
    ],
)
def test_folds_that_cannot_be_used(
    tmp_path: Path, rows: list[Row], change: Row, arguments: dict[str, str], words: str
) -> None:
    table = write_folds(tmp_path / "folds.csv", [row | change for row in rows])
    with pytest.raises(ArgumentError, match=words):
        folded_images(tmp_path, table, **arguments)  # type: ignore[arg-type]


def test_folds_that_name_missing_files_or_are_missing(tmp_path: Path, rows: list[Row]) -> None:
    rows[5]["path"] = "a/gone.png"
    with pytest.raises(ArgumentError, match=r"names 1 files that are not in .*: a/gone\.png"):
        folded_images(tmp_path, write_folds(tmp_path / "folds.csv", rows))
    with pytest.raises(ArgumentError, match=r"The list of folds is not there: there is no file at .*no\.csv"):
        folded_images(tmp_path, tmp_path / "no.csv")
    (tmp_path / "other.csv").write_text("path,label\n")
    with pytest.raises(ArgumentError, match="no column 'class' or 'fold'"):
        folded_images(tmp_path, tmp_path / "other.csv")


def test_folders_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="There is no folder /nowhere"):
        image_folders(Path("/nowhere"))
    with pytest.raises(ArgumentError, match="give --folds CSV"):
        image_folders(folder / "train")
    (folder / "val" / "unsure").mkdir()
    with pytest.raises(ArgumentError, match="classes that the folder 'train' beside it lacks: unsure"):
        image_folders(folder)
    (folder / "train" / "unsure").mkdir()
    with pytest.raises(ArgumentError, match=r"no image in .*unsure"):
        image_folders(folder)
    write_image(tmp_path / "one" / "train" / "a" / "1.png")
    write_image(tmp_path / "one" / "val" / "a" / "1.png")
    with pytest.raises(ArgumentError, match="of one class, a"):
        image_folders(tmp_path / "one")


def test_bad_images_are_refused_or_left_out_and_said(folder: Path) -> None:
    bad = [folder / "train" / "sick" / "1.png", folder / "test" / "healthy" / "0.png"]
    for path in bad:
        path.write_bytes(b"no image")
    data = image_folders(folder)
    with pytest.raises(ArgumentError, match=r"2 of 19 images cannot be read. .*1\.png: damaged, cut short"):
        readable_images(data)
    kept = readable_images(data, skip=True)
    assert sorted(kept.left_out) == sorted(map(str, bad))
    assert {name: len(images) for name, images in kept.sets.items()} == {"train": 8, "validation": 4, "test": 5}
    for images in kept.sets.values():
        assert all(kept.classes[label] in file for file, label in zip(images.files, images.labels, strict=True))
        assert not set(images.files) & set(kept.left_out)
    for path in (folder / "val" / "sick").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(ArgumentError, match="All validation images"):
        readable_images(data, skip=True)


@pytest.mark.skipif(not DATASETS.is_dir(), reason=f"the data sets are not at {DATASETS}")
@pytest.mark.parametrize(
    ("name", "only", "images", "classes"), [("herlev917", None, 917, 7), ("oscc224", "magnification=400x", 670, 2)]
)
def test_real_folds(name: str, only: str | None, images: int, classes: int) -> None:
    seen: list[str] = []
    for fold in range(5):
        data = folded_images(DATASETS / name, DATASETS / name / "folds.csv", fold=str(fold), only=only)
        assert len(data.classes) == classes
        assert sum(map(len, data.sets.values())) == images
        for each in data.sets.values():
            assert len(np.unique(each.labels)) == classes
        assert data.test is not None
        seen += data.test.files
    assert len(seen) == len(set(seen)) == images


def test_figures_by_hand() -> None:
    """Three classes, of which the labels hold two; one image of class 0 and two of class 2 are told rightly."""
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.6, 0.1, 0.3]])
    labels = torch.tensor([0, 0, 2, 2, 2])
    found = scores(probabilities.log(), labels)
    assert found["loss"] == pytest.approx(-np.mean(np.log([0.7, 0.2, 0.8, 0.4, 0.3])), rel=1e-5)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Class 0: precision 1/2, recall 1/2. Class 1: answered once, never right. Class 2: precision 1, recall 2/3.
    assert found["macro_f1"] == pytest.approx((1 / 2 + 0 + 4 / 5) / 3)
    # Class 0: of 6 pairs (0.7, 0.2) against (0.1, 0.3, 0.6), 4 are in order. Class 2: (0.8, 0.4, 0.3) against
    # (0.1, 0.2): all.
    assert found["auroc"] == pytest.approx((4 / 6 + 1) / 2)
    assert confusion_matrix(probabilities.log(), labels).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 2]]


def test_figures_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ArgumentError, match="nothing to test on"):
        scores(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="diverged"):
        scores(torch.full((2, 2), float("nan")), torch.tensor([0, 1]))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_perfect_model_is_perfect_with_a_class_missing(missing: int) -> None:
    labels = torch.tensor([label for label in (0, 1, 2, 0, 1, 2) if label != missing])
    found = scores(10 * torch.nn.functional.one_hot(labels, 3).float(), labels)
    assert {found[name] for name in ("accuracy", "balanced_accuracy", "auroc", "macro_f1")} == {1.0}


def test_what_is_undefined_is_none_and_told_so() -> None:
    found = scores(torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 9.0]]), torch.ones(3, dtype=torch.int64))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["loss"] is not None
    assert found["balanced_accuracy"] is found["macro_f1"] is found["auroc"] is None
    assert (figure(found["auroc"]), figure(0.0), figure(2 / 3)) == ("undefined", "0.000", "0.667")


def test_the_confusion_matrix_as_a_picture(tmp_path: Path) -> None:
    confusion_picture(tmp_path / "a.png", torch.tensor([[9, 0], [0, 9]]), ["one", "two"], title="right")
    confusion_picture(tmp_path / "b.png", torch.tensor([[0, 9], [9, 0]]), ["one", "two"], title="right")
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert a.size == b.size
        assert min(a.size) > 300
        assert (np.asarray(a) != np.asarray(b)).mean() > 0.1


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [warm_up_and_cosine(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1
    assert rates[-1] == pytest.approx(0)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[5:]))
    assert rates[5 + 95 // 2] == pytest.approx(0.5, abs=0.02)
    assert warm_up_and_cosine(0, 1) == 1


@pytest.mark.parametrize("name", ["small_cnn", "vit", "cnn"])
def test_our_models_learn_and_begin_alike_with_one_seed(name: str) -> None:
    def made() -> nn.Module:
        torch.manual_seed(5)
        return make_model(name, 3, 64)

    model, again = made(), made()
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    labels = torch.arange(12) % 3
    images = torch.randn(12, 3, 64, 64) * 0.3
    images[torch.arange(12), labels] += 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=default_learning_rate(name))
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(images).argmax(1) == labels).all()


@pytest.mark.parametrize(
    ("name", "size", "pretrained", "words"),
    [
        ("vitt", 64, False, "Did you mean 'vit'"),
        ("vit", 100, False, "give a multiple of it, such as 96"),
        ("small_cnn", 16, False, "32 pixels and more"),
        ("small_cnn", 64, True, "no pretrained weights"),
    ],
)
def test_models_that_cannot_be_made(name: str, size: int, pretrained: bool, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_model(name, size, pretrained=pretrained)


def test_the_log_has_a_line_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.csv").write_text("of an earlier run")
    with EpochLog(tmp_path) as log:
        for epoch in range(3):
            log.add({"epoch": epoch, "train_loss": 0.5 / (epoch + 1)})
            assert len((tmp_path / "log.csv").read_text().splitlines()) == epoch + 2
    with (tmp_path / "log.csv").open(newline="") as file:
        assert [float(row["train_loss"]) for row in csv.DictReader(file)] == [0.5, 0.25, 0.5 / 3]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"log\.csv has the same figures"):
        EpochLog(tmp_path, tensorboard=True)
