"""Targets, the mixing matrix and the map of tokens from the loaders: those of the rows that are shown, as plans say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali import Curriculum, TileTable, open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import (
    METHODS,
    SaliencyMix,
    Target,
    TargetValues,
    make_mixer,
    mixed_target,
    saliency_peaks,
    source_map,
)
from cellmix_dali.pipelines import evaluate_image_loader, evaluate_loader, train_image_loader, train_loader
from cellmix_dali.plugins import TileSource

BATCH, SEED = 8, 5
RANDOM = np.random.default_rng(1)
GENES = RANDOM.integers(0, 2, (32, 3)).astype(np.float32)
AGE = RANDOM.normal(50, 10, 32)
MONTHS, EVENT = RANDOM.uniform(1, 60, 32), RANDOM.integers(0, 2, 32)
RISK = np.stack([MONTHS, EVENT], axis=1).astype(np.float32)
TARGETS = {
    "genes": Target("multi_label", "genes"),
    "age": Target("regression", ("age",)),
    "both": Target("Regression", ("months", "age")),
    "risk": Target("survival", ("months", "event")),
}


def with_columns(table: TileTable, *, labelled: bool = True) -> TileTable:
    arrow = table.arrow if labelled else table.arrow.drop_columns(["label"])
    lists = pa.FixedSizeListArray.from_arrays(pa.array(GENES.ravel()), 3)
    columns = {"genes": lists, "age": AGE, "months": MONTHS, "event": EVENT.astype(bool)}
    for name, values in columns.items():
        arrow = arrow.append_column(name, pa.array(values) if isinstance(values, np.ndarray) else values)
    return TileTable(arrow)


def loader_of(table: TileTable, method: str = "CutMix", **options: Any) -> Any:
    steering = {"patch_size": 32, "fix_ratio": 0.25} if METHODS[method].is_cellmix else {}
    chosen = {"num_classes": 3, "batch_size": BATCH, "method": method, "p": 0.8, "seed": SEED} | steering
    return train_loader(table, **chosen | {"flips": False} | options)


def pixels(table: TileTable, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    found = []
    for row in rows.tolist():
        with open_slide(table.slides[table.slide[row]]) as slide:
            found.append(slide.read_region(0, int(table.x[row]), int(table.y[row]), 256, 256))
    return np.stack(found)


def check(batch: dict[str, torch.Tensor], rows: NDArray[np.int64], plan: Any) -> None:
    given = {"genes": GENES, "age": AGE[:, None], "both": np.stack([MONTHS, AGE], axis=1)}
    for name, values in given.items():
        assert batch[name].dtype == torch.float32
        want = mixed_target("regression", values[rows], plan.weights)
        np.testing.assert_allclose(batch[name].numpy(), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch["risk"].numpy(), RISK[rows])
    np.testing.assert_array_equal(batch["weights"].numpy(), plan.weights)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("method", ["CellMix-Group4", "Cutout", "Mixup", "SaliencyMix"])
def test_targets_of_tiles(table: TileTable, method: str, labelled: bool) -> None:
    whole = with_columns(table, labelled=labelled)
    mixer: Any = make_mixer(method, p=0.8, seed=SEED)
    triggered = 0
    token = {} if method == "Mixup" else {"source_map": 64}
    with loader_of(whole, method, targets=TARGETS, num_classes=3 if labelled else None, **token) as loader:
        for number, batch in enumerate(loader):
            rows = batch["tile"].numpy()
            key: dict[str, Any] = {"epoch": 0, "iteration": number}
            if isinstance(mixer, SaliencyMix):
                key["peaks"] = saliency_peaks(pixels(whole, rows))
            steering = (32, 0.25) if METHODS[method].is_cellmix else ()
            plan = mixer.draw(BATCH, 256, *steering, **key)
            check(batch, rows, plan)
            if token:
                np.testing.assert_array_equal(batch["source_map"].numpy(), source_map(plan, 256, 64))
                assert batch["source_map"].dtype == torch.int64
            if labelled:
                np.testing.assert_allclose(batch["labels"].numpy(), plan.soft_labels(rows % 3, 3), atol=1e-5)
            else:
                assert batch["labels"].tolist() == [-1] * BATCH
            triggered += plan.triggered
    assert triggered


@pytest.mark.parametrize("token", [True, 32])
def test_tokens_under_a_curriculum(table: TileTable, token: bool | int) -> None:
    """True: as many as there are patches, other numbers from epoch to epoch. A number: always as many."""
    curriculum = Curriculum(epochs=3, tile_size=256, patch_strategy="linear", token_size=32)
    seen = []
    with loader_of(
        table, "CellMix-Group", curriculum=curriculum, patch_size=None, fix_ratio=None, p=1.0, source_map=token
    ) as loader:
        for epoch in range(3):
            for number, batch in enumerate(loader):
                side = int(batch["patch_size"][0])
                plan = make_mixer("CellMix-Group", seed=SEED).draw(  # type: ignore[attr-defined]
                    BATCH, 256, side, float(curriculum.fix_ratio), epoch=epoch, iteration=number
                )
                want = plan.source_sample if token is True else source_map(plan, 256, 32)
                np.testing.assert_array_equal(batch["source_map"].numpy(), want)
            seen.append(batch["source_map"].shape[1])
            curriculum.step(0.1)
    assert len(set(seen)) == (3 if token is True else 1)


def test_substitutes_bring_their_own_targets(table: TileTable) -> None:
    whole = with_columns(table)
    with loader_of(whole, method="CutMix", p=0.0, targets=TARGETS) as loader:
        for row in (3, 11, 20):
            loader.source.mark_bad(row, "It is damaged.")
        shown = []
        for batch in loader:
            rows = batch["tile"].numpy()
            np.testing.assert_array_equal(batch["genes"].numpy(), GENES[rows])
            np.testing.assert_array_equal(batch["risk"].numpy(), RISK[rows])
            shown += rows.tolist()
    assert not {3, 11, 20} & set(shown)


def test_evaluation_has_them_as_they_are(table: TileTable) -> None:
    whole = with_columns(table)
    with evaluate_loader(whole, batch_size=5, targets=TARGETS) as loader:
        batches = list(loader)
    assert "weights" not in batches[0]
    np.testing.assert_array_equal(torch.cat([batch["risk"] for batch in batches]).numpy(), RISK)
    np.testing.assert_allclose(torch.cat([batch["age"] for batch in batches]).numpy()[:, 0], AGE, rtol=1e-6)


def test_a_state_of_other_targets_is_refused(table: TileTable) -> None:
    whole = with_columns(table)
    with loader_of(whole, targets={"age": Target("regression", "age")}, source_map=32) as loader:
        next(iter(loader))
        state = json.loads(json.dumps(loader.state_dict()))
    others: list[tuple[dict[str, Any], str]] = [
        ({"targets": {"age": Target("regression", "months")}, "source_map": 32}, "targets was"),
        ({"targets": {"years": Target("regression", "age")}, "source_map": 32}, "targets was"),
        ({"targets": {"age": Target("regression", "age")}, "source_map": 64}, "source_map was 32, is 64"),
        ({"targets": {"age": Target("regression", "age")}}, "source_map was 32, is null"),
    ]
    for other, words in others:
        with loader_of(whole, **other) as loader, pytest.raises(ArgumentError, match=words):
            loader.load_state_dict(state)
    with loader_of(whole, targets={"age": TargetValues("regression", AGE)}, source_map=32) as loader:
        loader.load_state_dict(state)  # the same numbers, given as such


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    made = [folder / f"{number}.png" for number in range(12)]
    for number, path in enumerate(made):
        Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(path)
    return made


@pytest.mark.parametrize("labelled", [True, False])
def test_targets_of_image_files(files: list[Path], labelled: bool) -> None:
    targets = {
        "genes": TargetValues("multi_label", GENES[:12]),
        "age": TargetValues("regression", AGE[:12]),
        "both": TargetValues("regression", np.stack([MONTHS, AGE], axis=1)[:12]),
        "risk": TargetValues("survival", RISK[:12]),
    }
    labels = np.arange(12) % 3 if labelled else None
    with train_image_loader(
        files,
        labels,
        num_classes=3 if labelled else None,
        batch_size=4,
        image_size=32,
        method="ResizeMix",
        p=1.0,
        seed=2,
        source_map=8,
        targets=targets,
    ) as loader:
        for number, batch in enumerate(loader):
            plan: Any = make_mixer("ResizeMix", seed=2).draw(4, 32, epoch=0, iteration=number)  # type: ignore[attr-defined]
            check(batch, batch["item"].numpy(), plan)
            np.testing.assert_array_equal(batch["source_map"].numpy(), source_map(plan, 32, 8))
    with evaluate_image_loader(files, labels, batch_size=5, image_size=32, targets=targets) as loader:
        np.testing.assert_array_equal(torch.cat([batch["risk"] for batch in loader]).numpy(), RISK[:12])


def broken(column: str, value: Any) -> Any:
    def make(table: TileTable) -> TileTable:
        whole = with_columns(table).arrow
        values = whole[column].to_pylist()
        values[7] = value
        return TileTable(whole.set_column(whole.column_names.index(column), column, pa.array(values)))

    return make


@pytest.mark.parametrize(
    ("make", "targets", "words"),
    [
        (with_columns, {"age": Target("regression", "agee")}, "column of the tile table 'agee'. Did you mean 'age'"),
        (with_columns, {"age": Target("regression", "slide")}, "targets are numbers, booleans"),
        (with_columns, {"age": Target("multi_label", "age")}, "each label is 0, 1, or a share between"),
        (with_columns, {"risk": Target("survival", "months")}, "give two numbers, the time"),
        (with_columns, {"risk": Target("survival", ("event", "months"))}, "give two numbers, the time"),
        (with_columns, {"labels": Target("regression", "age")}, "cannot be called 'labels'"),
        (with_columns, {"weights": Target("regression", "age")}, "cannot be called 'weights'"),
        (with_columns, {"a b": Target("regression", "age")}, "cannot be called 'a b'"),
        (with_columns, {"age": "age"}, r"give Target\(kind, columns\)"),
        (with_columns, {"age": TargetValues("regression", AGE[:9])}, "has 9 rows, there are 32 samples"),
        (broken("age", None), {"age": Target("regression", "age")}, "1 empty cells"),
        (broken("age", float("nan")), {"age": Target("regression", "age")}, "sample 7 is .nan.: give finite numbers"),
        (broken("months", -1.0), {"risk": Target("survival", ("months", "event"))}, "sample 7 is .-1.0"),
        (broken("genes", [1.0, 0.0]), {"genes": Target("multi_label", "genes")}, "not all of one length"),
        (broken("genes", [1.0, None, 0.0]), {"genes": Target("multi_label", "genes")}, "1 empty places"),
    ],
)
def test_targets_that_cannot_be_are_refused_by_name(table: TileTable, make: Any, targets: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        TileSource(make(table), batch_size=4, targets=targets)


def test_kinds_and_columns_that_cannot_be() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'survival'"):
        Target("survial", ("a", "b"))
    for columns in ((), (1,), 3):
        with pytest.raises(ArgumentError, match=r"columns=.*name one or more columns"):
            Target("regression", columns)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"shape \(2, 1, 1\)"):
        TargetValues("regression", np.zeros((2, 1, 1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": None}, "num_classes is missing"),
        ({"method": None, "source_map": 16}, "every token is its own sample's"),
        ({"method": "Mixup", "source_map": 16}, "Mixup blends"),
        ({"method": "CutMix", "source_map": 48}, "do not fill tiles of 256 x 256"),
    ],
)
def test_what_training_refuses(table: TileTable, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        train_loader(table, **{"num_classes": 3, "batch_size": 4, "method": "CutMix"} | options)


def test_what_training_on_files_refuses(files: list[Path]) -> None:
    for labels, num_classes, targets in ((None, 3, None), ([0] * 12, None, None), (None, None, None)):
        with pytest.raises(ArgumentError, match="belong together"):
            train_image_loader(files, labels, num_classes=num_classes, targets=targets, batch_size=4, method=None)
    targets = {"age": Target("regression", "age")}
    with pytest.raises(ArgumentError, match=r"give TargetValues\(kind, values\)"):
        train_image_loader(files, [0] * 12, num_classes=2, targets=targets, batch_size=4, method=None)
