"""Models that timm makes: what it is asked for, by a stand-in, and timm itself where it is installed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cellmix_dali.errors import ArgumentError, CellMixDaliError, MissingDependencyError
from cellmix_dali.training.models import check_model, make_model
from cellmix_dali.training.timm_models import timm_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What a stand-in is asked to make: it knows "vit" and "resnet", and "hf-hub:lab/closed" wants a login."""
    found: list[tuple[str, dict[str, Any]]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        if name == "resnet" and "img_size" in options:
            raise TypeError("unexpected keyword argument 'img_size'")
        if name == "hf-hub:lab/closed":
            raise OSError("401 Client Error")
        found.append((name, options))
        return nn.Linear(1, 1)

    package: Any = types.ModuleType("timm")
    package.create_model = create_model
    package.is_model = lambda name: name in ("vit", "resnet")
    package.list_models = lambda pattern: ["resnet"] * (pattern == "*res*")
    package.get_pretrained_cfg = lambda name: types.SimpleNamespace(input_size=(3, 384, 384)) if name == "vit" else None
    monkeypatch.setitem(sys.modules, "timm", package)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as a hub has it, but without weights."""
    (tmp_path / "a model").mkdir()
    (tmp_path / "a model" / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_features": 512}))
    return tmp_path / "a model"


def test_a_model_of_timms_own_gets_classes_and_size(asked: list[tuple[str, dict[str, Any]]]) -> None:
    make_model("timm:vit", 7, 96, pretrained=True)
    make_model("timm:resnet", 3, 64)
    assert asked == [
        ("vit", {"img_size": 96, "pretrained": True, "num_classes": 7}),
        ("resnet", {"pretrained": False, "num_classes": 3}),
    ]
    with pytest.raises(ArgumentError, match=r"no model 'res'\. Some that are like it: resnet"):
        check_model("timm:res", 64)
    assert [timm_model(name).own_size() for name in ("timm:vit", "timm:resnet", "hf-hub:a/b")] == [384, None, None]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["hf-hub:lab/open", "timm:hf-hub:lab/open"])
def test_a_model_of_the_hub_comes_with_its_weights(asked: list[tuple[str, dict[str, Any]]], name: str) -> None:
    check_model(name, 224)
    make_model(name, 5, 224)
    assert asked == [("hf-hub:lab/open", {"img_size": 224, "pretrained": True, "num_classes": 5})]


@pytest.mark.usefixtures("asked")
def test_a_hub_that_refuses_is_told_in_words() -> None:
    with pytest.raises(CellMixDaliError, match=r"hf-hub:lab/closed cannot be loaded \(OSError: 401 .*HF_TOKEN"):
        make_model("hf-hub:lab/closed", 5, 224)


def test_a_folder_comes_with_its_weights(asked: list[tuple[str, dict[str, Any]]], folder: Path) -> None:
    check_model(str(folder), 64)
    make_model(str(folder), 2, 64)
    assert asked == [(f"local-dir:{folder}", {"img_size": 64, "pretrained": True, "num_classes": 2})]
    for text in ("{", "[]", '{"num_classes": 2}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(ArgumentError, match=r"a model holds no model of timm \(config.json: "):
            check_model(str(folder), 64)


def test_a_folder_that_is_called_like_a_model_of_ours_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small_cnn").mkdir()
    check_model("small_cnn", 64)
    make_model("small_cnn", 2, 64)


@pytest.mark.parametrize("name", ["timm:resnet18", "hf-hub:lab/open"])
def test_timm_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match="pip install timm"):
        check_model(name, 64)


def test_timm_reads_a_folder(folder: Path) -> None:
    try:
        import timm
    except ImportError as error:
        pytest.skip(f"timm is not installed ({error})")
    of = timm.create_model("resnet18", num_classes=0)
    config = {"architecture": "resnet18", "num_classes": 0, "num_features": 512}
    config["pretrained_cfg"] = {"mean": [0.7, 0.6, 0.5], "std": [0.2, 0.2, 0.2], "input_size": [3, 96, 96]}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(of.state_dict(), folder / "pytorch_model.bin")
    model = make_model(str(folder), 0, 96).eval()
    assert tuple(model.pretrained_cfg["mean"]) == (0.7, 0.6, 0.5)  # type: ignore[index, operator]
    images = torch.rand(2, 3, 96, 96)
    assert torch.equal(model(images), of.eval()(images))
