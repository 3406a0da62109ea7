"""Arguments in whatever types users have them; states that are plain, and hold all that changes a batch."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import evaluate_image_loader, evaluate_loader, train_image_loader, train_loader
from cellmix_dali.pipelines.read import read_table
from cellmix_dali.plugins.device_names import device_name

SETTINGS: dict[str, Any] = {"num_classes": 3, "batch_size": 4, "seed": 3, "engine": "native"}
CELLMIX: dict[str, Any] = {"patch_size": 64, "fix_ratio": 0.5}


@pytest.fixture
def image_files(tmp_path: Path) -> list[str]:
    files = []
    for number in range(12):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
        files.append(str(tmp_path / f"{number}.png"))
    return files


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ({"method": "CutMix", "method_parameters": {"alpha": 0.2}}, {"method_parameters": {"alpha": 5.0}}, "alpha"),
        ({"method": "Cutout"}, {"method_parameters": {"fill": 7}}, "fill"),
        ({"method": "Mixup"}, {"mean": (0.5, 0.5, 0.5)}, "mean was"),
        ({"method": "Mixup"}, {"std": (0.5, 0.5, 0.5)}, "std was"),
        ({"method": "Mixup"}, {"dtype": "float16"}, 'dtype was "float32", is "float16"'),
        ({"method": "Mixup"}, {"flips": False}, "flips was true, is false"),
        ({"method": "Mixup"}, {"p": 0.25}, "p was 0.5, is 0.25"),
        ({"method": "Mixup"}, {"seed": 4}, "seed was 3, is 4"),
        ({"method": "Mixup"}, {"method": "none"}, 'method was "Mixup", is null'),
        ({"method": "Mixup"}, {"rank": 1, "world_size": 2}, "world_size was 1, is 2"),
        (CELLMIX, {"fix_ratio": 0.25}, "fix_ratio was 0.5, is 0.25"),
    ],
)
def test_what_changes_a_batch_is_refused_by_another_loaders_state(
    table: TileTable, one: dict[str, Any], other: dict[str, Any], named: str
) -> None:
    with train_loader(table, **SETTINGS | one) as loader:
        state = json.loads(json.dumps(loader.state_dict()))
    with train_loader(table, **SETTINGS | one | other) as loader:
        with pytest.raises(ArgumentError, match=named):
            loader.load_state_dict(state)
        assert loader.state_dict() != state
    with train_loader(table, **SETTINGS | one) as loader:
        loader.load_state_dict(state)  # of the same settings it is taken


def test_what_changes_no_batch_is_not_asked(table: TileTable) -> None:
    with train_loader(table, **SETTINGS | CELLMIX) as loader:
        state = loader.state_dict()
    others = {"engine": "numba", "num_threads": 1, "num_workers": 3, "prefetch_queue_depth": 3}
    with train_loader(table, **SETTINGS | CELLMIX | others) as loader:
        loader.load_state_dict(state)


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.float32, np.float64])
def test_states_are_plain_whatever_numbers_were_given(
    table: TileTable, image_files: list[str], number: Callable[[Any], Any]
) -> None:
    whole = number if issubclass(number, np.integer) else np.int32  # type: ignore[arg-type]
    real = np.float32 if issubclass(number, np.integer) else number  # type: ignore[arg-type]
    numbers = {
        "batch_size": whole(4),
        "seed": whole(3),
        "rank": whole(0),
        "world_size": whole(2),
        "p": real(0.5),
        "mean": np.array([0.5, 0.5, 0.5], real),
        "std": [real(0.25)] * 3,
        "num_threads": whole(2),
        "prefetch_queue_depth": whole(2),
        "num_classes": whole(3),
    }
    mixing = {"method": "CutMix", "method_parameters": {"alpha": real(0.5)}}
    cellmix = {"patch_size": whole(8), "fix_ratio": real(0.5)}
    loaders = [
        train_loader(table, **numbers | mixing, tile_size=np.int64(256), num_workers=whole(2)),
        train_loader(table, **numbers | cellmix),
        train_image_loader(image_files, np.arange(12) % 3, image_size=16, **numbers | mixing),
    ]
    for loader in loaders:
        running = iter(loader)
        next(running)
        state = loader.state_dict()
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        assert json.loads(json.dumps(state)) == state == torch.load(file, weights_only=True)
        loader.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rank": "0", "world_size": 2}, "rank='0' cannot be used"),
        ({"rank": 0, "world_size": "2"}, "world_size='2' cannot be used"),
        ({"seed": None}, "seed=None cannot be used"),
        ({"seed": -1}, "seed=-1 cannot be used"),
        ({"mean": 0.5}, "mean=0.5 cannot be used: give three numbers"),
        ({"mean": (0.5, 0.5)}, "mean=.* cannot be used"),
        ({"mean": ("a", "b", "c")}, "mean=.* cannot be used"),
        ({"std": (0.5, 0.0, 0.5)}, "std=.* above 0"),
        ({"std": (0.5, float("nan"), 0.5)}, "std=.* cannot be used"),
        ({"num_threads": 0}, "num_threads=0 cannot be used"),
        ({"num_threads": 1.5}, "num_threads=1.5 cannot be used"),
        ({"prefetch_queue_depth": 0}, "prefetch_queue_depth=0 cannot be used"),
        ({"batch_size": "4"}, "batch_size='4' cannot be used"),
        ({"device": "tpu"}, "Unknown device 'tpu'"),
        ({"device": torch.device("meta")}, "Unknown device"),
        ({"device": 0.5}, "Unknown device 0.5"),
        ({"engine": "fast"}, "Unknown engine 'fast'"),
        ({"dtype": "float64"}, "Unknown dtype 'float64'"),
    ],
)
def test_wrong_arguments_are_refused_in_words_by_every_loader(
    table: TileTable, image_files: list[str], arguments: dict[str, Any], words: str
) -> None:
    labels = np.arange(12) % 3
    own = {"batch_size": 4, "num_classes": 3} | arguments
    unclassed = {"batch_size": 4} | arguments
    makers: list[Callable[[], Any]] = [
        lambda: train_loader(table, **CELLMIX | own),
        lambda: train_image_loader(image_files, labels, image_size=16, method=None, **own),
    ]
    if "seed" not in arguments:
        makers += [
            lambda: evaluate_loader(table, **own),
            lambda: evaluate_image_loader(image_files, labels, image_size=16, **unclassed),
        ]
    for make in makers:
        with pytest.raises(ArgumentError, match=words):
            make()


def test_readers_as_well(table: TileTable) -> None:
    with pytest.raises(ArgumentError, match="num_threads=0 cannot be used"):
        read_table(table, num_threads=0)
    with pytest.raises(ArgumentError, match="num_workers=0 cannot be used"):
        evaluate_loader(table, batch_size=4, num_workers=0)
    with pytest.raises(ArgumentError, match="tile_size=0 cannot be used"):
        evaluate_loader(table, batch_size=4, tile_size=0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("cpu", "cpu"),
        (torch.device("cpu"), "cpu"),
        ("gpu", "gpu"),
        ("cuda", "gpu"),
        ("cuda:1", "gpu"),
        (torch.device("cuda"), "gpu"),
        (torch.device("cuda", 3), "gpu"),
    ],
)
def test_devices_have_the_names_of_dali_and_of_pytorch(given: Any, name: str) -> None:
    assert device_name(given) == name


def test_pytorchs_device_makes_a_loader(table: TileTable) -> None:
    with evaluate_loader(table, batch_size=4, device=torch.device("cpu")) as loader:
        assert next(iter(loader))["images"].device.type == "cpu"


def test_class_indices_are_one_number_a_sample(table: TileTable, image_files: list[str]) -> None:
    """In shape (batch, 1), a comparison with predictions, (batch,), would be (batch, batch), silently."""
    loaders = [
        (evaluate_loader(table, batch_size=8, num_classes=3), "tile"),
        (evaluate_image_loader(image_files, np.arange(12) % 3, batch_size=8, image_size=16), "item"),
    ]
    for loader, which in loaders:
        for batch in loader:
            predicted = torch.zeros(len(batch["images"]), 3).argmax(1)
            assert (
                batch["labels"].shape == batch[which].shape == (predicted == batch["labels"]).shape == predicted.shape
            )
            assert batch["labels"].dtype == batch[which].dtype == torch.int64
            assert batch["labels"].tolist() == (batch[which] % 3).tolist()
            torch.nn.functional.cross_entropy(torch.zeros(len(predicted), 3), batch["labels"])
        loader.close()


@pytest.mark.parametrize("name", [None, "none", "None", "NONE"])
def test_no_mixing_by_any_name(table: TileTable, image_files: list[str], name: str | None) -> None:
    """Tiles, flips and order are those of a run that mixes; labels are whole."""
    with train_loader(table, method=name, flips=False, **SETTINGS) as loader:
        plain = list(loader)
    with train_loader(table, method="CutMix", p=0.0, flips=False, **SETTINGS) as loader:
        unmixed = list(loader)
    for one, other in zip(plain, unmixed, strict=True):
        assert set(other) - set(one) == {"patch_size", "fix_ratio", "triggered", "epoch", "iteration"}
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert one["labels"].argmax(1).tolist() == (one["tile"] % 3).tolist()
    with pytest.raises(ArgumentError, match="Without a method nothing is mixed"):
        train_loader(table, method=name, patch_size=64, **SETTINGS)
    images = train_image_loader(image_files, np.arange(12) % 3, num_classes=3, batch_size=4, image_size=16, method=name)
    assert "triggered" not in next(iter(images))


@pytest.mark.slow
def test_opencv_does_not_flood_the_terminal(real: Callable[[str], Path]) -> None:
    """DALI decodes JPEG 2000 by OpenCV, which warns once per block."""
    code = (
        "import sys\n"
        "import nvidia.dali.fn\n"
        "from cellmix_dali import read_tiles\n"
        "print(read_tiles(sys.argv[1], [[0, 0], [256, 256]], 240).shape)\n"
    )
    command = [sys.executable, "-c", code, str(real("CMU-1-Small-Region.jp2.tiff"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "(2, 240, 240, 3)\n"
    assert done.stderr == ""


def test_digests_of_a_state_stay_what_they_were(image_files: list[str], table: TileTable) -> None:
    """Else states of a former version would be refused, as if the data were others."""
    labels = np.arange(12) % 3
    options = SETTINGS | {"method": None, "image_size": 16}
    with train_image_loader(image_files, labels, **options) as loader:
        found = loader.state_dict()["settings"]["files_and_labels"]
    whole = hashlib.sha256("\0".join(image_files).encode() + labels.astype("<i4").tobytes())
    assert found == whole.hexdigest()[:16]
    with train_loader(table, **SETTINGS | {"method": None}) as loader:
        found, order = loader.state_dict()["settings"], loader.source.order
    rows = np.unique(np.linspace(0, len(table) - 1, 1024).astype(np.int64))
    columns = (table.slide, table.level, table.x, table.y, table.size, table.label)
    digest = hashlib.sha256(b"".join(np.asarray(column)[rows].astype(np.int64).tobytes() for column in columns))
    assert found["table"] == digest.hexdigest()[:16]
    batches = [order.batch(epoch, number) for epoch in (0, 1) for number in (0, len(order) - 1)]
    digest = hashlib.sha256(b"".join(batch.astype(np.int64).tobytes() for batch in batches))
    assert found["order"] == digest.hexdigest()[:16]
